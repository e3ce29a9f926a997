//! Plugins whose handlers are functions: what one does with an event depends on the seed and the event's name alone.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nerve_eventlog::Micros;

use crate::delivery::handler::{
    Delivery, Effects, Emit, Failure, Handled, Handler, SetTimer, Version, in_series,
};
use crate::delivery::retry::{AtEnd, RetryPolicy};
use crate::delivery::timer::TimerLimits;
use crate::log::record::{FailureClass, VersionId};
use crate::state::KeyValues;

/// Called before each event is handled.
pub(super) type Before = Arc<dyn Fn() + Send + Sync>;

/// A version of a plugin.
#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) plugin: &'static str,
    pub(super) seed: u64,
    pub(super) number: u32,
    pub(super) before: Before,
    state: Arc<KeyValues>,
}

/// Versions whose number this divides fail every event: an outage until another one comes.
const BROKEN: u32 = 5;

impl Scripted {
    pub(super) fn new(plugin: &'static str, seed: u64, number: u32, before: Before) -> Self {
        Self {
            plugin,
            seed,
            number,
            before,
            state: Arc::default(),
        }
    }

    /// The number of the version with this id.
    pub(super) fn number_of(id: VersionId) -> u32 {
        u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
    }

    /// The next version number that works.
    pub(super) fn sound(number: u32) -> u32 {
        if number.is_multiple_of(BROKEN) {
            number + 1
        } else {
            number
        }
    }

    /// Whether it fails every event.
    pub(super) fn is_broken(&self) -> bool {
        self.number.is_multiple_of(BROKEN)
    }

    fn dice(&self, delivery: &Delivery<'_>, salt: u32) -> fastrand::Rng {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.plugin, delivery.event.subject, salt).hash(&mut hasher);
        fastrand::Rng::with_seed(hasher.finish())
    }

    fn effects(&self, delivery: &Delivery<'_>, dice: &mut fastrand::Rng) -> Effects {
        let name = delivery.event.subject.unwrap_or_default();
        let mut writes = std::collections::BTreeMap::new();
        let count = self.state.get("count").map_or(0, |bytes| number(&bytes));
        writes.insert(
            "count".into(),
            Some(Bytes::copy_from_slice(&(count + 1).to_le_bytes())),
        );
        let key = delivery.event.key.unwrap_or("-");
        let order: Box<str> = format!("order/{key}").into();
        let before = self.state.get(&order).unwrap_or_default();
        writes.insert(order, Some([&before, name.as_bytes(), b" "].concat().into()));
        if dice.u8(..4) == 0 {
            writes.insert(
                "brief".into(),
                (dice.bool()).then(|| Bytes::copy_from_slice(name.as_bytes())),
            );
        }
        let deep = name.split('.').count() > 2;
        let emit = |of: &str, dice: &mut fastrand::Rng, kind: &str| Emit {
            r#type: format!("{kind}.{}", self.plugin).into(),
            key: match dice.u8(..3) {
                0 => None,
                1 => delivery.event.key.map(Into::into),
                _ => Some(format!("k{}", dice.u8(..3)).into()),
            },
            subject: Some(format!("{name}.{}{of}", self.plugin).into()),
            content_type: None,
            data: vec![0xc0],
        };
        let emits = (0..if deep { 0 } else { dice.usize(..3) })
            .map(|at| emit(&at.to_string(), dice, "out"))
            .collect();
        let mut timers = Vec::new();
        if !deep && dice.u8(..5) == 0 {
            let due = Micros(delivery.started.0 + dice.u64(..60_000));
            let emit = emit("t", dice, "tick");
            timers.push((format!("t{}", dice.u8(..2)).into(), Some(SetTimer { due, emit })));
        }
        if dice.u8(..12) == 0 {
            timers.push(("t2".into(), None));
        }
        Effects {
            emits,
            writes: writes.into_iter().collect(),
            timers,
        }
    }
}

/// The number that a counter's value is.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn failed(class: FailureClass) -> Handled {
    Failure::new(class, "it was told to".into()).into()
}

impl Version for Scripted {
    fn id(&self) -> VersionId {
        let mut id = [0; 8];
        id[..4].copy_from_slice(&self.number.to_le_bytes());
        VersionId(id)
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: 3,
            first: Duration::from_millis(5),
            longest: Duration::from_millis(40),
            factor: 2.0,
            jitter: 0.3,
            at_end: if self.number % 7 == 3 {
                AtEnd::Pause
            } else {
                AtEnd::DeadLetter
            },
            outage_keys: 3,
        }
    }

    fn lanes(&self) -> usize {
        if self.number % 3 == 2 { 3 } else { 1 }
    }

    fn state_bytes(&self) -> usize {
        1 << 20
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits {
            count: 3,
            bytes: 1 << 20,
        }
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn handler(&self, state: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(Self {
            state,
            ..self.clone()
        })
    }
}

impl Handler for Scripted {
    fn version(&self) -> VersionId {
        self.id()
    }

    fn discard(&mut self) {}

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        in_series(delivery, |delivery| self.one(delivery))
    }

    fn goes_on(&self) -> bool {
        true
    }
}

impl Scripted {
    fn one(&self, delivery: &Delivery<'_>) -> Handled {
        (self.before)();
        if self.is_broken() {
            return failed(FailureClass::Trap);
        }
        // A poison event fails until it is dead, or a paused plugin was told to go on often enough.
        let is_poison = self.dice(delivery, 0).u8(..12) == 0;
        if is_poison && !delivery.replay && delivery.attempt < 6 {
            return failed(FailureClass::Trap);
        }
        let mut dice = self.dice(delivery, 1 + delivery.attempt);
        match dice.u8(..24) {
            0..3 => failed(FailureClass::Retry),
            3 => failed(FailureClass::Reject),
            _ => Handled {
                effects: self.effects(delivery, &mut dice),
                took: Duration::from_micros(dice.u64(..2000)),
                used_seed: dice.bool(),
                ..Handled::default()
            },
        }
    }
}
