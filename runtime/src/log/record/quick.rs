//! Reads events and outcomes as they are mostly written: every delivery begins with an event, and whoever follows the log reads both.
//! What is written in any other way is `None`, and left to the reader of all records, which also says what is wrong with it.

use std::borrow::Cow;

use super::{Cause, Event, EventGist, Outcome, OutcomeGist, Verdict, VersionId, Write};
use crate::log::text::text;

/// The event whose `fields` these are.
pub(super) fn event(fields: &[u8]) -> Option<Event<'_>> {
    let mut rest = Fields(fields);
    rest.exactly(0x9d)?;
    let event = Event {
        id: rest.text()?,
        source: rest.text()?,
        r#type: rest.text()?,
        key: rest.maybe(Fields::text)?,
        subject: rest.maybe(Fields::text)?,
        time: rest.maybe(Fields::uint)?,
        content_type: rest.text()?,
        data: rest.bytes()?,
        correlation: rest.maybe(Fields::text)?,
        cause: rest.maybe(Fields::cause)?,
        traceparent: rest.maybe(Fields::text)?,
        data_schema: rest.maybe(Fields::text)?,
        extensions: rest.exactly(0x90).map(|()| Vec::new())?,
    };
    rest.0.is_empty().then_some(event)
}

/// The gist of the event whose `fields` these are.
pub(super) fn event_gist(fields: &[u8]) -> Option<EventGist<'_>> {
    let mut rest = Fields(fields);
    rest.exactly(0x9d)?;
    rest.pass(1)?;
    let (source, r#type) = (rest.text()?, rest.text()?);
    rest.pass(6)?;
    let cause = rest.maybe(|rest| {
        rest.exactly(0x94)?;
        rest.pass(1)?;
        let cause = (rest.uint()?, rest.uint()?.try_into().ok()?);
        rest.pass(1)?;
        Some(cause)
    })?;
    rest.pass(3)?;
    let gist = EventGist {
        source,
        r#type,
        cause,
    };
    rest.0.is_empty().then_some(gist)
}

/// The outcome whose `fields` these are, where its event is done, and its plugin wrote no line and did nothing but emit and write.
pub(super) fn outcome(fields: &[u8]) -> Option<Outcome<'_>> {
    let mut rest = Fields(fields);
    rest.exactly(0xdc)?;
    (rest.number()? == [0, 27]).then_some(())?;
    let outcome = Outcome {
        plugin: rest.text()?,
        version: VersionId(rest.bytes()?.try_into().ok()?),
        event: rest.uint()?,
        attempt: rest.uint()?.try_into().ok()?,
        replay: rest.flag()?,
        verdict: (rest.text()? == "done").then_some(Verdict::Done)?,
        key: rest.maybe(Fields::text)?,
        cleared: rest.flag()?,
        low_water: rest.uint()?,
        started: rest.uint()?,
        took: rest.uint()?,
        seed: rest.maybe(Fields::uint)?,
        emitted: rest.uint()?.try_into().ok()?,
        writes: rest.writes()?,
        lines: rest.exactly(0x90).map(|()| Vec::new())?,
        lines_lost: rest.uint()?.try_into().ok()?,
        free: rest.flag()?,
        opens: rest.exactly(0xc0).map(|()| None)?,
        timers: rest.exactly(0x90).map(|()| Vec::new())?,
        calls: rest.exactly(0x90).map(|()| Cow::Borrowed(&[][..]))?,
        waits_from: rest.maybe(Fields::uint)?,
        conflicts: rest.uint()?.try_into().ok()?,
        reads: rest.exactly(0xc0).map(|()| None)?,
        kept: rest.exactly(0xc0).map(|()| None)?,
        watched: rest.exactly(0xc0).map(|()| None)?,
        rewind: rest.exactly(0xc0).map(|()| None)?,
        own: rest.flag()?,
    };
    rest.0.is_empty().then_some(outcome)
}

/// The gist of the outcome whose `fields` these are, where its event is done, and not in a rewind.
pub(super) fn outcome_gist(fields: &[u8]) -> Option<OutcomeGist<'_>> {
    let mut rest = Fields(fields);
    rest.exactly(0xdc)?;
    (rest.number()? == [0, 27]).then_some(())?;
    let plugin = rest.text()?;
    rest.pass(1)?;
    let event = rest.uint()?;
    rest.pass(2)?;
    (rest.text()? == "done").then_some(())?;
    rest.pass(4)?;
    let took = rest.uint()?;
    rest.pass(14)?;
    rest.exactly(0xc0)?;
    rest.pass(1)?;
    let gist = OutcomeGist {
        plugin,
        event,
        took,
        retry: false,
        dead: false,
        historic: false,
    };
    rest.0.is_empty().then_some(gist)
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    fn exactly(&mut self, marker: u8) -> Option<()> {
        (self.byte()? == marker).then_some(())
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// `None` within where there is nothing.
    #[expect(
        clippy::option_option,
        reason = "what is not there is one thing, and what can't be read another"
    )]
    #[inline]
    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.0.first() == Some(&0xc0) {
            self.0 = &self.0[1..];
            return Some(None);
        }
        read(self).map(Some)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let length = match self.byte()? {
            marker @ 0xa0..0xc0 => usize::from(marker & 0x1f),
            0xd9 => u8::from_be_bytes(self.number()?).into(),
            0xda => u16::from_be_bytes(self.number()?).into(),
            _ => return None,
        };
        text(self.take(length)?)
    }

    /// Go past so many values, whatever they are: mostly texts, numbers and short lists.
    fn pass(&mut self, values: usize) -> Option<()> {
        let mut left = values;
        while left > 0 {
            left -= 1;
            let length = match self.byte()? {
                0..0x80 | 0xc0 | 0xc2 | 0xc3 => continue,
                list @ 0x90..0xa0 => {
                    left += usize::from(list & 0x0f);
                    continue;
                }
                text @ 0xa0..0xc0 => usize::from(text & 0x1f),
                0xc4 | 0xd9 => u8::from_be_bytes(self.number()?).into(),
                0xc5 | 0xda => u16::from_be_bytes(self.number()?).into(),
                0xc6 => u32::from_be_bytes(self.number()?).try_into().ok()?,
                number @ 0xcc..0xd0 => 1 << (number - 0xcc),
                _ => return None,
            };
            self.take(length)?;
        }
        Some(())
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => u8::from_be_bytes(self.number()?).into(),
            0xc5 => u16::from_be_bytes(self.number()?).into(),
            0xc6 => u32::from_be_bytes(self.number()?).try_into().ok()?,
            _ => return None,
        };
        self.take(length)
    }

    #[inline]
    fn uint(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            small @ 0..0x80 => small.into(),
            0xcc => u8::from_be_bytes(self.number()?).into(),
            0xcd => u16::from_be_bytes(self.number()?).into(),
            0xce => u32::from_be_bytes(self.number()?).into(),
            0xcf => u64::from_be_bytes(self.number()?),
            _ => return None,
        })
    }

    fn cause(&mut self) -> Option<Cause<'a>> {
        self.exactly(0x94)?;
        Some(Cause {
            id: self.text()?,
            offset: self.uint()?,
            hops: self.uint()?.try_into().ok()?,
            index: self.uint()?.try_into().ok()?,
        })
    }

    #[inline]
    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0xc2 => Some(false),
            0xc3 => Some(true),
            _ => None,
        }
    }

    /// At most 15 of them.
    fn writes(&mut self) -> Option<Vec<Write<'a>>> {
        let count = self.byte()? ^ 0x90;
        (0..16).contains(&count).then_some(())?;
        let write = |_| {
            self.exactly(0x93)?;
            Some(Write {
                key: self.text()?,
                value: self.maybe(Self::bytes)?,
                previous: self.maybe(Self::bytes)?,
            })
        };
        (0..count).map(write).collect()
    }
}
