//! Times as RFC 3339, in UTC.

use jiff::Timestamp;
use nerve_eventlog::Micros;

/// `micros` as text.
pub(crate) fn text(micros: Micros) -> String {
    let micros = i64::try_from(micros.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros)
        .map_or_else(|_| "beyond the calendar".to_owned(), |time| time.to_string())
}

/// The time in `text`, in microseconds since 1970.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let time: Timestamp = text.parse().map_err(|cause: jiff::Error| cause.to_string())?;
    u64::try_from(time.as_microsecond()).map_err(|_| "it lies before 1970".to_owned())
}
