//! The boundary between delivery and whatever runs a delivery.
//!
//! Delivery knows nothing of WebAssembly: it hands a [`Delivery`] to a [`Handler`] and gets back what came of
//! it. The plugin host implements the trait with a sandboxed guest, simulations with a function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use nerve_eventlog::{Micros, Offset};

use super::reads::Reads;
use super::retry::RetryPolicy;
use super::settle::{LARGEST_EFFECTS, LONGEST_CHAIN};
use super::timer::TimerLimits;
use crate::host::Stopped;
use crate::log::record::{Asked, Asks, Call, Event, FailureClass, Hash, Intent, Level, VersionId};
use crate::state::{KeyValues, OfRewind};

/// Lanes that a plugin may have at most.
pub const MOST_LANES: usize = 64;

/// One event handed to one plugin.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The event's offset.
    pub offset: Offset,
    /// When the event was appended.
    pub recorded: Micros,
    /// The event.
    pub event: &'a Event<'a>,
    /// The event's record.
    pub record: &'a [u8],
    /// From 1.
    pub attempt: u32,
    /// Whether an operator asked for this delivery, apart from the plugin's others.
    pub replay: bool,
    /// The rewind that it is of, or the rollback that took the state back.
    pub rewind: Option<OfRewind>,
    /// Whether that rewind is under way.
    pub historic: bool,
    /// Start of the attempt: what the plugin's clock says.
    pub started: Micros,
    /// Seed of the plugin's randomness.
    pub seed: u64,
    /// Its calls of somebody outside.
    pub outside: Outside<'a>,
}

impl<'a> Delivery<'a> {
    /// A first attempt at `event`, whose record is `record`, of nobody's time and place.
    pub fn first(event: &'a Event<'a>, record: &'a [u8]) -> Self {
        Self {
            offset: Offset(1),
            recorded: Micros(0),
            event,
            record,
            attempt: 1,
            replay: false,
            rewind: None,
            historic: false,
            started: Micros(0),
            seed: 0,
            outside: Outside::default(),
        }
    }
}

impl Delivery<'_> {
    /// Whether the event was delivered before and an operator let it be delivered again: what the plugin is told.
    pub fn is_replay(&self) -> bool {
        self.replay || self.rewind.is_some()
    }
}

/// What a delivery may do with the world outside. The default has no answers and calls nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outside<'a> {
    /// Calls of an earlier run of the same attempt, in order: their answers are used, as long as the same is asked,
    /// before anybody is called.
    pub calls: &'a [Call],
    /// How many of these the log has.
    pub logged: usize,
    /// The request behind them whose intent is durable already.
    pub asked: Option<Hash>,
    /// Where intents go before a call is made. Without it nobody is called: a call that has no answer in `calls` fails
    /// the delivery, and says so; of a rewind that mutes calls, the call alone.
    pub journal: Option<&'a Arc<dyn Journal>>,
}

/// Keeps the intents of a plugin's calls.
pub trait Journal: fmt::Debug + Send + Sync {
    /// Append `intent`, whose plugin is filled in, and block until it is durable, and with it everything before: what
    /// the delivery has read too.
    fn intend(&self, intent: Intent) -> Result<(), Stopped>;

    /// A tick finds that the attempt runs for long: whoever waits for it, and need not, is to go on.
    fn takes_long(&self);

    /// Whether another delivery may follow within the same call: only where the handler [`goes_on`](Handler::goes_on).
    fn may_go_on(&self) -> bool {
        false
    }

    /// The delivery under way came to `handled`, which is no failure. Hand the next one, whose event has at most `most` bytes of data, to
    /// `begin`: from then on it is the one under way. Gives `handled` back where that is to be settled by itself, or none follows.
    fn go_on(
        &self,
        handled: Handled,
        _most: usize,
        _begin: &mut dyn FnMut(&Delivery<'_>),
    ) -> Option<Handled> {
        Some(handled)
    }

    /// What tells the receiver of call number `index` that it was made before: the same over retries, restarts and
    /// versions, and another one in each rewind, whose `generation` is 0 where there is none.
    fn idempotency_key(&self, event: Offset, generation: u64, index: u32) -> String;

    /// The span of the attempt that `intent` is of and that began at `started`.
    fn span(&self, intent: &Intent, started: Micros) -> u64;
}

/// What came of one attempt.
#[derive(Debug, Default)]
pub struct Handled {
    /// Why it failed, where it failed; the effects are then dropped by the settling.
    pub failure: Option<Failure>,
    /// What the handler asked for.
    pub effects: Effects,
    /// Its log lines; kept also when it failed.
    pub lines: Vec<LogLine>,
    /// Log lines dropped or cut at a limit.
    pub lines_lost: u32,
    /// How long it ran.
    pub took: Duration,
    /// Whether the seed was used.
    pub used_seed: bool,
    /// Its calls of somebody outside, with their answers; kept also when it failed.
    pub calls: Vec<Call>,
    /// What it read of the settled state.
    pub reads: Reads,
    /// The call that it was stopped at, since nobody may be called and no answer to it is recorded.
    pub unanswered: Option<Asked>,
}

/// What a handler asks for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Effects {
    /// Events to emit, in order.
    pub emits: Vec<Emit>,
    /// State to write, by ascending key, each key once; `None` removes it.
    pub writes: Vec<(Box<str>, Option<Bytes>)>,
    /// Timers to set, by ascending name, each name once; `None` cancels it.
    pub timers: Vec<(Box<str>, Option<SetTimer>)>,
}

/// A timer to set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetTimer {
    /// When it fires.
    pub due: Micros,
    /// The event it then emits.
    pub emit: Emit,
}

/// An event to emit. Its parts were checked where the guest handed them over.
#[derive(Debug, Clone, PartialEq)]
pub struct Emit {
    /// Dotted type.
    pub r#type: CompactString,
    /// What must stay in order.
    pub key: Option<CompactString>,
    /// What it is about.
    pub subject: Option<CompactString>,
    /// Media type; `None` is `application/json`, whose data is MessagePack here.
    pub content_type: Option<CompactString>,
    /// The payload.
    pub data: Vec<u8>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// For people: names the cause.
    pub reason: String,
    /// The shortest wait before the next attempt that the plugin asked for.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// One that asks for no wait of its own.
    pub fn new(class: FailureClass, reason: String) -> Self {
        Self {
            class,
            reason,
            retry_after: None,
        }
    }
}

impl From<Failure> for Handled {
    /// An attempt that failed and did nothing else.
    fn from(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

/// One log line of a handler.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says; control characters are escaped.
    pub text: Box<str>,
}

/// Runs deliveries for one lane of one plugin, one at a time.
pub trait Handler: Send {
    /// The version that runs.
    fn version(&self) -> VersionId;

    /// Run one attempt. Never panics for what a guest does: that is a [`Failure`]. Where it went on ([`Journal::go_on`]), what it
    /// answers is of the last delivery that began.
    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled;

    /// Whether it asks for more, where that may be had.
    fn goes_on(&self) -> bool {
        false
    }

    /// Forget whatever it kept in memory since the last event: what it did then is not to be.
    fn discard(&mut self);
}

/// A version of a plugin that can run: what a swap puts in place.
pub trait Version: Send + Sync {
    /// Its id.
    fn id(&self) -> VersionId;

    /// What happens to its failed deliveries.
    fn retry_policy(&self) -> RetryPolicy;

    /// How many deliveries of it may run at a time, from 1 to [`MOST_LANES`].
    fn lanes(&self) -> usize;

    /// How many timers may be set at a time, and how large.
    fn timer_limits(&self) -> TimerLimits;

    /// Bytes that all keys and values of its state may have.
    fn state_bytes(&self) -> usize;

    /// Bytes that the effects of one delivery may have, as they are settled.
    fn batch_bytes(&self) -> usize {
        LARGEST_EFFECTS
    }

    /// How many events may lie between an event and the first of its causal chain before it is taken for a loop.
    fn hops(&self) -> u32 {
        LONGEST_CHAIN
    }

    /// The limits it runs in, by the name of their setting, which ends in the unit.
    fn limits(&self) -> Vec<(&'static str, u64)>;

    /// What an operator granted it, in the words of the settings.
    fn granted(&self) -> Asks {
        Asks::new()
    }

    /// A handler for one lane, reading `state`.
    fn handler(&self, state: Arc<KeyValues>) -> Box<dyn Handler>;
}

/// What a guest does that goes on: `one` delivery after the other, as long as more follow.
#[cfg(test)]
pub(crate) fn in_series(delivery: &Delivery<'_>, mut one: impl FnMut(&Delivery<'_>) -> Handled) -> Handled {
    let mut handled = one(delivery);
    let Some(journal) = delivery.outside.journal else {
        return handled;
    };
    while handled.failure.is_none() {
        let mut next = None;
        let back = journal.go_on(handled, usize::MAX, &mut |delivery| {
            let (offset, recorded) = (delivery.offset, delivery.recorded);
            let (started, seed) = (delivery.started, delivery.seed);
            next = Some((offset, recorded, delivery.record.to_vec(), started, seed));
        });
        if let Some(last) = back {
            return last;
        }
        let (offset, recorded, record, started, seed) = next.expect("it was begun");
        let event = crate::log::record::event(&record).unwrap().unwrap();
        let outside = Outside {
            journal: Some(journal),
            ..Outside::default()
        };
        handled = one(&Delivery {
            offset,
            recorded,
            started,
            seed,
            outside,
            ..Delivery::first(&event, &record)
        });
    }
    handled
}
