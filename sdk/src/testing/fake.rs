//! The host's functions as the test host answers them: one attempt per thread at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::outcome::{Emitted, Line, TimerSet};
use crate::context::{Moment, RawEmit};
use crate::error::{EmitError, StateError};
use crate::event::piece::unpack;
use crate::http::{HttpError, Request, Response};
use crate::log::Level;

const MAX_STATE_KEY: usize = 512;
const MAX_EVENT_KEY: usize = 256;
const MAX_TYPE: usize = 256;
const MAX_TIMER_NAME: usize = 256;
const MAX_SCAN: usize = 1000;
const MAX_RANDOM: u32 = 65536;

/// What one attempt sees and has done so far.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(super) state: BTreeMap<String, Vec<u8>>,
    pub(super) emitted: Vec<Emitted>,
    pub(super) timers: BTreeMap<String, TimerSet>,
    pub(super) lines: Vec<Line>,
    /// What the next calls are answered.
    pub(super) answers: VecDeque<Result<Response, HttpError>>,
    /// What was asked outside.
    pub(super) requests: Vec<Request>,
    /// The first refusal: the delivery fails with it.
    pub(super) broken: Option<String>,
    config: BTreeMap<String, String>,
    now: u64,
    random: u64,
}

impl Attempt {
    pub(super) fn new(
        state: BTreeMap<String, Vec<u8>>,
        timers: BTreeMap<String, TimerSet>,
        config: BTreeMap<String, String>,
        answers: VecDeque<Result<Response, HttpError>>,
        now: u64,
        seed: u64,
    ) -> Self {
        Self {
            state,
            timers,
            emitted: Vec::new(),
            lines: Vec::new(),
            answers,
            requests: Vec::new(),
            broken: None,
            config,
            now,
            random: seed,
        }
    }

    fn refuse(&mut self, reason: String) -> String {
        self.broken.get_or_insert_with(|| reason.clone());
        reason
    }
}

thread_local! {
    static ATTEMPT: RefCell<Option<Attempt>> = const { RefCell::new(None) };
}

pub(super) fn begin(attempt: Attempt) {
    ATTEMPT.set(Some(attempt));
}

pub(super) fn end() -> Attempt {
    ATTEMPT
        .take()
        .expect("an attempt was begun on this thread and nobody else ends it")
}

fn with<T>(what: &str, then: impl FnOnce(&mut Attempt) -> T) -> T {
    ATTEMPT.with_borrow_mut(|attempt| match attempt {
        Some(attempt) => then(attempt),
        None => panic!("{what} outside a delivery: deliver an event through `nerve_sdk::testing::Host`"),
    })
}

pub(crate) fn emit(piece: &[u8]) -> Result<(), EmitError> {
    let event = unpack(piece).expect("it was packed just now");
    with("an event was emitted", |attempt| {
        let emitted = checked(attempt, &event)?;
        attempt.emitted.push(emitted);
        Ok(())
    })
}

pub(crate) fn timer_set(name: &str, moment: Moment, event: &RawEmit<'_>) -> Result<(), EmitError> {
    with("a timer was set", |attempt| {
        check_name(attempt, name)?;
        let event = checked(attempt, event)?;
        let due = match moment {
            Moment::At(micros) => micros,
            Moment::After(millis) => attempt.now.saturating_add(millis.saturating_mul(1000)),
        };
        attempt.timers.insert(name.to_owned(), TimerSet { due, event });
        Ok(())
    })
}

pub(crate) fn timer_cancel(name: &str) -> Result<(), EmitError> {
    with("a timer was cancelled", |attempt| {
        check_name(attempt, name)?;
        attempt.timers.remove(name);
        Ok(())
    })
}

fn check_name(attempt: &mut Attempt, name: &str) -> Result<(), EmitError> {
    if name.is_empty() || name.len() > MAX_TIMER_NAME {
        let reason = format!(
            "the name of a timer has {} bytes: it must have 1 to {MAX_TIMER_NAME}",
            name.len()
        );
        return Err(EmitError::Invalid(attempt.refuse(reason)));
    }
    Ok(())
}

fn checked(attempt: &mut Attempt, event: &RawEmit<'_>) -> Result<Emitted, EmitError> {
    let token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if event.type_.len() > MAX_TYPE || !event.type_.split('.').all(token) {
        return Err(EmitError::Invalid(
            attempt.refuse(format!("{:?} is not an event type", event.type_)),
        ));
    }
    if event
        .key
        .is_some_and(|key| key.is_empty() || key.len() > MAX_EVENT_KEY)
    {
        let reason = format!("the key of {} has not 1 to {MAX_EVENT_KEY} bytes", event.type_);
        return Err(EmitError::Invalid(attempt.refuse(reason)));
    }
    Ok(Emitted {
        type_: event.type_.to_owned(),
        subject: event.subject.map(str::to_owned),
        key: event.key.map(str::to_owned),
        content_type: event.content_type.map(str::to_owned),
        data: event.data.to_vec(),
    })
}

pub(crate) fn http_send(request: &Request) -> Result<Response, HttpError> {
    with("a request was sent", |attempt| {
        attempt.requests.push(request.clone());
        attempt.answers.pop_front().unwrap_or_else(|| {
            panic!(
                "no answer is left for {} {}: give one with `host.answer(..)`",
                request.method, request.url
            )
        })
    })
}

pub(crate) fn state_get(key: &str) -> Option<Vec<u8>> {
    with("state was read", |attempt| attempt.state.get(key).cloned())
}

pub(crate) fn state_set(key: &str, value: Vec<u8>) -> Result<(), StateError> {
    with("state was written", |attempt| {
        check_key(attempt, key)?;
        attempt.state.insert(key.to_owned(), value);
        Ok(())
    })
}

pub(crate) fn state_delete(key: &str) -> Result<(), StateError> {
    with("state was written", |attempt| {
        check_key(attempt, key)?;
        attempt.state.remove(key);
        Ok(())
    })
}

fn check_key(attempt: &mut Attempt, key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > MAX_STATE_KEY {
        let reason = format!("a key of {} bytes: it must have 1 to {MAX_STATE_KEY}", key.len());
        return Err(StateError::Key(attempt.refuse(reason)));
    }
    Ok(())
}

pub(crate) fn state_scan(prefix: &str, after: Option<&str>, limit: u32) -> Vec<(String, Vec<u8>)> {
    with("state was read", |attempt| {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        attempt
            .state
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take((limit as usize).min(MAX_SCAN))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    })
}

pub(crate) fn log(level: Level, message: &str) {
    with("a log line was written", |attempt| {
        attempt.lines.push(Line {
            level,
            message: message.to_owned(),
        });
    });
}

pub(crate) fn now() -> u64 {
    with("the clock was read", |attempt| attempt.now)
}

/// An event is handled alone here.
pub(crate) fn next() -> Option<Vec<u8>> {
    None
}

/// `SplitMix64`: short, and good enough to look random in a test.
pub(crate) fn random_u64() -> u64 {
    with("a random number was drawn", |attempt| {
        attempt.random = attempt.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = attempt.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

pub(crate) fn random_bytes(len: u32) -> Vec<u8> {
    let len = len.min(MAX_RANDOM) as usize;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn config(key: &str) -> Option<String> {
    with("configuration was read", |attempt| {
        attempt.config.get(key).cloned()
    })
}
