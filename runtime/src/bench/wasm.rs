//! The handler in its sandbox, and nothing around it: the limit that a host of guests can't pass.

use std::sync::Arc;
use std::time::Instant;

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests, way};
use crate::delivery::handler::{Delivery, Handler};
use crate::log::record;

/// Calls of one run.
const CALLS: usize = 200_000;

impl Bench<'_> {
    pub(super) fn wasm(&mut self) -> Result<(), BenchError> {
        let name = "handler in wasm";
        if !self.begins(name) {
            return Ok(());
        }
        let mut handler = way::loaded(&self.guest)?.handler(Arc::default());
        let acceptor = crate::ingest::Acceptor::new(crate::ingest::Limits::default());
        let events = guests::events(&acceptor, "wasm", 0, 1000);
        let read = events.iter().map(|event| record::event(&event.record));
        let read: Vec<_> = read.collect::<Result<_, _>>().map_err(way::in_words)?;
        let mut run = || {
            let begun = Instant::now();
            for (event, record) in read.iter().zip(&events).cycle().take(CALLS) {
                let Some(event) = event else { continue };
                let done = handler.handle(&Delivery::first(event, &record.record));
                if let Some(failure) = done.failure {
                    return Err(way::in_words(failure.reason));
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
