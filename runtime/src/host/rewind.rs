//! Rewinds: an operator lets history run again through one plugin.

use nerve_eventlog::{Log, Micros, Offset, Reach, ReadError};

use super::{AskError, Host, PluginStatus, Stopped};
use crate::delivery::breaker::Open;
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{Mute, OperatorAction, Rewind};
use crate::state::{PluginState, Rewinding};
use crate::trace;

/// Where history begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewindTo {
    /// With the first record that is left.
    Start,
    /// With this one.
    Offset(Offset),
    /// With the first one that was appended at this time or later.
    Time(Micros),
    /// With the event of this id.
    Event(String),
}

/// What history is to run again, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewindOrder {
    /// Where it begins. It ends with what the plugin has settled.
    pub to: RewindTo,
    /// What does not happen.
    pub mute: Mute,
    /// Whether it builds a state from nothing, which takes the state's place when it has caught up.
    pub fresh: bool,
    /// Deliveries a second at most.
    pub rate: Option<u32>,
}

/// Why no rewind began or ended.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// One runs.
    #[error(
        "its rewind that began at offset {0} runs; `nerve plugin show` says how far it is, and --stop ends it"
    )]
    Running(Offset),
    /// A canary has a state of its own.
    #[error(
        "a canary with a state of its own runs beside the version before, and a rewind would run through one of them alone: promote it, \
         `nerve plugin promote`, or roll it back first"
    )]
    OwnState,
    /// None runs.
    #[error("it has no rewind that runs")]
    NotRunning,
    /// Nothing of its name was ever live.
    #[error("no version of it was ever live")]
    NeverLive,
    /// Retention has passed the beginning.
    #[error("{asked} is gone; the first offset that can be had is {first}")]
    Gone {
        /// What was asked for.
        asked: String,
        /// What is left.
        first: Offset,
    },
    /// There is no history.
    #[error("there is no history from offset {from} on: it has settled up to offset {settled}")]
    Nothing {
        /// Where it would begin.
        from: Offset,
        /// How far the plugin is.
        settled: Offset,
    },
    /// No event has the id.
    #[error("the log has no event with the id {0:?}")]
    NoEvent(String),
    /// Several have.
    #[error("several events have the id {id:?}: name one of the offsets {offsets}")]
    Several {
        /// The id.
        id: String,
        /// Where they are.
        offsets: String,
    },
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A rewind that runs.
#[derive(Debug, Clone)]
pub struct RewindStatus {
    /// The operator's record.
    pub generation: Offset,
    /// When it began.
    pub since: Micros,
    /// Where it began.
    pub from: Offset,
    /// How far it is.
    pub at: Offset,
    /// Up to where it goes; with a fresh state up to here now.
    pub through: Offset,
    /// What does not happen.
    pub mute: Mute,
    /// Whether it builds a state of its own.
    pub fresh: bool,
    /// Deliveries a second at most.
    pub rate: Option<u32>,
    /// Its outcomes so far: done, retry, dead.
    pub counters: [u64; 3],
    /// Outcomes a second since it began.
    pub per_second: f64,
    /// Effects that did not happen.
    pub muted: u64,
    /// Keys whose event waits for a retry.
    pub parked: usize,
    /// Why it is paused, where it fails across keys.
    pub paused: Option<Open>,
}

impl RewindStatus {
    pub(super) fn of(rewinding: &Rewinding, state: &PluginState, now: Micros) -> Self {
        let order = &rewinding.order;
        let outcomes: u64 = rewinding.counters.iter().sum();
        let micros = now.0.saturating_sub(rewinding.since.0).max(1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "it is shown to people, in whole numbers"
        )]
        let per_second = outcomes as f64 * 1e6 / micros as f64;
        Self {
            generation: rewinding.generation,
            since: rewinding.since,
            from: Offset(order.from),
            at: rewinding.cursor.low,
            through: order.through.map_or(state.cursor.low, Offset),
            mute: order.mute,
            fresh: order.fresh,
            rate: order.rate,
            counters: rewinding.counters,
            per_second,
            muted: rewinding.muted,
            parked: rewinding.cursor.parked.len(),
            paused: rewinding.breaker.open().cloned(),
        }
    }
}

impl Host {
    /// Run history again through the plugin; answers when the operator's record is durable.
    pub async fn rewind_plugin(&self, name: &str, order: RewindOrder) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        let host = self.clone();
        let begun = tokio::task::spawn_blocking(move || host.begin_rewind(&subscriber, &order));
        begun
            .await
            .map_err(|panicked| Stopped::Poisoned(panicked.to_string()))??;
        self.plugin(name).await
    }

    /// Stop the rewind that runs. What it settled stays settled; a state of its own is given up.
    pub async fn stop_rewind(&self, name: &str) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        let host = self.clone();
        let stopped = tokio::task::spawn_blocking(move || host.give_up_rewind(&subscriber));
        stopped
            .await
            .map_err(|panicked| Stopped::Poisoned(panicked.to_string()))??;
        self.plugin(name).await
    }

    /// The rewind of `subscriber` stops. Blocks until the delivery under way is settled.
    pub(crate) fn give_up_rewind(&self, subscriber: &Subscriber) -> Result<(), AskError> {
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        if state.rewinding.is_none() {
            return Err(refused(subscriber, RewindError::NotRunning));
        }
        self.append(subscriber, &mut state, OperatorAction::StopRewind)?;
        drop(state);
        between.look_anew();
        Ok(())
    }

    /// A rewind of `subscriber` begins. Blocks until the delivery under way is settled, and reads the log.
    pub(crate) fn begin_rewind(&self, subscriber: &Subscriber, order: &RewindOrder) -> Result<(), AskError> {
        let refuse = |cause| Err(refused(subscriber, cause));
        let from = match beginning(&**self.log(), &order.to) {
            Ok(from) => from,
            Err(cause) => return refuse(cause),
        };
        // No delivery is under way while the queue is made anew, with history beside it.
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        if let Some(rewinding) = &state.rewinding {
            return refuse(RewindError::Running(rewinding.generation));
        }
        if state.own.is_some() {
            return refuse(RewindError::OwnState);
        }
        if state.live.is_none() {
            return refuse(RewindError::NeverLive);
        }
        let (first, settled) = (self.log().bounds().first, state.cursor.low);
        if from < first {
            let asked = format!("offset {from}");
            return refuse(RewindError::Gone { asked, first });
        }
        if from > settled {
            return refuse(RewindError::Nothing { from, settled });
        }
        let rewind = Rewind {
            from: from.0,
            through: (!order.fresh).then_some(settled.0),
            mute: order.mute,
            fresh: order.fresh,
            rate: order.rate,
        };
        self.append(subscriber, &mut state, OperatorAction::Rewind(rewind))?;
        drop(state);
        between.look_anew();
        Ok(())
    }
}

fn refused(subscriber: &Subscriber, cause: RewindError) -> AskError {
    AskError::Rewind {
        plugin: subscriber.name.to_string(),
        cause: Box::new(cause),
    }
}

/// The first offset of the history that begins there.
fn beginning(log: &dyn Log, to: &RewindTo) -> Result<Offset, RewindError> {
    match to {
        RewindTo::Start => Ok(log.bounds().first),
        RewindTo::Offset(offset) => Ok(*offset),
        RewindTo::Time(time) => first_since(log, *time),
        RewindTo::Event(id) => {
            let found = trace::find(log, id, None)?;
            let offsets: Vec<String> = found.iter().map(|entry| entry.offset.to_string()).collect();
            match &found[..] {
                [] => Err(RewindError::NoEvent(id.clone())),
                [one] => Ok(one.offset),
                _ => Err(RewindError::Several {
                    id: id.clone(),
                    offsets: offsets.join(", "),
                }),
            }
        }
    }
}

/// The first record that was appended at `time` or later: times never go backwards.
fn first_since(log: &dyn Log, time: Micros) -> Result<Offset, RewindError> {
    let bounds = log.bounds();
    let (mut low, mut high) = (bounds.first, bounds.durable.next());
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        let entries = log.read(middle, 1, Reach::Durable)?;
        match entries.first() {
            Some(entry) if entry.time < time => low = middle.next(),
            _ => high = middle,
        }
    }
    if low == bounds.first && low > Offset(1) {
        let asked = "what was appended at that time".to_owned();
        return Err(RewindError::Gone { asked, first: low });
    }
    Ok(low)
}
