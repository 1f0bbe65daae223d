#!/usr/bin/env bash
# Build the documentation site without a warning, in docs/_build/site, with an environment that this command makes:
#     scripts/docs.sh            the pages whose blocks have changed, or whose code has, are executed
#     scripts/docs.sh --fresh    everything is built and executed
# Outputs are cached in docs/_build/outputs by the code of bpjax. Without a network the names of JAX, NumPy, Optax and xarray
# are no links, which the output says; BPJAX_DOCS_LINKS=required makes that an error. BPJAX_DOCS_EXECUTE=off executes nothing.
# BPJAX_DOCS_PYTHON names a Python whose environment has `bpjax[docs]`, to make none.
set -euo pipefail
cd "$(dirname "$0")/.."
build=docs/_build
if [ "${1:-}" = --fresh ]; then
    rm -rf "$build/site" "$build/doctrees" "$build/outputs"
fi
python=${BPJAX_DOCS_PYTHON:-}
if [ -z "$python" ]; then
    python=$build/environment/bin/python
    stamp=$build/environment/pyproject.sha
    wanted=$(sha256sum pyproject.toml)
    if [ ! -x "$python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        mkdir -p "$build"
        for version in 3.14 3.13 3.12 3.11 3; do
            if command -v "python$version" >/dev/null && "python$version" -c 'import ensurepip, venv' 2>/dev/null; then break; fi
        done
        "python$version" -m venv "$build/environment"
        "$python" -m pip install --quiet -e ".[docs,experiments,checkpoints,export]"
        echo "$wanted" >"$stamp"
    fi
fi
# The pages show what a CPU computes. Compiled programs are stored, so that pages run faster after a change of the code.
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu} JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/$build/compiled}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
began=$(date +%s)
"$python" -m sphinx -W --keep-going -b html -d "$build/doctrees" docs "$build/site"
echo "built $(find "$build/site" -name '*.html' | wc -l) pages in $(($(date +%s) - began)) s: $build/site/index.html"
