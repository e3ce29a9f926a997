//! Which events a version is tried on.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use nerve_eventlog::{Micros, Offset};

/// Which events. All ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The last that were settled, so many.
    Last(u64),
    /// Those with these offsets.
    Offsets(Offset, Offset),
    /// Those that were appended in this time.
    Times(Micros, Micros),
}

impl Default for Against {
    fn default() -> Self {
        Self::Last(10_000)
    }
}

/// A text names no events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no events: write last:1000, or a range of offsets such as @120..@980, or of times such as \
     2026-01-02T03:00:00Z..2026-01-02T04:00:00Z; either end may be left out"
)]
pub struct BadAgainst(String);

impl FromStr for Against {
    type Err = BadAgainst;

    fn from_str(text: &str) -> Result<Self, BadAgainst> {
        let bad = || BadAgainst(text.chars().take(100).collect());
        if let Some(count) = text.strip_prefix("last:") {
            let count = count.parse().ok().filter(|count| *count > 0);
            return count.map(Self::Last).ok_or_else(bad);
        }
        let (from, to) = text.split_once("..").ok_or_else(bad)?;
        if let (Some(from), Some(to)) = (offset(from, 1), offset(to, u64::MAX)) {
            return (from <= to)
                .then_some(Self::Offsets(Offset(from), Offset(to)))
                .ok_or_else(bad);
        }
        match (time(from, 0), time(to, u64::MAX)) {
            (Some(from), Some(to)) if from <= to => Ok(Self::Times(Micros(from), Micros(to))),
            _ => Err(bad()),
        }
    }
}

fn offset(text: &str, open: u64) -> Option<u64> {
    if text.is_empty() {
        return Some(open);
    }
    text.strip_prefix('@').unwrap_or(text).parse().ok()
}

fn time(text: &str, open: u64) -> Option<u64> {
    if text.is_empty() {
        return Some(open);
    }
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok()
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = |micros: u64| {
            let time = i64::try_from(micros).ok().map(Timestamp::from_microsecond);
            time.and_then(Result::ok)
                .map_or_else(String::new, |time| time.to_string())
        };
        match self {
            Self::Last(count) => write!(f, "last:{count}"),
            Self::Offsets(from, Offset(u64::MAX)) => write!(f, "{from}.."),
            Self::Offsets(from, to) => write!(f, "{from}..{to}"),
            Self::Times(from, to) => write!(f, "{}..{}", moment(from.0), moment(to.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_by_number_offset_or_time() {
        let hour = |hour: u64| Micros(hour * 3_600_000_000);
        for (text, named) in [
            ("last:7", Against::Last(7)),
            ("3..9", Against::Offsets(Offset(3), Offset(9))),
            ("@3..@3", Against::Offsets(Offset(3), Offset(3))),
            ("..@9", Against::Offsets(Offset(1), Offset(9))),
            ("3..", Against::Offsets(Offset(3), Offset(u64::MAX))),
            (
                "1970-01-01T01:00:00Z..1970-01-01T02:00:00Z",
                Against::Times(hour(1), hour(2)),
            ),
            (
                "1970-01-01T01:00:00Z..",
                Against::Times(hour(1), Micros(u64::MAX)),
            ),
        ] {
            assert_eq!(text.parse(), Ok(named), "{text}");
            assert_eq!(named.to_string().parse(), Ok(named), "{text}");
        }
    }

    #[test]
    fn what_names_no_events_is_refused_in_words() {
        for text in ["", "last:0", "last:x", "7", "9..3", "a..b", "@..", "yesterday.."] {
            let refused = text.parse::<Against>().unwrap_err().to_string();
            assert!(refused.contains("write last:1000"), "{text}: {refused}");
        }
    }
}
