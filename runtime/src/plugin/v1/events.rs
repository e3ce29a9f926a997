//! `events` and `packed-events`: what a guest emits is checked here and nowhere else.

use super::nerve::plugin::{events as wit, packed_events};
use crate::delivery::handler::Emit;
use crate::ingest::message_pack;
use crate::log::record::{FailureClass, Level, Mode};
use crate::log::text;
use crate::plugin::emits;
use crate::plugin::guest::Guest;
use crate::plugin::promised::broken_by;

impl wit::Host for Guest {
    fn emit(&mut self, event: wit::NewEvent) -> wasmtime::Result<Result<(), wit::EmitError>> {
        self.count_call()?;
        Ok(self.take(event.into()))
    }
}

impl packed_events::Host for Guest {
    fn emit(&mut self, event: Vec<u8>) -> wasmtime::Result<Result<(), wit::EmitError>> {
        self.count_call()?;
        let Some(event) = unpack(event) else {
            let reason = "an event that was emitted in one piece is cut off, has no type, or has a text that is not UTF-8: \
                          `wit/packed-events.wit` says how it is laid out";
            return Ok(Err(self.invalid(reason.into())));
        };
        Ok(self.take(event))
    }
}

impl Guest {
    fn take(&mut self, event: Emit) -> Result<(), wit::EmitError> {
        let emit = self.taken(event)?;
        self.handled.effects.emits.push(emit);
        Ok(())
    }

    /// An event that is emitted now or by a timer, checked against limits and form. A refusal fails the delivery.
    pub(super) fn taken(&mut self, event: Emit) -> Result<Emit, wit::EmitError> {
        if let Err(reason) = self.emitted.count(event.data.len(), &self.settings.limits) {
            self.limit_hit(reason.clone());
            return Err(wit::EmitError::Limit(reason));
        }
        let promised = self.promised.of_type(&event.r#type);
        let is_message_pack = event.content_type.is_none() && !self.json;
        if is_message_pack && promised.is_some_and(|schema| schema.plainly_takes(&event.data)) {
            let checked = check_texts(&event);
            return checked.map(|()| event).map_err(|reason| self.invalid(reason));
        }
        let emit = match checked(event, promised.is_some(), self.json) {
            Ok(emit) => emit,
            Err(reason) => return Err(self.invalid(reason)),
        };
        match promised.and_then(|schema| broken_by(&emit, schema)) {
            Some(broken) if self.promised.mode == Mode::Enforce => {
                self.hit_as(FailureClass::Contract, broken.clone());
                Err(wit::EmitError::Invalid(broken))
            }
            Some(broken) => {
                self.log_line(Level::Warn, broken);
                Ok(emit)
            }
            None => Ok(emit),
        }
    }

    /// What is not well-formed fails the delivery.
    pub(super) fn invalid(&mut self, reason: String) -> wit::EmitError {
        self.limit_hit(reason.clone());
        wit::EmitError::Invalid(reason)
    }
}

impl From<wit::NewEvent> for Emit {
    fn from(event: wit::NewEvent) -> Self {
        Self {
            r#type: event.type_.into(),
            key: event.key.map(Into::into),
            subject: event.subject.map(Into::into),
            content_type: event.content_type.map(Into::into),
            data: event.data,
        }
    }
}

/// The length of what an event in one piece does not have.
const NONE: u32 = u32::MAX;

/// The event in `piece`, which is laid out as `wit/packed-events.wit` says; `None` where it is not.
fn unpack(mut piece: Vec<u8>) -> Option<Emit> {
    let (lengths, mut rest) = piece.split_first_chunk::<16>()?;
    let mut lengths = lengths.as_chunks().0.iter().copied().map(u32::from_le_bytes);
    let mut text = || {
        let length = lengths.next()?;
        if length == NONE {
            return Some(None);
        }
        let (text, behind) = rest.split_at_checked(length.try_into().ok()?)?;
        rest = behind;
        text::text(text).map(|text| Some(text.into()))
    };
    let (r#type, subject, key, content_type) = (text()??, text()?, text()?, text()?);
    let texts = piece.len() - rest.len();
    piece.drain(..texts);
    Some(Emit {
        r#type,
        key,
        subject,
        content_type,
        data: piece,
    })
}

/// `event` with its data as the log has it. Where its type `is_known`, that was checked before.
fn checked(event: Emit, is_known: bool, json: bool) -> Result<Emit, String> {
    let name = &event.r#type;
    if !is_known {
        emits::check_name(name)?;
    }
    check_texts(&event)?;
    if !event.content_type.as_deref().is_none_or(message_pack::is_json) {
        return Ok(event);
    }
    if json {
        let data = message_pack::from_json(&event.data)
            .map_err(|cause| format!("the data of an emitted {name} is no JSON: {cause}"))?;
        return Ok(Emit { data, ..event });
    }
    message_pack::check(&event.data)
        .map_err(|cause| format!("the data of an emitted {name} is no MessagePack: {cause}"))?;
    Ok(event)
}

fn check_texts(event: &Emit) -> Result<(), String> {
    emits::check_texts(
        &event.r#type,
        event.key.as_deref(),
        event.subject.as_deref(),
        event.content_type.as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(lengths: [u32; 4], behind: &[u8]) -> Vec<u8> {
        [&lengths.map(u32::to_le_bytes).concat()[..], behind].concat()
    }

    #[test]
    fn a_piece_is_read_as_the_interface_says() {
        let event = unpack(piece([3, NONE, 2, 0], "a.bü\u{7}\u{8}".as_bytes())).unwrap();
        assert_eq!((&*event.r#type, event.subject), ("a.b", None));
        assert_eq!(
            (event.key.as_deref(), event.content_type.as_deref()),
            (Some("ü"), Some(""))
        );
        assert_eq!(event.data, [7, 8]);
        let texts = unpack(piece([1, 1, 1, 1], b"tskc")).unwrap();
        assert_eq!(
            (texts.subject.as_deref(), texts.key.as_deref()),
            (Some("s"), Some("k"))
        );
        assert!(texts.data.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_no_text_or_has_no_type_is_no_piece() {
        let whole = piece([1, 2, NONE, 3], b"abbccc");
        assert!(unpack(whole.clone()).is_some());
        for end in 0..whole.len() {
            assert_eq!(unpack(whole[..end].to_vec()), None, "{end} bytes");
        }
        for (lengths, behind) in [
            ([NONE, NONE, NONE, NONE], &b"a"[..]),
            ([NONE - 1, NONE, NONE, NONE], b"a"),
            ([1, NONE - 1, NONE - 1, NONE - 1], b"a"),
            ([1, NONE, NONE, NONE], b"\xff"),
            ([1, NONE, 1, NONE], b"a\xff"),
        ] {
            assert_eq!(unpack(piece(lengths, behind)), None, "{lengths:?}");
        }
    }
}
