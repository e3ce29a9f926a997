//! W3C trace contexts: telling good ones, and making new ones.

use std::cell::Cell;
use std::fmt::Write as _;

/// Whether `text` is a `traceparent` of version 00 (W3C Trace Context, 3.2).
pub(super) fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        return false;
    };
    version == "00"
        && [(trace, 32), (span, 16), (flags, 2)]
            .iter()
            .all(|(part, length)| part.len() == *length && hex(part))
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
}

/// A trace context for an event that came without one.
pub(super) fn new_traceparent(out: &mut String) -> &str {
    thread_local! {
        static DICE: Cell<u64> = Cell::new(fastrand::u64(..));
    }
    let mut dice = fastrand::Rng::with_seed(DICE.get());
    let (trace, span) = (dice.u128(1..), dice.u64(1..));
    DICE.set(dice.u64(..));
    write!(out, "00-{trace:032x}-{span:016x}-01").expect("a string takes everything");
    out
}
