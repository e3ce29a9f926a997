//! What a delivery may emit: limits and form, whoever hands it over.

use super::settings::Limits;
use crate::delivery::subscription::check_type;
use crate::ingest::{LONGEST_TEXT, is_media_type};

/// What one delivery emitted so far, now and by timers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Emitted {
    events: usize,
    bytes: usize,
}

impl Emitted {
    /// Count one more event with so many bytes of data. The error names the limit that it passes.
    pub(super) fn count(&mut self, bytes: usize, limits: &Limits) -> Result<(), String> {
        (self.events, self.bytes) = (self.events + 1, self.bytes + bytes);
        if self.events > limits.emits {
            return Err(format!(
                "limit emits: one delivery may emit {} events",
                limits.emits
            ));
        }
        if self.bytes > limits.emit_bytes {
            return Err(format!(
                "limit emit_bytes: one delivery may emit {} bytes",
                limits.emit_bytes
            ));
        }
        Ok(())
    }
}

/// Check the type of an emitted event.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    check_type(name).map_err(|bad| format!("an emitted event was refused: {bad}"))
}

/// Check key, subject and content type of an emitted event of type `name`.
pub(super) fn check_texts(
    name: &str,
    key: Option<&str>,
    subject: Option<&str>,
    content_type: Option<&str>,
) -> Result<(), String> {
    for (what, text) in [("key", key), ("subject", subject), ("content type", content_type)] {
        if text.is_some_and(|text| text.len() > LONGEST_TEXT || text.is_empty()) {
            return Err(format!(
                "the {what} of an emitted {name} must have 1 to {LONGEST_TEXT} bytes"
            ));
        }
    }
    if content_type.is_some_and(|text| !is_media_type(text)) {
        return Err(format!(
            "the content type of an emitted {name} has other characters than printable ASCII"
        ));
    }
    Ok(())
}
