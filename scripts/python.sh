#!/bin/sh
# Makes what the tests need that hold nerve against other implementations: Python with the packages of
# tests/python/requirements.txt, in target/python.
#
#     scripts/python.sh
#
# On Debian, as root, it installs python3 and python3-venv where they are missing; elsewhere it says what to type. The
# packages come from PyPI. Prints the interpreter's path.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/python
want=$root/tests/python/requirements.txt

say() { echo "python: $*" >&2; }

if ! cmp -s "$want" "$out/.installed"; then
    python=${NERVE_PYTHON:-python3}
    rm -rf "$out"
    if ! "$python" -m venv "$out" >/dev/null 2>&1; then
        if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            say "installing Debian's packages python3 and python3-venv"
            { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
                && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv; } >&2 || true
        fi
        rm -rf "$out"
        "$python" -m venv "$out" >&2 || {
            say "no Python with venv was found: sudo apt-get install python3-venv, or name one in NERVE_PYTHON"
            exit 1
        }
    fi
    "$out/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$want" >&2
    cp "$want" "$out/.installed"
fi
echo "$out/bin/python"
