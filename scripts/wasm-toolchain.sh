#!/bin/sh
# Finds how to build for wasm32-unknown-unknown, and prints it as shell assignments to be eval'ed:
#
#     eval "$(scripts/wasm-toolchain.sh)"
#     env $WASM_ENV PATH="$WASM_PATH" "$WASM_CARGO" build --release --target wasm32-unknown-unknown $WASM_FLAGS
#
# With --install it may install Debian's packages (as root, by apt-get); without, it installs nothing.
# What it does is said on stderr. Exit code 0: found; 1: not found, and stderr says what to type.
#
# The rules, in this order; `nerve plugin build` goes by the same ones:
#
# 1. target: `rustc --print target-libdir --target wasm32-unknown-unknown` (the rustc on PATH, in the
#    repository's folder, so that rust-toolchain.toml is heeded) names a folder that holds a
#    `libstd-*.rlib`. Then the `cargo` on PATH builds, with no more flags.
#    (Where rustup may fetch, this very call makes it install the target that rust-toolchain.toml lists.)
# 2. rustup: there is a `rustup`, RUSTUP_AUTO_INSTALL is not 0, and `rustup target add` succeeds. Only
#    with --install.
# 3. debian: all of
#      a. /usr/bin/rustc and /usr/bin/cargo, of version 1.95 or later;
#      b. the sources of the standard library: `$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/
#         Cargo.lock` exists;
#      c. `rust-lld`: in the sysroot of the rustc on PATH, then in any toolchain under
#         ${RUSTUP_HOME:-~/.rustup}/toolchains, each under lib/rustlib/*/bin; then on PATH.
#    Then /usr/bin/cargo builds with PATH=/usr/bin:<folder of rust-lld>:$PATH, RUSTC_BOOTSTRAP=1,
#    RUSTC=/usr/bin/rustc and -Zbuild-std=std,panic_abort. The standard library is built once per target
#    folder (about a minute), so all plugins share one.
# 4. With --install, where apt-get exists and we are root: install rustc-web, cargo-web and rust-web-src
#    and try 3 again.
# 5. Nothing: say what to type.
set -eu

TARGET=wasm32-unknown-unknown
PACKAGES="rustc-web cargo-web rust-web-src"

say() { echo "wasm-toolchain: $*" >&2; }

# quote VALUE: as one word of shell.
quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# print KIND ENV PATH CARGO FLAGS
print() {
    say "building plugins with $4 ($1)"
    echo "WASM_KIND=$(quote "$1")"
    echo "WASM_ENV=$(quote "$2")"
    echo "WASM_PATH=$(quote "$3")"
    echo "WASM_CARGO=$(quote "$4")"
    echo "WASM_FLAGS=$(quote "$5")"
    exit 0
}

has_target() {
    libdir=$(rustc --print target-libdir --target $TARGET 2>/dev/null) || return 1
    ls "$libdir"/libstd-*.rlib >/dev/null 2>&1
}

# new_enough PROGRAM: prints a version of 1.95 or later.
new_enough() {
    [ -x "$1" ] || return 1
    minor=$("$1" --version 2>/dev/null | sed -n 's/^[a-z]* 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge 95 ]
}

find_lld() {
    own=$(rustc --print sysroot 2>/dev/null) || own=
    for folder in "$own"/lib/rustlib/*/bin "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/*/lib/rustlib/*/bin; do
        if [ -x "$folder/rust-lld" ]; then
            echo "$folder"
            return 0
        fi
    done
    found=$(command -v rust-lld) && dirname "$found"
}

try_debian() {
    new_enough /usr/bin/rustc && new_enough /usr/bin/cargo || return 1
    [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] || return 1
    lld=$(find_lld) || {
        say "Debian's compiler is here, but no rust-lld: it is part of a rustup toolchain"
        return 1
    }
    print debian "RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc" "/usr/bin:$lld:$PATH" /usr/bin/cargo \
        "-Zbuild-std=std,panic_abort"
}

install=no
[ "${1:-}" = --install ] && install=yes

if has_target; then print target "" "$PATH" cargo ""; fi

if [ $install = yes ] && command -v rustup >/dev/null && [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ]; then
    say "installing the target $TARGET by rustup"
    rustup target add $TARGET >&2 || true
    if has_target; then print target "" "$PATH" cargo ""; fi
fi

try_debian || true

if [ $install = yes ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "installing Debian's packages $PACKAGES"
    # shellcheck disable=SC2086
    { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES; } >&2 || true
    try_debian || true
fi

say "no way to build for $TARGET was found. Type one of:"
say "    rustup target add $TARGET"
say "    sudo apt-get install -y --no-install-recommends $PACKAGES     (Debian 12 or later, with rustup's Rust beside)"
exit 1
