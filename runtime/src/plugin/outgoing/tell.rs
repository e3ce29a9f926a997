//! Calls of a webhook: one after the other to one place, over a connection that is kept.
//!
//! The name is looked up for each call all the same, and every address that it leads to is checked: a connection is kept to an
//! address that was allowed, and is not used where the name leads to one that is not. A receiver may close a connection just
//! when it is used again; that says nothing about the event, so the call is made once more, over a new one.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};

use super::{Failed, HostHeaders, Outgoing, Prepared, failed, headers};
use crate::log::record::{Answer, CallFailure};

/// How long a connection is kept that nobody uses.
pub(super) const KEPT: Duration = Duration::from_secs(15);

/// Makes connections, and counts them.
#[derive(Debug)]
pub(super) struct Counting {
    connector: DefaultConnector,
    made: Arc<AtomicU64>,
}

impl Counting {
    pub(super) fn new(made: Arc<AtomicU64>) -> Self {
        let connector = DefaultConnector::default();
        Self { connector, made }
    }
}

impl Connector<()> for Counting {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.connector.connect(details, chained)
    }
}

/// An answer of which as much was read as was wanted.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// Why its body is not all that was sent, where it is not.
    pub cut: Option<Failed>,
}

impl Outgoing {
    /// Make the call as [`call`](Self::call) does, but follow no redirect, and read at most so many bytes of the body as
    /// `wanted` says by status and headers: where more comes, or it breaks off, the status says what became of the call all
    /// the same.
    pub fn tell(&self, call: &Prepared, host: &HostHeaders, wanted: impl Fn(&Answer) -> usize) -> Told {
        let allowed = Duration::from_millis(self.options.time_ms);
        let until = Instant::now() + allowed;
        let before = self.made.load(Ordering::Relaxed);
        let mut answered = self.exchange(call, host, allowed);
        let was_kept = self.made.load(Ordering::Relaxed) == before;
        if was_kept && answered.as_ref().is_err_and(|error| broke(call, error)) {
            answered = self.exchange(call, host, until.saturating_duration_since(Instant::now()));
        }
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                return Told {
                    answer: failed(call, &error, allowed).into(),
                    cut: None,
                };
            }
        };
        let (status, headers) = (response.status().as_u16(), headers(&response));
        let with = |body| Answer::Answered {
            status,
            headers: headers.clone(),
            body,
        };
        let most = wanted(&with(Vec::new()));
        let mut body = Vec::new();
        // One more, so that the end is seen: a connection is kept whose answer was read to its end.
        let mut reader = response.body_mut().as_reader().take(most as u64 + 1);
        let read = reader.read_to_end(&mut body);
        let in_words = call.in_words();
        let cut = match read {
            Err(cause) => Some(Failed::new(
                CallFailure::Protocol,
                format!("the answer of {in_words} broke off: {cause}"),
            )),
            Ok(bytes) if bytes > most => Some(Failed::new(
                CallFailure::Limit,
                format!("limit http.answer_bytes: the answer of {in_words} has more than {most} bytes"),
            )),
            Ok(_) => None,
        };
        body.truncate(most);
        Told {
            answer: with(body),
            cut,
        }
    }
}

/// Whether the connection broke before there was an answer.
fn broke(call: &Prepared, error: &Error) -> bool {
    matches!(error, Error::Io(_)) && failed(call, error, Duration::ZERO).class == CallFailure::Protocol
}
