//! An event as the host hands it over: one piece of bytes, of which each part is looked up when it is asked for.

use std::fmt;

use serde::de::DeserializeOwned;

use super::unreadable;
use crate::bindings;
use crate::error::ParseError;
use crate::payload;

/// Bytes of the numbers that a packed event begins with: `wit/packed.wit` says what they are.
const HEAD: usize = 64;

/// Where the lengths are among them.
const LENGTHS: usize = 28;

/// The length of what an event does not have.
const NONE: u32 = u32::MAX;

/// The parts of an event that have a length, in their order.
#[derive(Clone, Copy)]
enum Part {
    Id,
    Type,
    Source,
    Subject,
    Key,
    ContentType,
    Correlation,
    Cause,
    Data,
}

/// How many they are.
const PARTS: usize = Part::Data as usize + 1;

/// An event that was delivered, as the host handed it over.
#[derive(Clone, PartialEq, Eq)]
pub struct RawEvent {
    packed: Vec<u8>,
    /// Where each part ends.
    ends: [usize; PARTS],
}

impl RawEvent {
    /// What the host packed; `None` where it is none.
    pub(crate) fn unpack(packed: Vec<u8>) -> Option<Self> {
        let mut lengths = packed.get(LENGTHS..HEAD)?.chunks_exact(4);
        let (mut ends, mut end) = ([HEAD; PARTS], HEAD);
        for place in &mut ends {
            let length = u32::from_le_bytes(lengths.next()?.try_into().ok()?);
            let length = if length == NONE {
                0
            } else {
                usize::try_from(length).ok()?
            };
            end = end.checked_add(length)?;
            *place = end;
        }
        (end <= packed.len()).then_some(Self { packed, ends })
    }

    /// Its id: unique within its source.
    pub fn id(&self) -> &str {
        self.text(Part::Id)
    }

    /// Its place in the one total order of the log; the first record of a log has offset 1.
    pub fn offset(&self) -> u64 {
        u64::from_le_bytes(self.number(0))
    }

    /// Its dotted type, such as `order.placed`.
    pub fn event_type(&self) -> &str {
        self.text(Part::Type)
    }

    pub(crate) fn has_type(&self, event_type: &str) -> bool {
        self.part(Part::Type) == event_type.as_bytes()
    }

    /// Who stated the fact: a URI reference. Events emitted by plugin `p` have the source `nerve:p`.
    pub fn source(&self) -> &str {
        self.text(Part::Source)
    }

    /// What it is about within its source, where the publisher said so.
    pub fn subject(&self) -> Option<&str> {
        self.has(Part::Subject).then(|| self.text(Part::Subject))
    }

    /// What must stay in order. An event without one is its own key.
    pub fn key(&self) -> Option<&str> {
        self.has(Part::Key).then(|| self.text(Part::Key))
    }

    /// When it happened, in microseconds since 1970-01-01T00:00:00Z: the publisher's time, or the time of acceptance
    /// where it gave none.
    pub fn time(&self) -> u64 {
        u64::from_le_bytes(self.number(8))
    }

    /// Media type of the data. That of `application/json` arrives as MessagePack.
    pub fn content_type(&self) -> &str {
        self.text(Part::ContentType)
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        self.part(Part::Data)
    }

    /// Id of the first event of its causal chain: its own where it is the first.
    pub fn correlation(&self) -> &str {
        self.text(Part::Correlation)
    }

    /// Id of the event whose handling emitted it.
    pub fn cause(&self) -> Option<&str> {
        self.has(Part::Cause).then(|| self.text(Part::Cause))
    }

    /// Events between it and the first of its chain: 0 for an event from outside.
    pub fn hops(&self) -> u32 {
        u32::from_le_bytes(self.number(16))
    }

    /// 1 for the first attempt at this delivery; counts on with every retry.
    pub fn attempt(&self) -> u32 {
        u32::from_le_bytes(self.number(20))
    }

    /// Whether it was delivered before, and is delivered again by an operator's redrive or rewind.
    pub fn is_replay(&self) -> bool {
        self.has_flag(1)
    }

    /// Whether the host may hand over another event within the same call.
    pub(crate) fn has_more(&self) -> bool {
        self.has_flag(2)
    }

    fn has_flag(&self, flag: u32) -> bool {
        u32::from_le_bytes(self.number(24)) & flag == flag
    }

    /// Read the data as a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ParseError> {
        payload::decode(self.data()).map_err(|reason| unreadable(self.event_type(), &reason))
    }

    fn number<const BYTES: usize>(&self, at: usize) -> [u8; BYTES] {
        self.packed[at..at + BYTES]
            .try_into()
            .expect("it has so many bytes")
    }

    fn has(&self, part: Part) -> bool {
        u32::from_le_bytes(self.number(LENGTHS + 4 * part as usize)) != NONE
    }

    fn part(&self, part: Part) -> &[u8] {
        let part = part as usize;
        let begin = part.checked_sub(1).map_or(HEAD, |before| self.ends[before]);
        &self.packed[begin..self.ends[part]]
    }

    fn text(&self, part: Part) -> &str {
        std::str::from_utf8(self.part(part)).expect("the host hands over UTF-8")
    }
}

impl From<bindings::Event> for RawEvent {
    fn from(event: bindings::Event) -> Self {
        let texts = [
            Some(&event.id),
            Some(&event.type_),
            Some(&event.source),
            event.subject.as_ref(),
            event.key.as_ref(),
            Some(&event.content_type),
            Some(&event.correlation),
            event.cause.as_ref(),
        ];
        let parts = texts.map(|text| text.map(String::as_bytes));
        let parts = parts.into_iter().chain([Some(&event.data[..])]);
        let mut packed = Vec::with_capacity(HEAD + 256 + event.data.len());
        packed.extend(event.offset.to_le_bytes());
        packed.extend(event.time.to_le_bytes());
        for number in [event.hops, event.attempt, u32::from(event.replay)] {
            packed.extend(number.to_le_bytes());
        }
        for part in parts.clone() {
            let length = part.map_or(NONE, |part| u32::try_from(part.len()).unwrap_or(NONE));
            packed.extend(length.to_le_bytes());
        }
        parts.flatten().for_each(|part| packed.extend(part));
        Self::unpack(packed).expect("it was packed just now")
    }
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEvent")
            .field("id", &self.id())
            .field("offset", &self.offset())
            .field("type", &self.event_type())
            .field("source", &self.source())
            .field("subject", &self.subject())
            .field("key", &self.key())
            .field("time", &self.time())
            .field("content_type", &self.content_type())
            .field("data", &self.data())
            .field("correlation", &self.correlation())
            .field("cause", &self.cause())
            .field("hops", &self.hops())
            .field("attempt", &self.attempt())
            .field("is_replay", &self.is_replay())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> bindings::Event {
        bindings::Event {
            id: "i".into(),
            offset: u64::MAX - 1,
            type_: "a.b".into(),
            source: "/s".into(),
            subject: Some(String::new()),
            key: None,
            time: 7,
            content_type: "application/json".into(),
            data: vec![0xc0, 0xff],
            correlation: "ü".into(),
            cause: Some("c".into()),
            hops: 3,
            attempt: 2,
            replay: true,
        }
    }

    #[test]
    fn a_packed_event_has_what_was_packed() {
        let raw = RawEvent::from(event());
        assert_eq!(
            (raw.id(), raw.event_type(), raw.source(), raw.subject(), raw.key()),
            ("i", "a.b", "/s", Some(""), None)
        );
        assert_eq!(
            (raw.content_type(), raw.data(), raw.correlation(), raw.cause()),
            ("application/json", &[0xc0, 0xff][..], "ü", Some("c"))
        );
        assert_eq!(
            (
                raw.offset(),
                raw.time(),
                raw.hops(),
                raw.attempt(),
                raw.is_replay()
            ),
            (u64::MAX - 1, 7, 3, 2, true)
        );
    }

    #[test]
    fn what_is_cut_off_is_no_event_and_what_comes_behind_is_passed_over() {
        let whole = RawEvent::from(event()).packed;
        for end in 0..whole.len() {
            assert_eq!(RawEvent::unpack(whole[..end].to_vec()), None, "{end} bytes");
        }
        let longer = [&whole[..], b"more"].concat();
        assert_eq!(RawEvent::unpack(longer).unwrap().data(), [0xc0, 0xff]);
    }
}
