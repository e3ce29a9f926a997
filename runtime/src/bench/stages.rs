//! The stages of an event's way one by one, for `benches/stages.rs`: each is made once, and gone through again and again.
//!
//! None waits for a disk: what the log keeps is kept in memory, and the oldest of it dropped.

use std::path::Path;
use std::sync::Arc;

use nerve_eventlog::{Batch, Log};

use super::guests::{self, Guest};
use super::way::{self, Way};
use super::{BenchError, native};
use crate::cloud_event;
use crate::delivery::handler::{Delivery, Effects, Emit, Handled, Handler, Version};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::timer::TimerLimits;
use crate::ingest::{Acceptor, Limits};
use crate::log::record::{self, VersionId};
use crate::log::sequencer::Sequencer;
use crate::state::KeyValues;

/// Events that go through a stage in one pass.
pub const EVENTS: usize = 256;

/// One stage.
pub trait Stage {
    /// What has to be there before a pass, and is not measured.
    fn prepare(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    /// [`EVENTS`] events go through it.
    fn pass(&mut self) -> Result<(), BenchError>;
}

/// Makes a stage; the folder is that of the guest that is called.
pub type Make = fn(&Path) -> Result<Box<dyn Stage>, BenchError>;

/// All of them by name, in the order of the way.
pub const ALL: [(&str, Make); 7] = [
    ("1 accept and transcode an event of JSON", |_| {
        Ok(Box::new(Accept {
            acceptor: Acceptor::new(Limits::default()),
            bodies: (0..EVENTS)
                .map(|n| guests::structured("stage", n as u64))
                .collect(),
        }))
    }),
    ("2 append", |_| append(false)),
    ("3 append, and write a frame", |_| append(true)),
    ("4, 6 deliver and settle, nothing emitted", |_| {
        Ok(deliver(native(false)?))
    }),
    ("4, 6 deliver and settle, one event emitted", |_| {
        Ok(deliver(native(true)?))
    }),
    ("5 call the guest", |fixtures| {
        Ok(Box::new(Call {
            handler: Box::new(way::loaded(&guest(fixtures)?)?.handler(Arc::default())),
            records: records(),
        }))
    }),
    ("4, 5, 6 deliver, call the guest and settle", |fixtures| {
        Ok(deliver(Way::of_guest(&guest(fixtures)?)?))
    }),
];

fn append(is_framed: bool) -> Result<Box<dyn Stage>, BenchError> {
    Ok(Box::new(Append {
        log: way::in_memory()?,
        records: records(),
        batch: Batch::new(),
        is_framed,
    }))
}

fn deliver(way: Way) -> Box<dyn Stage> {
    Box::new(Deliver {
        way,
        records: records(),
        given: 0,
    })
}

fn native(emits: bool) -> Result<Way, BenchError> {
    Way::new(
        "native",
        vec![guests::TYPE.to_owned()],
        Arc::new(Native { emits }),
    )
}

fn guest(fixtures: &Path) -> Result<Guest, BenchError> {
    Guest::read(fixtures, "bench-echo-0000")
}

/// The records of the events that go through.
fn records() -> Vec<Vec<u8>> {
    let events = guests::events(&Acceptor::new(Limits::default()), "stage", 0, EVENTS);
    events.into_iter().map(|event| event.record).collect()
}

struct Accept {
    acceptor: Acceptor,
    bodies: Vec<String>,
}

impl Stage for Accept {
    fn pass(&mut self) -> Result<(), BenchError> {
        for body in &self.bodies {
            let accepted = cloud_event::structured(&self.acceptor, body.as_bytes());
            std::hint::black_box(accepted.map_err(way::in_words)?);
        }
        Ok(())
    }
}

struct Append {
    log: Arc<dyn Log>,
    records: Vec<Vec<u8>>,
    batch: Batch,
    /// Whether a pass ends when the syncing thread has written what it appended.
    is_framed: bool,
}

impl Stage for Append {
    fn prepare(&mut self) -> Result<(), BenchError> {
        forget(&*self.log)?;
        self.batch = batch_of(&self.records);
        Ok(())
    }

    fn pass(&mut self) -> Result<(), BenchError> {
        let batch = std::mem::take(&mut self.batch);
        let appended = self.log.append(batch, None).map_err(way::in_words)?;
        if self.is_framed {
            self.log.wait_durable(appended.last).map_err(way::in_words)?;
        }
        Ok(())
    }
}

struct Deliver {
    way: Way,
    records: Vec<Vec<u8>>,
    /// Events that it was given so far.
    given: u64,
}

impl Stage for Deliver {
    fn prepare(&mut self) -> Result<(), BenchError> {
        let sequencer: &Sequencer = &self.way.sequencer;
        forget(&**sequencer.log())?;
        let types = (0..EVENTS).map(|place| (place as u64, guests::TYPE));
        let appended = sequencer.append(batch_of(&self.records), None, types);
        self.given += EVENTS as u64;
        appended.map(drop).map_err(way::in_words)
    }

    fn pass(&mut self) -> Result<(), BenchError> {
        self.way.lane.run();
        let [done, ..] = self.way.subscriber.state.lock().counters;
        if done != self.given {
            return Err(way::in_words(format!("of {} events {done} are done", self.given)));
        }
        Ok(())
    }
}

struct Call {
    handler: Box<dyn Handler>,
    records: Vec<Vec<u8>>,
}

impl Stage for Call {
    fn pass(&mut self) -> Result<(), BenchError> {
        for record in &self.records {
            let Some(event) = record::event(record).map_err(way::in_words)? else {
                continue;
            };
            let done = self.handler.handle(&Delivery::first(&event, record));
            if let Some(failure) = std::hint::black_box(done).failure {
                return Err(way::in_words(failure.reason));
            }
        }
        Ok(())
    }
}

fn batch_of(records: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::new();
    for record in records {
        batch.push(record);
    }
    batch
}

/// Wait for what is appended, and drop what is older than that.
fn forget(log: &dyn Log) -> Result<(), BenchError> {
    let last = log.bounds().last;
    log.wait_durable(last).map_err(way::in_words)?;
    log.drop_before(last).map(drop).map_err(way::in_words)
}

/// A plugin whose handler is a function of this process.
#[derive(Clone)]
struct Native {
    /// Whether it parses its event and emits one, as the guest does; it does nothing else.
    emits: bool,
}

impl Version for Native {
    fn id(&self) -> VersionId {
        VersionId::default()
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    fn lanes(&self) -> usize {
        1
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits { count: 0, bytes: 0 }
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn handler(&self, _state: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(self.clone())
    }
}

impl Handler for Native {
    fn version(&self) -> VersionId {
        self.id()
    }

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        let data = self.emits.then(|| native::handle(delivery.event.data)).flatten();
        let emit = data.map(|data| Emit {
            r#type: "bench.out".into(),
            key: delivery.event.key.map(Into::into),
            subject: None,
            content_type: None,
            data,
        });
        Handled {
            effects: Effects {
                emits: emit.into_iter().collect(),
                ..Effects::default()
            },
            ..Handled::default()
        }
    }

    fn discard(&mut self) {}
}
