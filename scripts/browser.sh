#!/bin/sh
# Makes what the tests of the dashboard need: a Chromium, and the package that drives it.
#
#     scripts/browser.sh
#
# On Debian, as root, it installs the package `chromium` where there is none; elsewhere it says what to type. The package
# comes from npm, by the lock file in tests/browser, into target/browser. Prints the browser's path.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/browser

say() { echo "browser: $*" >&2; }

find_browser() {
    for name in "${NERVE_BROWSER:-}" chromium chromium-browser google-chrome-stable google-chrome; do
        [ -n "$name" ] && command -v "$name" && return 0
    done
    return 1
}

if ! find_browser >/dev/null; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "installing Debian's package chromium"
        { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
            && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >&2 || true
    fi
    find_browser >/dev/null || {
        say "no Chromium was found: sudo apt-get install chromium, or name one in NERVE_BROWSER"
        exit 1
    }
fi
command -v npm >/dev/null || {
    say "no npm, which brings the package that drives the browser: install Node 20 or later"
    exit 1
}
from=$root/tests/browser
mkdir -p "$out"
if ! cmp -s "$from/package-lock.json" "$out/node_modules/.installed"; then
    cp "$from/package.json" "$from/package-lock.json" "$out/"
    (cd "$out" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
    cp "$from/package-lock.json" "$out/node_modules/.installed"
fi
find_browser
