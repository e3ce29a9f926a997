//! W3C trace contexts: reading them, making new ones, and the spans that nerve adds to a trace.
//!
//! An event from outside keeps the context that it came with, or gets one. Each delivery is a span, whose parent is its event's
//! context, and what it emits has this span as its own context. A span's id follows from what the records say of the delivery,
//! so that whoever reads the log, and however often, gives it the same one.

use std::cell::Cell;
use std::fmt::Write as _;

/// Bytes of a `traceparent` of version 00 (W3C Trace Context, 3.2).
const LENGTH: usize = 55;

/// A trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: u128,
    /// The span that what has this context comes from.
    pub span: u64,
    /// The flags; 1 says that the trace is sampled.
    pub flags: u8,
}

/// What tells the deliveries of one event apart.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySpan<'a> {
    /// The log, as ids of events name it.
    pub log: u32,
    /// The event's offset.
    pub event: u64,
    /// The plugin.
    pub plugin: &'a str,
    /// From 1.
    pub attempt: u32,
    /// The rewind that it is of, or the rollback that took the state back.
    pub generation: Option<u64>,
    /// When it started, where an operator's redrive asked for it: its attempts are counted anew each time.
    pub redriven: Option<u64>,
}

impl TraceContext {
    /// The context in a `traceparent` of version 00.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let good = |(at, b): (usize, u8)| match at {
            2 | 35 | 52 => b == b'-',
            _ => is_digit(b),
        };
        if text.len() != LENGTH || !text.starts_with("00") || !text.bytes().enumerate().all(good) {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(&text[3..35], 16).ok()?,
            span: u64::from_str_radix(&text[36..52], 16).ok()?,
            flags: u8::from_str_radix(&text[53..], 16).ok()?,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }

    /// A new one, for an event that came without: its span is the event's own, at the root of a new trace.
    fn new() -> Self {
        thread_local! {
            static DICE: Cell<u64> = Cell::new(fastrand::u64(..));
        }
        let mut dice = fastrand::Rng::with_seed(DICE.get());
        let random = dice.u128(..) & !u128::from(u32::MAX);
        DICE.set(dice.u64(..));
        let trace = random | u128::from(check(random));
        Self {
            trace,
            span: root(trace),
            flags: 1,
        }
    }

    /// Whether a host made up the trace, and nobody outside: then it has its root in an event.
    pub fn is_made_here(&self) -> bool {
        self.trace & u128::from(u32::MAX) == u128::from(check(self.trace))
    }

    /// Whether its span is that root.
    pub fn is_root(&self) -> bool {
        self.is_made_here() && self.span == root(self.trace)
    }

    /// Whether the trace is sampled.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The same trace with another span.
    #[must_use]
    pub fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// Append its `traceparent` to `out`.
    pub fn write(&self, out: &mut String) {
        let Self { trace, span, flags } = self;
        write!(out, "00-{trace:032x}-{span:016x}-{flags:02x}").expect("a string takes everything");
    }
}

/// A `traceparent` for an event that came without one, written into `out`.
pub fn new_traceparent(out: &mut String) -> &str {
    TraceContext::new().write(out);
    out
}

impl DeliverySpan<'_> {
    /// The span's id.
    pub fn id(&self) -> u64 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let numbers = [
            Some(u64::from(self.log)),
            Some(self.event),
            Some(u64::from(self.attempt)),
            self.generation,
            // Apart from a generation.
            self.redriven.map(|at| !at),
        ];
        let numbers = numbers.into_iter().flatten().flat_map(u64::to_le_bytes);
        for byte in self.plugin.bytes().chain(numbers) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        mixed(hash).max(1)
    }
}

/// The last 32 bits of a trace id that a host makes, which say that it did.
#[expect(clippy::cast_possible_truncation, reason = "the other bits are not wanted")]
fn check(trace: u128) -> u32 {
    let (high, low) = halves(trace);
    mixed(high ^ mixed(low >> 32)) as u32
}

/// The root's span in a trace that a host makes.
fn root(trace: u128) -> u64 {
    let (high, low) = halves(trace);
    mixed(mixed(high) ^ low).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "each is one half")]
fn halves(trace: u128) -> (u64, u64) {
    ((trace >> 64) as u64, trace as u64)
}

/// Each bit of the outcome hangs on each bit of `bits`.
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_as_it_is_written_and_what_is_none_is_not_read() {
        let context = TraceContext::parse(GIVEN).unwrap();
        let mut out = String::new();
        context.write(&mut out);
        assert_eq!(
            (&*out, context.is_sampled(), context.is_made_here()),
            (GIVEN, true, false)
        );
        for none in [
            "",
            &GIVEN[1..],
            &GIVEN.replace("00-0", "01-0"),
            &GIVEN.replace('b', "B"),
            &GIVEN.replace('-', "_"),
            &GIVEN.replace("b7ad6b7169203331", "0000000000000000"),
            &GIVEN.replace(
                "0af7651916cd43dd8448eb211c80319c",
                "00000000000000000000000000000000",
            ),
            &format!("{GIVEN}-00"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333ä-1",
        ] {
            assert_eq!(TraceContext::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_trace_that_is_made_here_is_known_again_from_any_of_its_spans() {
        let made: Vec<TraceContext> = (0..1000).map(|_| TraceContext::new()).collect();
        let traces: BTreeSet<u128> = made.iter().map(|one| one.trace).collect();
        assert_eq!(traces.len(), made.len());
        for one in made {
            let mut out = String::new();
            one.write(&mut out);
            assert_eq!(TraceContext::parse(&out), Some(one), "{out}");
            let child = one.with_span(one.span ^ 1);
            assert!(one.is_root() && child.is_made_here() && !child.is_root(), "{out}");
        }
    }

    #[test]
    fn every_delivery_has_a_span_of_its_own_and_always_the_same() {
        let first = DeliverySpan {
            log: 7,
            event: 17,
            plugin: "orders",
            attempt: 1,
            generation: None,
            redriven: None,
        };
        let all = [
            first,
            DeliverySpan { log: 8, ..first },
            DeliverySpan { event: 18, ..first },
            DeliverySpan {
                plugin: "order",
                ..first
            },
            DeliverySpan { attempt: 2, ..first },
            DeliverySpan {
                generation: Some(9),
                ..first
            },
            DeliverySpan {
                redriven: Some(9),
                ..first
            },
        ];
        let spans: BTreeSet<u64> = all.iter().map(DeliverySpan::id).collect();
        assert_eq!(
            (spans.len(), first.id()),
            (all.len(), 0xef7d_3a67_1f41_1978),
            "written down, for it may not change"
        );
    }
}
