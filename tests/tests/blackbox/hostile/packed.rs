//! Plugins that take events in one piece.

use super::guest::{ANSWER, Guest, OK};
use super::kinds::Ends::{Dead, Done, Refused};
use super::kinds::{Kind, guest, quick};

/// What takes events in one piece, and not as a record; and what asks for more of them.
pub(super) fn kinds() -> Vec<Kind> {
    let packed = |name, handle: &str, realloc: Option<&str>, event, ends| {
        let change = |guest: &mut Guest| {
            "unreachable".clone_into(&mut guest.handle);
            guest.packed = Some((handle.to_owned(), event));
            if let Some(realloc) = realloc {
                realloc.clone_into(&mut guest.realloc);
            }
        };
        guest(name, change, ends)
    };
    let (ok, bytes) = (format!("(i32.const {OK})"), "list<u8>");
    // An offset, a first attempt, no replay, and no less than the numbers.
    let looks = format!(
        "(if (i64.eqz (i64.load (local.get 0))) (then unreachable))
         (if (i32.load offset=24 (local.get 0)) (then unreachable))
         (if (i32.ne (i32.load offset=20 (local.get 0)) (i32.const 1)) (then unreachable))
         (if (i32.lt_u (local.get 1) (i32.const 64)) (then unreachable)) {ok}"
    );
    // No other event follows, however often it is asked for.
    let asks = format!(
        "(loop $on
           (call $next (i32.const {ANSWER}))
           (if (i32.load8_u (i32.const {ANSWER})) (then unreachable))
           (global.set $heap (i32.add (global.get $heap) (i32.const 1)))
           (br_if $on (i32.lt_u (global.get $heap) (i32.const 100000))))"
    );
    vec![
        packed("asks-for-more", &format!("{asks} {ok}"), None, bytes, Done),
        packed(
            "asks-and-traps",
            &format!("{asks} unreachable"),
            None,
            bytes,
            Dead("trap", "unreachable"),
        ),
        quick(packed(
            "asks-for-ever",
            &format!("(loop $on (call $next (i32.const {ANSWER})) (br $on)) unreachable"),
            None,
            bytes,
            Dead("time", ""),
        )),
        packed("packed-is-honest", &looks, None, bytes, Done),
        packed(
            "packed-traps",
            "unreachable",
            None,
            bytes,
            Dead("trap", "unreachable"),
        ),
        packed(
            "packed-out-of-memory",
            "(i32.const -8)",
            None,
            bytes,
            Dead("trap", ""),
        ),
        packed(
            "packed-at-odd-address",
            "(i32.const 513)",
            None,
            bytes,
            Dead("trap", ""),
        ),
        packed(
            "packed-allocator",
            &ok,
            Some("(i32.const -16)"),
            bytes,
            Dead("trap", ""),
        ),
        quick(packed(
            "packed-loops",
            "(loop $on (br $on)) unreachable",
            None,
            bytes,
            Dead("time", ""),
        )),
        packed(
            "packed-of-text",
            &ok,
            None,
            "string",
            Refused("other types than nerve:plugin@1.0.0"),
        ),
    ]
}
