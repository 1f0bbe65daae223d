#!/usr/bin/env bash
# What CI runs, in fresh copies of the tree with fresh environments, on two generations of JAX:
#   newest   the newest Python of 3.12, 3.13, 3.14 that is installed, with the newest JAX: the README's own test command, the thorough tests, ruff, pyright
#   oldest   Python 3.11 with JAX 0.10, the last that supports it: laws, sweeps and stores, gradient checks, other libraries, the tape
# With only one of the two installed, the whole suite runs on that one. The last lines say which legs ran.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

chosen_quarter=(
    tests/test_public.py tests/layers/test_layers.py tests/rules/test_backprop.py
    tests/optimizers/test_hyperparameters.py tests/training/test_inputs.py tests/sweeps tests/results/test_record.py tests/interop tests/util
    tests/gradcheck/test_user_file.py
    tests/tape/test_reverse.py tests/tape/test_tape.py tests/tape/derivatives/test_coverage.py
)

# The path of an installed Python of a version: on PATH, or one of pyenv's. Not a shim of pyenv, which chooses by its own name.
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python"$1"; do
        if "$candidate" -c 'import ensurepip, sys, venv; print(sys.executable)' 2>/dev/null; then return; fi
    done
}

# A fresh copy of the tree: what git tracks, and what it would track.
copy_tree() {
    mkdir -p "$1"
    cd "$root"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then cp --parents "$file" "$1"; fi
    done
}

# Run the README's test command, word for word, with `python3` being a given Python; further words are passed to pytest.
run_tests() {
    local name=$1 python=$2
    shift 2
    copy_tree "$work/$name"
    mkdir "$work/$name-bin"
    ln -s "$python" "$work/$name-bin/python3"
    cd "$work/$name"
    echo "+ [$name: $("$python" --version)] $command $*"
    PATH="$work/$name-bin:$PATH" bash -euo pipefail -c "$command $*"
    legs+=("$name: $("$python" --version), JAX $(.venv/bin/python -c 'import jax; print(jax.__version__)'), ${*:-the command of the README}")
}

# The tests that the README's command leaves out, in the environment of the last leg; ruff and pyright run meanwhile.
run_thorough_tests() {
    check_style_and_types >"$work/style-and-types" 2>&1 &
    local style_and_types=$! failed=
    echo "+ .venv/bin/python -m pytest -m thorough"
    .venv/bin/python -m pytest -m thorough || failed=1
    wait "$style_and_types" || failed=1
    cat "$work/style-and-types"
    [ -z "$failed" ]
    legs[-1]+=", and the thorough tests"
}

# In a separate environment, so that nothing is installed where tests are running; pyright reads .venv by its settings.
check_style_and_types() (
    set -e
    .venv/bin/python -m venv "$work/tools"
    "$work/tools/bin/python" -m pip install --quiet ruff "pyright[nodejs]"
    "$work/tools/bin/ruff" check .
    "$work/tools/bin/ruff" format --check .
    "$work/tools/bin/pyright"
)

# Programs and bytecode of the README's command are loaded by the thorough tests, which run in the same environment.
share_compiled_programs() {
    unset PYTHONDONTWRITEBYTECODE
    export JAX_COMPILATION_CACHE_DIR="$work/compiled-programs"
    export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
}

# The test of the HTML page drives a real browser; where there is none it is skipped, with its reason in the summary.
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
            echo "notice: no browser could be installed; the browser tests of the page are skipped" >&2
    else
        echo "notice: ${missing[*]} not installed; the browser tests of the page are skipped" >&2
    fi
fi

command=$(awk '/<!-- the tests -->/ { wanted = 1 } wanted && /^```$/ { exit } wanted && inside { print } wanted && /^```sh$/ { inside = 1 }' "$root/README.md")
[ -n "$command" ] || { echo "README.md has no test command after <!-- the tests -->" >&2; exit 1; }

oldest=$(find_python 3.11)
newest=
for version in 3.14 3.13 3.12; do
    [ -n "$newest" ] || newest=$(find_python "$version")
done
[ -n "$oldest$newest" ] || { echo "No Python from 3.11 to 3.14 with venv was found: install one." >&2; exit 1; }

legs=()
share_compiled_programs
if [ -n "$oldest" ] && [ -n "$newest" ]; then
    run_tests oldest "$oldest" -m "'not thorough'" "${chosen_quarter[@]}"
    run_tests newest "$newest"
    run_thorough_tests
else
    echo "notice: only ${oldest:-$newest} was found; the other generation of JAX is not tested" >&2
    run_tests only "${oldest:-$newest}"
    run_thorough_tests
fi

printf 'ran: %s\n' "${legs[@]}"
