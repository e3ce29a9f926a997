//! `POST /v1/events` as a stream: an event a line, appended as the lines come in, and acknowledged in ranges as they become
//! durable.
//!
//! Taking lines and acknowledging them is one stream, which is polled as far as the client reads its answer: whoever reads
//! none of it is not read from for ever, and what waits for the disk is bounded. What the host can't take for now it keeps, at most what came in one part, and
//! reads on when it has taken that. An event that is refused ends the stream: those before it are taken, and those behind it
//! are not looked at.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt;
use nerve_eventlog::Offset;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{LONGEST_WAIT, content_type, is_binary, may_publish, unknown};
use crate::access::{Access, AccessError, Caller};
use crate::cloud_event;
use crate::host::{Host, PublishError, Published, Stopped};
use crate::http::body::{broken, drain, too_large, unread};
use crate::http::problem::Problem;
use crate::http::routes::refusal;
use crate::http::wait::Asked;
use crate::ingest::{TooFast, ValidEvent};

/// What is sent, and answered.
const KIND: &str = "application/x-ndjson";

/// Bytes of one stream that may wait for the disk: no more of it is read while there are as many.
const MOST_WAITING: usize = 4 << 20;

pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    content_type(headers).1 == KIND && !is_binary(headers)
}

pub(super) async fn begin(
    host: &Host,
    caller: Caller,
    access: Arc<Access>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    let refused = match asked.wait(request.headers()) {
        Ok(None) => None,
        Ok(Some(_)) => Some(
            Problem::query("`wait_for` is for requests that end, and a stream goes on").hint(
                "leave it out, and ask for a plugin's state with `min_offset`, or publish with `wait_for` in a batch",
            ),
        ),
        Err(problem) => Some(problem),
    };
    if let Some(problem) = refused {
        return Err(unread(request, problem));
    }
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut stream = Streamed {
        host: host.clone(),
        caller,
        access,
        body: request.into_body().into_data_stream(),
        line: BytesMut::new(),
        held: None,
        appended: 0,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        patience: None,
        acknowledged: 0,
        end: None,
        told: false,
    };
    // Who asks whether to go on is answered by reading, which has to come before the head of the answer.
    if asks_first {
        tokio::select! {
            first = stream.body.next() => stream.read(first),
            () = host.stopping() => return Err(Stopped::Stopping.into()),
        }
    }
    let lines = futures_util::stream::unfold(stream, |mut stream| async move {
        let lines = stream.next().await?;
        Some((Ok::<_, Infallible>(lines), stream))
    });
    let kind = [(header::CONTENT_TYPE, KIND)];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// A stream on its way in.
struct Streamed {
    host: Host,
    caller: Caller,
    access: Arc<Access>,
    body: BodyDataStream,
    /// The beginning of a line.
    line: BytesMut,
    /// What was read, and can't be appended for now.
    held: Option<Held>,
    /// Events that are appended.
    appended: usize,
    /// Those of them that are not acknowledged, oldest first.
    waiting: VecDeque<Range>,
    /// Their bytes.
    waiting_bytes: usize,
    /// When the oldest of them has waited for too long.
    patience: Option<Instant>,
    /// Events that are acknowledged.
    acknowledged: usize,
    /// Why no more is read: the body is at its end, or something is refused.
    end: Option<Result<(), Problem>>,
    /// Whether the client knows of the end.
    told: bool,
}

/// Events that can't be appended for now.
struct Held {
    events: Vec<ValidEvent>,
    until: Until,
}

/// When to try again.
enum Until {
    /// Once this is durable, so that less waits for the disk.
    Durable(Offset),
    /// Once their source may publish again.
    Then(Instant),
}

/// Events that stand one behind the other in the stream, and in the log as well.
#[derive(Serialize)]
struct Range {
    /// Which event of the stream is the first, from 0.
    first: usize,
    count: usize,
    /// Where the first one is.
    offset: u64,
    /// Whether they were there before.
    duplicate: bool,
    #[serde(skip)]
    bytes: usize,
}

/// The last line.
#[derive(Serialize)]
struct End {
    /// How many events of the stream are durable: all that stand before this one.
    taken: usize,
    /// Why this one is not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// Seconds after which to go on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Streamed {
    /// The next lines of the answer, each of them whole; `None` behind the last.
    ///
    /// # Cancel safety
    /// May be cancelled at any time: what was read is kept in `self`.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let oldest = self.waiting.front().map(Range::through);
            if oldest.is_none()
                && self.held.is_none()
                && let Some(end) = self.end.clone()
            {
                return (!std::mem::replace(&mut self.told, true)).then(|| self.last_line(end.err()));
            }
            let reads = self.end.is_none() && self.held.is_none() && self.waiting_bytes < MOST_WAITING;
            let durable = self.host.durable(oldest.unwrap_or_default());
            let patience =
                oldest.map(|_| *self.patience.get_or_insert_with(|| Instant::now() + LONGEST_WAIT));
            let durable = timeout_at(patience.unwrap_or_else(Instant::now), durable);
            tokio::select! {
                biased;
                durable = durable, if oldest.is_some() => match durable {
                    Ok(Ok(through)) => return Some(self.acknowledge(through)),
                    Ok(Err(stopped)) => self.give_up(stopped.into()),
                    Err(_) => self.give_up(unknown(self.waiting.back().map_or_else(Offset::default, Range::through))),
                },
                () = again(&self.host, self.held.as_ref()), if self.held.is_some() => {
                    let events = self.held.take().map_or_else(Vec::new, |held| held.events);
                    self.append(events);
                }
                part = self.body.next(), if reads => self.read(part),
                () = self.host.stopping(), if reads => self.refuse(Stopped::Stopping.into()),
            }
        }
    }

    /// Take the lines that `part` of the body ends; `None` is the end of the body, which ends a line as well.
    fn read(&mut self, part: Option<Result<Bytes, axum::Error>>) {
        match part {
            Some(Ok(part)) => {
                let Some(end) = memchr::memrchr(b'\n', &part) else {
                    self.line.extend_from_slice(&part);
                    return self.bound_line();
                };
                let (lines, rest) = part.split_at(end);
                if self.line.is_empty() {
                    self.take(lines);
                } else {
                    self.line.extend_from_slice(lines);
                    let lines = std::mem::take(&mut self.line);
                    self.take(&lines);
                }
                self.line.extend_from_slice(&rest[1..]);
                self.bound_line();
            }
            Some(Err(cause)) => self.refuse(broken(&cause)),
            None => {
                let line = std::mem::take(&mut self.line);
                self.take(&line);
                self.end.get_or_insert(Ok(()));
            }
        }
    }

    fn bound_line(&mut self) {
        let limit = self.host.acceptor().limits().request_bytes;
        if self.line.len() > limit {
            self.refuse(too_large(
                "the line",
                limit,
                "send references instead of large data",
            ));
        }
    }

    /// Accept and append the events in `lines`, up to the first that is refused.
    fn take(&mut self, lines: &[u8]) {
        let mut events = Vec::new();
        let mut refused = None;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', lines).chain([lines.len()]) {
            let line = lines[begin..end].trim_ascii();
            begin = end + 1;
            if line.is_empty() {
                continue;
            }
            match self.accept(line) {
                Ok(event) => events.push(event),
                Err(problem) => {
                    refused = Some(problem);
                    break;
                }
            }
        }
        self.append(events);
        if let Some(problem) = refused {
            self.refuse(problem);
        }
    }

    fn accept(&self, line: &[u8]) -> Result<ValidEvent, Problem> {
        let event = cloud_event::structured(self.host.acceptor(), line)?;
        may_publish(&self.caller, &event)?;
        Ok(event)
    }

    fn append(&mut self, mut events: Vec<ValidEvent>) {
        if events.is_empty() {
            return;
        }
        if !self.access.still_admits(&self.caller) {
            self.end = Some(Err(refusal(AccessError::Unknown)));
            return;
        }
        let until = match self.host.publish(&events) {
            Ok(published) => return self.appended(&events, &published),
            Err(PublishError::Busy { .. }) => Until::Durable(self.host.log().bounds().next_durable()),
            Err(PublishError::TooFast(TooFast { retry_after, .. })) => {
                Until::Then(Instant::now() + retry_after)
            }
            Err(mut refused) => {
                let before = refused.index_mut().map(|index| {
                    let place = self.appended + *index;
                    std::mem::replace(index, place)
                });
                // It stands before whatever of these lines was refused when they were read, and behind what is refused of
                // those before it.
                self.end = Some(Err(refused.into()));
                if let Some(before) = before {
                    events.truncate(before);
                    self.append(events);
                }
                return;
            }
        };
        self.held = Some(Held { events, until });
    }

    fn appended(&mut self, events: &[ValidEvent], published: &[Published]) {
        let begin = self.appended;
        for (event, Published { offset, duplicate }) in events.iter().zip(published) {
            let one = Range {
                first: self.appended,
                count: 1,
                offset: offset.0,
                duplicate: *duplicate,
                bytes: event.record().len(),
            };
            self.appended += 1;
            self.waiting_bytes += one.bytes;
            match self.waiting.back_mut() {
                // What was appended before these may be durable sooner.
                Some(last) if last.first >= begin && last.goes_on_with(&one) => last.join(&one),
                _ => self.waiting.push_back(one),
            }
        }
    }

    /// Nothing of what waits will be known to be durable.
    fn give_up(&mut self, problem: Problem) {
        self.waiting.clear();
        self.held = None;
        self.end = Some(Err(problem));
    }

    /// Take nothing more, where there was no reason yet.
    fn refuse(&mut self, problem: Problem) {
        self.end.get_or_insert(Err(problem));
    }

    /// The acknowledgements of what is durable `through` there.
    fn acknowledge(&mut self, through: Offset) -> Bytes {
        self.patience = None;
        let mut lines = Vec::new();
        while let Some(mut range) = self.waiting.pop_front_if(|range| range.through() <= through) {
            while let Some(next) = self
                .waiting
                .pop_front_if(|next| next.through() <= through && range.goes_on_with(next))
            {
                range.join(&next);
            }
            self.acknowledged += range.count;
            self.waiting_bytes -= range.bytes;
            line(&mut lines, &range);
        }
        lines.into()
    }

    fn last_line(&mut self, problem: Option<Problem>) -> Bytes {
        if let Some(problem) = &problem {
            self.host.count_refused(&problem.code);
            drain(std::mem::replace(
                &mut self.body,
                Body::empty().into_data_stream(),
            ));
        }
        let mut last = Vec::new();
        let end = End {
            taken: self.acknowledged,
            retry_after: problem.as_ref().and_then(|problem| problem.retry_after),
            problem,
        };
        line(&mut last, &end);
        last.into()
    }
}

impl Range {
    /// Where its last event is.
    fn through(&self) -> Offset {
        Offset(self.offset + self.count as u64 - 1)
    }

    fn goes_on_with(&self, next: &Self) -> bool {
        self.duplicate == next.duplicate && self.through().next().0 == next.offset
    }

    fn join(&mut self, next: &Self) {
        self.count += next.count;
        self.bytes += next.bytes;
    }
}

/// Completes when what is held may be tried again.
async fn again(host: &Host, held: Option<&Held>) {
    match held.map(|held| &held.until) {
        // Once there is nothing more to wait for, appending says why.
        Some(Until::Durable(through)) => drop(host.durable(*through).await),
        Some(Until::Then(at)) => drop(timeout_at(*at, host.stopping()).await),
        None => {}
    }
}

fn line(out: &mut Vec<u8>, shown: &impl Serialize) {
    if serde_json::to_writer(&mut *out, shown).is_ok() {
        out.push(b'\n');
    }
}
