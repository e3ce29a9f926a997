//! What an answer says about the event, or about the receiver.
//!
//! A status says little: a 400 may be a bad event, or a wrong secret that makes every event bad. Which of the two it is is
//! told by whether other keys fail as well, as with plugins. So every answer but 2xx is tried again, and only what speaks
//! of the receiver alone is an outage at once. That an event will never be taken is for the operator to say which status
//! says.

use std::time::Duration;

use jiff::Timestamp;
use nerve_eventlog::Micros;

use crate::delivery::handler::Failure;
use crate::log::record::{Answer, CallFailure, FailureClass};
use crate::plugin::v1::log::escaped;

/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Characters of an answer's body that a reason shows.
const SHOWN: usize = 200;

/// What `answer` of `target` is, at `now`: `None` where the event was taken.
pub(super) fn failure(answer: &Answer, target: &str, rejects: &[u16], now: Micros) -> Option<Failure> {
    let (status, headers, body) = match answer {
        Answer::Answered { status, .. } if (200..300).contains(status) => return None,
        Answer::Answered {
            status,
            headers,
            body,
        } => (*status, headers, body),
        Answer::Failed { class, reason } => {
            let class = match class {
                CallFailure::Connect | CallFailure::Denied => FailureClass::Unavailable,
                CallFailure::Limit => FailureClass::Limit,
                // The event may be what the receiver breaks at.
                CallFailure::Timeout | CallFailure::Protocol => FailureClass::Retry,
            };
            return Some(Failure::new(class, reason.clone()));
        }
    };
    let class = match status {
        _ if rejects.contains(&status) => FailureClass::Reject,
        300..=399 | 401 | 410 | 429 | 502 | 503 | 504 => FailureClass::Unavailable,
        _ => FailureClass::Retry,
    };
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    };
    let why = match status {
        300..=399 => format!(
            ", a redirect to {:?}, which is not followed: write the new address into webhook.url",
            header("location").unwrap_or_default()
        ),
        401 => ": it does not know this sender, so look at webhook.secrets and webhook.headers".to_owned(),
        410 => ": it wants no events any more; remove the webhook's file, or give it another url".to_owned(),
        _ => {
            let text: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.is_empty() {
                String::new()
            } else {
                format!(": {}", escaped(text))
            }
        }
    };
    Some(Failure {
        class,
        reason: format!("{target} answered {status}{why}"),
        retry_after: header("retry-after").and_then(|text| wait(text, now)),
    })
}

/// The wait that `Retry-After` asks for: seconds, or a date.
fn wait(text: &str, now: Micros) -> Option<Duration> {
    let text = text.trim();
    let asked = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new();
        let at: Timestamp = at.parse_timestamp(text).ok()?;
        let at = u64::try_from(at.as_microsecond()).ok()?;
        Duration::from_micros(at.saturating_sub(now.0))
    };
    Some(asked.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, header: Option<(&str, &str)>, body: &str) -> Answer {
        let headers = header.into_iter();
        Answer::Answered {
            status,
            headers: headers
                .map(|(name, value)| (name.to_owned(), serde_bytes::ByteBuf::from(value.as_bytes())))
                .collect(),
            body: body.into(),
        }
    }

    #[test]
    fn the_table_of_answers() {
        use FailureClass::{Limit, Reject, Retry, Unavailable};
        for (status, class) in [
            (200, None),
            (204, None),
            (299, None),
            (301, Some(Unavailable)),
            (400, Some(Retry)),
            (401, Some(Unavailable)),
            (404, Some(Retry)),
            (409, Some(Reject)),
            (410, Some(Unavailable)),
            (422, Some(Retry)),
            (429, Some(Unavailable)),
            (500, Some(Retry)),
            (503, Some(Unavailable)),
            (199, Some(Retry)),
            (999, Some(Retry)),
        ] {
            let failure = failure(&answered(status, None, "x"), "T", &[409], Micros(0));
            assert_eq!(failure.map(|failure| failure.class), class, "{status}");
        }
        for (failed, class) in [
            (CallFailure::Connect, Unavailable),
            (CallFailure::Denied, Unavailable),
            (CallFailure::Timeout, Retry),
            (CallFailure::Protocol, Retry),
            (CallFailure::Limit, Limit),
        ] {
            let answer = Answer::Failed {
                class: failed,
                reason: "r".into(),
            };
            assert_eq!(failure(&answer, "T", &[], Micros(0)).unwrap().class, class);
        }
    }

    #[test]
    fn a_reason_shows_little_of_the_answer_and_nothing_that_a_terminal_obeys() {
        let body = format!("no \u{1b}[2J\n  such {}", "x".repeat(10_000));
        let failure = failure(&answered(500, None, &body), "https://a/b", &[], Micros(0)).unwrap();
        assert!(
            failure
                .reason
                .starts_with("https://a/b answered 500: no \\u{1b}[2J such xxx"),
            "{failure:?}"
        );
        assert!(failure.reason.len() < 300);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_an_end() {
        let now = Micros(784_111_777_000_000);
        for (text, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("100000", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let answer = answered(503, Some(("retry-after", text)), "");
            let asked = failure(&answer, "T", &[], now).unwrap().retry_after;
            assert_eq!(asked.map(|asked| asked.as_secs()), seconds, "{text}");
        }
    }
}
