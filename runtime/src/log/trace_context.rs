//! W3C trace contexts: reading them, making new ones, and the spans that nerve adds to a trace.
//!
//! An event from outside keeps the context that it came with, or gets one. Each delivery is a span, whose parent is its event's
//! context, and what it emits has this span as its own context. A span's id follows from what the records say of the delivery,
//! so that whoever reads the log, and however often, gives it the same one.

use std::cell::Cell;

use super::text::text;

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
        let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
        if !has_hyphens(text) {
            return None;
        }
        let context = Self {
            trace: u128::from(number(&text[3..19])?) << 64 | u128::from(number(&text[19..35])?),
            span: number(&text[36..52])?,
            flags: u8::try_from(number(&text[53..])?).ok()?,
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

    /// Append the `traceparent` of what comes from `span` in the trace of `parent` to `out`; nothing where `parent` is none.
    pub fn child_of(parent: &str, span: u64, out: &mut String) {
        let Ok(mut child) = <[u8; LENGTH]>::try_from(parent.as_bytes()) else {
            return;
        };
        let is_some = |number: &[u8]| number.iter().fold(0, |bits, digit| bits | (digit ^ b'0')) != 0;
        let numbers = [&child[3..35], &child[36..52]];
        let is_context = has_hyphens(&child)
            && numbers.iter().all(|number| are_digits(number) && is_some(number))
            && are_digits(&child[53..]);
        if is_context {
            digits(span, &mut child[36..52]);
            out.push_str(text(&child).unwrap_or_default());
        }
    }

    /// Append its `traceparent` to `out`.
    pub fn write(&self, out: &mut String) {
        let (high, low) = halves(self.trace);
        let mut all = *b"00-00000000000000000000000000000000-0000000000000000-00";
        digits(high, &mut all[3..19]);
        digits(low, &mut all[19..35]);
        digits(self.span, &mut all[36..52]);
        digits(self.flags.into(), &mut all[53..]);
        out.push_str(text(&all).unwrap_or_default());
    }
}

fn has_hyphens(text: &[u8; LENGTH]) -> bool {
    text[..3] == *b"00-" && text[35] == b'-' && text[52] == b'-'
}

/// Whether these are hexadecimal digits without capital letters: without a branch, so that many are looked at at once.
fn are_digits(text: &[u8]) -> bool {
    let is_digit = |byte: u8| byte.wrapping_sub(b'0') < 10 || byte.wrapping_sub(b'a') < 6;
    text.iter().fold(true, |all, byte| all & is_digit(*byte))
}

/// The number in at most 16 hexadecimal digits, without capital letters.
fn number(digits: &[u8]) -> Option<u64> {
    let (mut number, mut worst) = (0, 0);
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        number = number << 4 | u64::from(value & 0xf);
        worst |= value;
    }
    (worst < 16).then_some(number)
}

/// What each byte is worth as a hexadecimal digit; more than 15 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0_u8;
    while value < 16 {
        values[digit(value as u64) as usize] = value;
        value += 1;
    }
    values
};

/// `value` as hexadecimal digits, as many as `out` has room for, an even number: what formats anything costs several times as much.
fn digits(value: u64, out: &mut [u8]) {
    let (pairs, _) = out.as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().rev().zip(value.to_le_bytes()) {
        *pair = PAIRS[usize::from(byte)];
    }
}

/// The two digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0_usize;
    while byte < pairs.len() {
        pairs[byte] = [digit(byte as u64 >> 4), digit(byte as u64)];
        byte += 1;
    }
    pairs
};

/// The last hexadecimal digit of `value`.
const fn digit(value: u64) -> u8 {
    b"0123456789abcdef"[(value & 0xf) as usize]
}

/// Append `value` to `out` as hexadecimal digits.
pub fn hex(value: u64, out: &mut String) {
    let count = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut all = [0; 16];
    digits(value, &mut all);
    let wanted = &all[all.len().saturating_sub(count)..];
    out.push_str(text(wanted).unwrap_or_default());
}

/// A `traceparent` for an event that came without one, written into `out`.
pub fn new_traceparent(out: &mut String) -> &str {
    TraceContext::new().write(out);
    out
}

impl DeliverySpan<'_> {
    /// The span's id.
    pub fn id(&self) -> u64 {
        let numbers = [
            Some(u64::from(self.log)),
            Some(self.event),
            Some(u64::from(self.attempt)),
            self.generation,
            // Apart from a generation.
            self.redriven.map(|at| !at),
        ];
        let plugin = fnv(0xcbf2_9ce4_8422_2325, self.plugin.as_bytes());
        mixed(numbers.into_iter().flatten().fold(plugin, fnv_number)).max(1)
    }
}

/// The factor of FNV-1a with 64 bits, and its powers.
const FNV: [u64; 9] = {
    let mut powers = [1_u64; 9];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1].wrapping_mul(0x0100_0000_01b3);
        power += 1;
    }
    powers
};

/// `hash` (FNV-1a) with `bytes` behind what it is of.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let with = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV[1]);
    bytes.iter().fold(hash, with)
}

/// `hash` with the eight bytes of `number` behind what it is of, the lowest first. Each byte waits for the one before, and most
/// numbers are small: the zeros at the end are taken at once.
fn fnv_number(hash: u64, number: u64) -> u64 {
    let zeros = number.leading_zeros() as usize / 8;
    let bytes = number.to_le_bytes();
    fnv(hash, &bytes[..bytes.len() - zeros]).wrapping_mul(FNV[zeros])
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

    #[test]
    fn digits_are_those_of_the_formatter() {
        for value in [0, 1, 0xf, 0x10, 0xdead_beef, u64::MAX] {
            let mut out = String::new();
            hex(value, &mut out);
            assert_eq!(
                (&*out, number(out.as_bytes())),
                (&*format!("{value:x}"), Some(value))
            );
        }
    }

    #[test]
    fn the_zeros_of_a_number_are_hashed_as_if_one_by_one() {
        let powers = (0..64).map(|bit| 1 << bit);
        for number in powers.chain([0, 0xff00, 0x0100_00ff, !7, u64::MAX]) {
            assert_eq!(
                fnv_number(7, number),
                fnv(7, &number.to_le_bytes()),
                "{number:#x}"
            );
        }
    }

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
        let mut child = String::new();
        context.with_span(7).write(&mut child);
        let child_of = |parent: &str| {
            let mut out = String::new();
            TraceContext::child_of(parent, 7, &mut out);
            out
        };
        assert_eq!(child_of(GIVEN), child);
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
            &GIVEN.replace("-01", "-z1"),
            &GIVEN.replace("0af7", "0ag7"),
            &GIVEN.replace("b7ad", "b:ad"),
            &GIVEN.replace("319c", "31/c"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333ä-1",
        ] {
            assert_eq!(TraceContext::parse(none), None, "{none}");
            assert_eq!(child_of(none), "", "{none}");
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
