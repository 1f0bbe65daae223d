#!/usr/bin/env bash
# What CI runs, in a fresh copy of the tree and a fresh environment: the README's own test command, ruff, pyright.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$root"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ]; then cp --parents "$file" "$work"; fi
done
cd "$work"

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

# The second command of the README, word for word, so that what it says is what is checked.
command=$(awk '/<!-- the tests -->/ { wanted = 1 } wanted && /^```$/ { exit } wanted && inside { print } wanted && /^```sh$/ { inside = 1 }' README.md)
[ -n "$command" ] || { echo "README.md has no test command after <!-- the tests -->" >&2; exit 1; }
echo "+ $command"
bash -euo pipefail -c "$command"

.venv/bin/python -m pip install --quiet ruff "pyright[nodejs]"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyright
