//! 6 SETTLE: from what a handler did to the one batch that says so.
//!
//! The steps are pure. [`emitted`] writes every emitted event, before anybody is asked to wait. [`decide`] knows the rules: done,
//! retry at a time, or dead, with what the breaker makes of it. [`settled`] writes the outcome and puts what was emitted behind it.

use std::fmt::Write as _;
use std::ops::Range;

use nerve_eventlog::{Batch, LogId, Mark, Micros};

use super::breaker::{Attempt, Breaker, Failed, Said};
use super::cursor::Cursor;
use super::handler::{Delivery, Emit, Failure, Handled};
use super::retry::RetryPolicy;
use crate::log::record::{
    Cause, Event, FailureClass, FailureRecord, Line, Muted, OpenReason, Opens, Outcome, Record, TimerChange,
    TimerSet, Verdict, VersionId, Watched, Write,
};
use crate::log::trace_context::{DeliverySpan, TraceContext, hex};

/// A chain of events longer than this is taken for a loop, where a plugin's settings say nothing else: its next event
/// becomes a dead letter.
pub const LONGEST_CHAIN: u32 = 64;

/// Bytes that the effects of one delivery may have, where a plugin's settings say nothing else: about what a disk takes
/// within a tick.
pub const LARGEST_EFFECTS: usize = 512 << 10;

/// Keys that may wait for a version that does not load, before the plugin is paused.
const MOST_WAITING: usize = 1000;

/// What an effect counts beside its data: identity, cause and trace of an event, the frame of a write.
pub const EFFECT_BYTES: usize = 256;

/// A timer that waits at least so long, in microseconds, begins a chain of its own length: what comes back so
/// slowly is a schedule and no loop.
const HOT_LOOP: u64 = 1_000_000;

/// What a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision<'a> {
    /// Done, retry or dead.
    pub verdict: Verdict<'a>,
    /// Whether the attempt cost the event none of its retries.
    pub free: bool,
    /// What it makes of the breaker, where it opens it or leaves it open.
    pub opens: Option<Opens>,
    /// What follows, where a watched version failed.
    pub watched: Option<Watched>,
}

/// What a delivery of `event` comes to before its handler is asked: a failure, where its chain is longer
/// than `longest`.
pub fn looped(event: &Event<'_>, longest: u32) -> Option<Handled> {
    if event.hops() <= longest {
        return None;
    }
    let reason = format!(
        "limit hops: the chain that began with event {:?} is {} events long, and the longest allowed is {longest}: \
         two plugins may be answering each other",
        event.chain(),
        event.hops()
    );
    Some(Failure::new(FailureClass::Loop, reason).into())
}

/// What a delivery comes to: the rules of retry, dead letter and pause.
pub fn decide<'a>(
    handled: &'a Handled,
    attempt: &Attempt<'_>,
    breaker: &Breaker,
    policy: &RetryPolicy,
) -> Decision<'a> {
    let verdict = |verdict| Decision {
        verdict,
        free: false,
        opens: None,
        watched: None,
    };
    let Some(failure) = &handled.failure else {
        return verdict(Verdict::Done);
    };
    let record = FailureRecord {
        class: failure.class,
        reason: &failure.reason,
    };
    if matches!(failure.class, FailureClass::Reject | FailureClass::Loop) {
        return verdict(Verdict::Dead { failure: record });
    }
    let said = Said {
        after: failure.retry_after,
        unavailable: failure.class == FailureClass::Unavailable,
    };
    match breaker.failed(attempt, said, policy) {
        Failed::Exhausted => verdict(Verdict::Dead { failure: record }),
        Failed::Retry { due, free, opens } => Decision {
            verdict: Verdict::Retry {
                due: due.0,
                failure: record,
            },
            free,
            opens,
            watched: None,
        },
    }
}

/// What a delivery comes to whose key is that of `version`, which does not load: nobody is asked.
pub fn awaited(version: VersionId, why: Option<&str>) -> Handled {
    let reason = format!(
        "it waits for version {version}, which has its key until the canary is promoted, and does not load: {}",
        why.unwrap_or("it is not there")
    );
    Failure::new(FailureClass::Unavailable, reason).into()
}

/// What becomes of such a `failure`, at attempt number `number`: it waits, and that says nothing of anybody. But so many keys wait at
/// most; behind them the plugin is paused, as in an outage.
pub fn waits<'a>(
    failure: &'a Failure,
    attempt: &Attempt<'_>,
    number: u32,
    (cursor, breaker): (&Cursor, &Breaker),
    policy: &RetryPolicy,
) -> Decision<'a> {
    let is_full = cursor.parked.len() >= MOST_WAITING;
    let after = if is_full { u32::MAX } else { number };
    let due = policy.after(after, attempt.ended, None, attempt.dice);
    let failure = FailureRecord {
        class: failure.class,
        reason: &failure.reason,
    };
    let opens = is_full || breaker.open().is_some();
    Decision {
        verdict: Verdict::Retry { due: due.0, failure },
        free: true,
        opens: opens.then_some(Opens {
            why: OpenReason::Outage,
            probe: Some(due.0),
        }),
        watched: Some(Watched::Waits),
    }
}

/// Why the writes of `handled` would let the state of `bytes` bytes grow past `limit`, where they would. The guest
/// was checked when it wrote; together with another lane's writes it may be too much all the same.
pub fn refuse_writes(
    handled: &Handled,
    previous: &[Option<bytes::Bytes>],
    bytes: usize,
    limit: usize,
) -> Option<String> {
    let size =
        |key: &str, value: &Option<bytes::Bytes>| value.as_ref().map_or(0, |value| key.len() + value.len());
    let (mut before, mut after) = (0, 0);
    for ((key, value), previous) in handled.effects.writes.iter().zip(previous) {
        (before, after) = (before + size(key, previous), after + size(key, value));
    }
    (after > before && bytes - before + after > limit)
        .then(|| format!("limit state_bytes: the state would pass {limit} bytes"))
}

/// Why the effects of `handled` are more than the `limit` bytes that they may take of a batch. Each has a limit of its own, but
/// they are settled together, and what was in the state before is kept beside what is written.
pub fn refuse_effects(handled: &Handled, previous: &[Option<bytes::Bytes>], limit: usize) -> Option<String> {
    let effects = &handled.effects;
    let length = |value: &Option<bytes::Bytes>| value.as_ref().map_or(0, bytes::Bytes::len);
    let emits = effects.emits.iter().map(|emit| emit.data.len());
    let timers = effects.timers.iter();
    let timers = timers.map(|(name, set)| name.len() + set.as_ref().map_or(0, |set| set.emit.data.len()));
    let writes = effects.writes.iter().zip(previous);
    let writes = writes.map(|((key, value), previous)| key.len() + length(value) + length(previous));
    let effects = emits.chain(timers).chain(writes);
    let bytes: usize = effects.map(|effect| EFFECT_BYTES + effect).sum();
    (bytes > limit).then(|| {
        format!(
            "limit batch_bytes: what one delivery emits, sets and writes, with what was in the state before, has \
             {bytes} bytes, and {limit} are allowed"
        )
    })
}

/// Add to `out` what `delivery` emits where it is done, and answer where it stands: that needs to know nothing of others.
pub fn emitted(
    emitter: &mut Emitter,
    delivery: &Delivery<'_>,
    handled: &Handled,
    out: &mut Batch,
) -> Range<Mark> {
    let (emits, start) = (&handled.effects.emits, out.mark());
    if emits.is_empty() || handled.failure.is_some() || mutes(delivery) {
        return start..start;
    }
    emitter.trace(delivery);
    out.reserve(emits.iter().map(|emit| emit.data.len() + EFFECT_BYTES).sum());
    for (index, emit) in (0..).zip(emits) {
        out.push_with(|out| emitter.encode(delivery, emit, index, delivery.event.hops() + 1, out));
    }
    start..out.mark()
}

/// Add to `out` what one delivery settles: `outcome`, and where it is done the events that it emitted, a part of a batch.
pub fn settled(outcome: &mut Outcome<'_>, (emitted, part): (&Batch, Range<Mark>), out: &mut Batch) {
    let part = Some(part).filter(|_| outcome.verdict == Verdict::Done);
    outcome.emitted = part.as_ref().map_or(0, |part| part.start.records_to(part.end));
    out.push_with(|out| Record::encode_outcome(outcome, out));
    if let Some(part) = part {
        out.append(emitted, part);
    }
}

/// Whether what the delivery emits and sets is muted.
pub fn mutes(delivery: &Delivery<'_>) -> bool {
    delivery.rewind.is_some_and(|of| of.mute.emit)
}

/// The effects of `handled` that are muted, where they are.
pub fn muted(handled: &Handled) -> Vec<Muted<'_>> {
    let emits = handled.effects.emits.iter().map(|emit| Muted::Emit {
        r#type: &emit.r#type,
        key: emit.key.as_deref(),
    });
    let timers = handled.effects.timers.iter().map(|(name, set)| match set {
        Some(set) => Muted::Set { name, due: set.due.0 },
        None => Muted::Cancel { name },
    });
    emits.chain(timers).collect()
}

/// Digits that the ids of all events from one log begin with.
const COMMON: usize = 8;

/// Makes the records of the events that the deliveries of a plugin emit, now or by a timer.
pub struct Emitter {
    log: LogId,
    source: String,
    /// Of what is emitted; what all have in common stays.
    id: String,
    /// Of what the delivery emits; empty where its event has none.
    traceparent: String,
}

impl Emitter {
    /// Emits events of `plugin`.
    pub fn new(log: LogId, plugin: &str) -> Self {
        Self {
            log,
            source: [PLUGIN_SOURCE, plugin].concat(),
            id: format!("{:0COMMON$x}-", log.short()),
            traceparent: String::new(),
        }
    }

    /// What is emitted from here on has the trace of `delivery`'s event, and the delivery as its span.
    fn trace(&mut self, delivery: &Delivery<'_>) {
        self.traceparent.clear();
        let Some(parent) = delivery.event.traceparent else {
            return;
        };
        let span = DeliverySpan {
            log: self.log.short(),
            event: delivery.offset.0,
            plugin: &self.source[PLUGIN_SOURCE.len()..],
            attempt: delivery.attempt,
            generation: delivery.rewind.map(|of| of.generation.0),
            redriven: delivery.replay.then_some(delivery.started.0),
        };
        TraceContext::child_of(parent, span.id(), &mut self.traceparent);
    }

    /// Append the record of `emit` to `out`. It is effect number `index` of `delivery`.
    fn encode(&mut self, delivery: &Delivery<'_>, emit: &Emit, index: u32, hops: u32, out: &mut Vec<u8>) {
        let (event, offset) = (delivery.event, delivery.offset.0);
        self.id.truncate(COMMON + 1);
        hex(offset, &mut self.id);
        self.id.push('-');
        decimal(index, &mut self.id);
        if let Some(of) = delivery.rewind {
            write!(self.id, "-{:x}", of.generation.0).expect("a string takes everything");
        }
        let record = Event {
            id: &self.id,
            source: &self.source,
            r#type: &emit.r#type,
            key: emit.key.as_deref(),
            subject: emit.subject.as_deref(),
            time: None,
            content_type: emit.content_type.as_deref().unwrap_or("application/json"),
            data: &emit.data,
            correlation: Some(event.chain()),
            cause: Some(Cause {
                id: event.id,
                offset,
                hops,
                index,
            }),
            traceparent: Some(&*self.traceparent).filter(|own| !own.is_empty()),
            data_schema: None,
            extensions: Vec::new(),
        };
        Record::encode_event(&record, out);
    }
}

/// A timer that a delivery sets or cancels, with the record of its event.
pub struct Timer<'a> {
    name: &'a str,
    set: Option<(Micros, Vec<u8>)>,
}

/// The timers that a delivery sets and cancels. Their events are its effects behind those it emits.
pub fn timers<'a>(emitter: &mut Emitter, delivery: &Delivery<'_>, handled: &'a Handled) -> Vec<Timer<'a>> {
    let timers = &handled.effects.timers;
    if timers.is_empty() {
        return Vec::new();
    }
    emitter.trace(delivery);
    let mut index = u32::try_from(handled.effects.emits.len()).unwrap_or(u32::MAX);
    timers
        .iter()
        .map(|(name, set)| {
            let set = set.as_ref().map(|set| {
                let hops = if set.due.0.saturating_sub(delivery.started.0) < HOT_LOOP {
                    delivery.event.hops() + 1
                } else {
                    0
                };
                let mut event = Vec::with_capacity(set.emit.data.len() + 256);
                emitter.encode(delivery, &set.emit, index, hops, &mut event);
                index = index.saturating_add(1);
                (set.due, event)
            });
            Timer { name, set }
        })
        .collect()
}

/// `timers` as the outcome keeps them.
pub fn timer_changes<'a>(timers: &'a [Timer<'_>]) -> Vec<TimerChange<'a>> {
    let change = |timer: &'a Timer<'_>| TimerChange {
        name: timer.name,
        set: timer
            .set
            .as_ref()
            .map(|(due, event)| TimerSet { due: due.0, event }),
    };
    timers.iter().map(change).collect()
}

/// Sources that begin with this are plugins.
pub const PLUGIN_SOURCE: &str = "nerve:";

/// Append `number` to `out`: what formats anything costs several times as much.
fn decimal(number: u32, out: &mut String) {
    if number >= 10 {
        decimal(number / 10, out);
    }
    out.extend(char::from_digit(number % 10, 10));
}

/// The lines of `handled`, as the outcome keeps them.
pub fn lines(handled: &Handled) -> Vec<Line<'_>> {
    handled
        .lines
        .iter()
        .map(|line| Line {
            level: line.level,
            text: &line.text,
        })
        .collect()
}

/// The writes of `handled`, each with what was there before.
pub fn writes<'a>(handled: &'a Handled, previous: &'a [Option<bytes::Bytes>]) -> Vec<Write<'a>> {
    let writes = handled.effects.writes.iter().zip(previous);
    writes
        .map(|((key, value), previous)| Write {
            key,
            value: value.as_deref(),
            previous: previous.as_deref(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nerve_eventlog::Offset;

    use super::*;

    fn failed(class: FailureClass) -> Handled {
        Failure::new(class, "r".into()).into()
    }

    #[test]
    fn the_table_of_retry_and_dead_letter() {
        use FailureClass::{Host, Limit, Loop, Memory, Reject, Retry, Time, Trap, Unavailable};
        let policy = RetryPolicy {
            attempts: 2,
            jitter: 0.0,
            first: Duration::from_micros(7),
            ..RetryPolicy::default()
        };
        let decide = |handled: &Handled, spent| {
            let attempt = Attempt {
                key: None,
                event: Offset(1),
                spent,
                probe: false,
                ended: Micros(10),
                dice: 0.5,
            };
            match super::decide(handled, &attempt, &Breaker::default(), &policy).verdict {
                Verdict::Done => "done".to_owned(),
                Verdict::Retry { due, .. } => format!("retry at {due}"),
                Verdict::Dead { .. } => "dead".to_owned(),
            }
        };
        for class in [Retry, Trap, Time, Memory, Limit, Host] {
            let handled = failed(class);
            assert_eq!(
                [decide(&handled, 1), decide(&handled, 2)],
                ["retry at 17", "dead"],
                "{class:?}"
            );
        }
        for class in [Reject, Loop] {
            assert_eq!(decide(&failed(class), 1), "dead", "{class:?}");
        }
        assert_eq!(
            decide(&failed(Unavailable), 9),
            "retry at 17",
            "an outage costs no attempt"
        );
        assert_eq!(decide(&Handled::default(), 9), "done");
    }
}
