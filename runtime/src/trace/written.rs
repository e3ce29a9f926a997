//! A log that is written by hand, for the tests of what reads logs.

use std::sync::Arc;

use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Batch, Durability, FileLog, Log, ManualClock, Micros, Offset, Options};

use crate::log::record::{
    AskedBy, Call, Cause, DeclaredSchema, Deployment, DeploymentAction, Event, FailureClass, FailureRecord,
    LiveVersion, Outcome, Record, Verdict, VersionId, event,
};
use crate::log::trace_context::new_traceparent;

/// A log, and the time in it.
pub(crate) struct Written {
    pub(crate) log: FileLog,
    clock: Arc<ManualClock>,
    now: u64,
    versions: u8,
    /// Whether events from outside begin a trace.
    traced: bool,
}

/// What is to be said of a failed attempt.
pub(crate) struct Failing<'a> {
    pub(crate) attempt: u32,
    pub(crate) class: FailureClass,
    pub(crate) reason: &'a str,
    pub(crate) dead: bool,
}

impl Failing<'_> {
    /// The first attempt, which is tried again.
    pub(crate) fn retried() -> Self {
        Self {
            attempt: 1,
            class: FailureClass::Retry,
            reason: "nobody answers",
            dead: false,
        }
    }
}

impl Written {
    pub(crate) fn new() -> Self {
        let now = 1_760_000_000_000_000;
        let clock = Arc::new(ManualClock::new(Micros(now)));
        let options = Options {
            durability: Durability::Memory,
            ..Options::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        let (log, _) = FileLog::open(storage, options, clock.clone(), None, &mut |_| {}).unwrap();
        Self {
            log,
            clock,
            now,
            versions: 0,
            traced: false,
        }
    }

    /// A log whose events from outside begin traces.
    pub(crate) fn traced() -> Self {
        Self {
            traced: true,
            ..Self::new()
        }
    }

    /// Let time pass.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis * 1000;
        self.clock.set(Micros(self.now));
    }

    pub(crate) fn now(&self) -> Micros {
        Micros(self.now)
    }

    fn append(&self, records: &[Record<'_>]) -> u64 {
        let mut batch = Batch::new();
        for record in records {
            batch.push_with(|out| record.encode(out));
        }
        self.log.append(batch, None).unwrap().first.0
    }

    /// An event from outside.
    pub(crate) fn outside(&self, name: &str) -> u64 {
        let mut made = String::new();
        let made = self.traced.then(|| new_traceparent(&mut made));
        self.outside_in(name, made)
    }

    /// An event from outside with this trace context.
    pub(crate) fn outside_in(&self, name: &str, traceparent: Option<&str>) -> u64 {
        self.append(&[Record::Event(Event {
            traceparent,
            ..fact(name, "shop", "outside", None)
        })])
    }

    /// A delivery that is done, with what it emits; answers the offsets of those.
    pub(crate) fn done(&self, plugin: &str, of: u64, emits: &[&str]) -> Vec<u64> {
        self.done_with(plugin, of, emits, |_| {})
    }

    /// The same, with an outcome that is changed before.
    pub(crate) fn done_with(
        &self,
        plugin: &str,
        of: u64,
        emits: &[&str],
        change: impl FnOnce(&mut Outcome<'_>),
    ) -> Vec<u64> {
        let mut entries = Vec::new();
        self.log.read_at(&[Offset(of)], &mut entries).unwrap();
        let caused = event(&entries[0].payload).unwrap().unwrap();
        let mut outcome = Outcome {
            emitted: u32::try_from(emits.len()).unwrap(),
            ..self.outcome(plugin, of, 1)
        };
        change(&mut outcome);
        let source = format!("nerve:{plugin}");
        let ids: Vec<String> = (0..emits.len()).map(|n| format!("{of}-{plugin}-{n}")).collect();
        let mut records = vec![Record::Outcome(outcome)];
        for ((name, id), index) in emits.iter().zip(&ids).zip(0..) {
            let cause = Cause {
                id: caused.id,
                offset: of,
                hops: caused.hops() + 1,
                index,
            };
            records.push(Record::Event(fact(
                name,
                &source,
                id,
                Some((cause, caused.chain())),
            )));
        }
        let first = self.append(&records);
        (1..records.len() as u64).map(|n| first + n).collect()
    }

    /// An attempt that fails.
    pub(crate) fn failed(&self, plugin: &str, of: u64, how: &Failing<'_>) {
        let failure = FailureRecord {
            class: how.class,
            reason: how.reason,
        };
        let verdict = if how.dead {
            Verdict::Dead { failure }
        } else {
            Verdict::Retry {
                due: self.now + 1_000_000,
                failure,
            }
        };
        self.append(&[Record::Outcome(Outcome {
            verdict,
            ..self.outcome(plugin, of, how.attempt)
        })]);
    }

    fn outcome<'a>(&self, plugin: &'a str, of: u64, attempt: u32) -> Outcome<'a> {
        Outcome {
            plugin,
            version: VersionId([1; 8]),
            event: of,
            attempt,
            low_water: of,
            started: self.now,
            took: 500,
            calls: Vec::<Call>::new().into(),
            ..Outcome::default()
        }
    }

    /// A version goes live.
    pub(crate) fn deploy(
        &mut self,
        plugin: &str,
        subscriptions: &[&str],
        emits: &[&str],
        schemas: Vec<DeclaredSchema>,
    ) {
        self.versions += 1;
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let version = LiveVersion {
            version: VersionId([self.versions; 8]),
            subscriptions: text(subscriptions),
            emits: text(emits),
            schemas,
            ..LiveVersion::default()
        };
        self.decide(plugin, DeploymentAction::Live(Box::new(version)));
    }

    /// What became of a request to deploy.
    pub(crate) fn decide(&self, plugin: &str, action: DeploymentAction) {
        self.append(&[Record::Deployment(Deployment {
            who: None,
            plugin: plugin.to_owned(),
            pair: None,
            action,
            by: AskedBy::Folder,
            warnings: Vec::new(),
        })]);
    }
}

fn fact<'a>(name: &'a str, source: &'a str, id: &'a str, cause: Option<(Cause<'a>, &'a str)>) -> Event<'a> {
    Event {
        id,
        source,
        r#type: name,
        key: None,
        subject: None,
        time: None,
        content_type: "application/json",
        data: &[0xc0],
        correlation: cause.map(|(_, chain)| chain),
        cause: cause.map(|(cause, _)| cause),
        traceparent: None,
        data_schema: None,
        extensions: vec![],
    }
}
