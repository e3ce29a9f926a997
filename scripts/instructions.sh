#!/bin/sh
# Counts the instructions that an event costs on its whole way, on one thread and without a disk (`nerve bench "the way"`), with
# valgrind's callgrind: the count hardly moves from run to run, however busy the machine is.
#
#     scripts/instructions.sh            builds the release and counts
#     NERVE=PATH scripts/instructions.sh counts what that program takes
#
# What costs how much is then in target/instructions.out: callgrind_annotate --inclusive=yes target/instructions.out
set -eu
cd "$(dirname "$0")/.."
events=2560
command -v valgrind >/dev/null || {
    echo "instructions: no valgrind: install it, on Debian with \`apt-get install valgrind\`" >&2
    exit 1
}
if [ -z "${NERVE:-}" ]; then
    "${CARGO:-cargo}" build -q --release -p nerve
    NERVE=${CARGO_TARGET_DIR:-target}/release/nerve
fi
[ -f target-wasm/fixtures/bench-echo-0000.wasm ] || scripts/build-plugins >/dev/null
mkdir -p target
said=$(valgrind --tool=callgrind --callgrind-out-file=target/instructions.out --collect-atstart=no \
    '--toggle-collect=nerve::bench::way::Way::pass' "$NERVE" bench --runs 1 --events $events "the way" 2>&1) || {
    echo "$said" >&2
    exit 1
}
# A run that warms up comes before the counted one, and both go this way.
echo "$said" | awk -v events=$events '/Collected/ { printf "%d instructions an event\n", $NF / (2 * events); found = 1 } END { exit !found }'
