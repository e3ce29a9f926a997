//! The handler in its sandbox, and nothing around it: the limit that a host of guests can't pass.

use std::sync::Arc;
use std::time::Instant;

use nerve_eventlog::{Micros, Offset};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::delivery::handler::{Delivery, Handler, Outside};
use crate::log::record::{self, Asks};
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader;
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;

/// Calls of one run.
const CALLS: usize = 200_000;

impl Bench<'_> {
    pub(super) fn wasm(&mut self) -> Result<(), BenchError> {
        let name = "handler in wasm";
        if !self.begins(name) {
            return Ok(());
        }
        let engine = Engine::new(None, None, Stack::default(), Code::default()).map_err(in_words)?;
        let plugin = PluginName::parse(&self.guest.name).map_err(in_words)?;
        let made = loader::load(&engine, &plugin, self.guest.component(), None, &Asks::new());
        let mut handler = made.map_err(in_words)?.handler(Arc::default());
        let acceptor = crate::ingest::Acceptor::new(crate::ingest::Limits::default());
        let events = guests::events(&acceptor, "wasm", 0, 1000);
        let read = events.iter().map(|event| record::event(&event.record));
        let read: Vec<_> = read.collect::<Result<_, _>>().map_err(in_words)?;
        let mut run = || {
            let begun = Instant::now();
            for (n, (event, record)) in read.iter().zip(&events).cycle().take(CALLS).enumerate() {
                let Some(event) = event else { continue };
                let done = handler.handle(&Delivery {
                    offset: Offset(n as u64),
                    recorded: Micros(0),
                    event,
                    record: &record.record,
                    attempt: 1,
                    replay: false,
                    rewind: None,
                    historic: false,
                    started: Micros(0),
                    seed: 0,
                    outside: Outside::default(),
                });
                if let Some(failure) = done.failure {
                    return Err(in_words(failure.reason));
                }
                std::hint::black_box(done);
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
            Ok(CALLS as f64 / begun.elapsed().as_secs_f64())
        };
        run()?;
        let runs = (0..self.options.runs).map(|_| run()).collect::<Result<_, _>>()?;
        self.found(Figure::of(name, Unit::PerSecond, runs));
        Ok(())
    }
}

fn in_words(cause: impl std::fmt::Display) -> BenchError {
    BenchError::Guest(cause.to_string())
}
