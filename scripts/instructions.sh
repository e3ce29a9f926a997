#!/bin/sh
# Counts the instructions that an event costs on its whole way, on one thread and without a disk (`nerve bench "the way"`), with
# valgrind's callgrind: the count hardly moves from run to run, however busy the machine is.
#
#     scripts/instructions.sh            builds the release and counts
#     NERVE=PATH scripts/instructions.sh counts what that program takes
#     CALLERS=N scripts/instructions.sh  keeps apart by which N callers a function was called (`scripts/flame-graph`)
#     scripts/instructions.sh --check    counts what the host of `make host` takes, and fails where that is more than is written below
#
# What costs how much is then in target/instructions.out: callgrind_annotate --inclusive=yes target/instructions.out
set -eu
cd "$(dirname "$0")/.."
events=2560
# What the unoptimised host takes: its own code stands out there, and it is built for the tests anyway. A change that takes less lowers
# it; one that takes more says why.
known=270200
margin_percent=5

say() { echo "instructions: $*" >&2; }

if ! command -v valgrind >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "installing Debian's package valgrind"
    { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind; } >&2 || true
fi
if ! command -v valgrind >/dev/null; then
    say "nothing was counted, for there is no valgrind: install it, on Debian with \`apt-get install valgrind\`"
    # Who only tests goes on without: what is counted breaks nothing.
    [ "${1:-}" = --check ]
    exit
fi
if [ "${1:-}" = --check ]; then
    [ "$(uname -m)" = x86_64 ] || {
        say "nothing was counted: what is known is of x86_64, and this is $(uname -m)"
        exit 0
    }
    NERVE=${CARGO_TARGET_DIR:-target}/debug/nerve
    events=512
fi
if [ -z "${NERVE:-}" ]; then
    "${CARGO:-cargo}" build -q --release -p nerve
    NERVE=${CARGO_TARGET_DIR:-target}/release/nerve
fi
[ -f target-wasm/fixtures/bench-echo-0000.wasm ] || scripts/build-plugins >/dev/null
mkdir -p target
said=$(valgrind --tool=callgrind --callgrind-out-file=target/instructions.out --collect-atstart=no ${CALLERS:+--separate-callers=$CALLERS} \
    '--toggle-collect=nerve::bench::way::Way::pass' "$NERVE" bench --runs 1 --events $events "the way" 2>&1) || {
    echo "$said" >&2
    exit 1
}
# A run that warms up comes before the counted one, and both go this way.
counted=$(echo "$said" | awk -v events=$events '/Collected/ { printf "%d", $NF / (2 * events) }')
[ -n "$counted" ] || {
    say "valgrind collected nothing: Way::pass was not found in $NERVE"
    exit 1
}
echo "$counted instructions an event"
[ "${1:-}" = --check ] || exit 0
most=$((known + known * margin_percent / 100))
if [ "$counted" -gt "$most" ]; then
    say "that is more than $most, which is $known and $margin_percent percent: find what it is" \
        "(callgrind_annotate --inclusive=yes target/instructions.out), or say why it must be in a change of \`known\` in scripts/instructions.sh"
    exit 1
elif [ $((counted * 100)) -lt $((known * (100 - margin_percent))) ]; then
    say "that is less than the $known in scripts/instructions.sh: lower it"
fi
