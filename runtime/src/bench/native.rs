//! The same handler as a native function over a vector: the limit that no host can pass.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::stats::{Figure, Unit};
use super::{Bench, guests};

#[derive(Deserialize)]
struct In {
    id: u64,
    user: String,
    amount: u64,
    #[serde(rename = "note")]
    _note: String,
}

#[derive(Serialize)]
struct Out {
    id: u64,
    user: String,
    amount: u64,
}

/// What the plugin does: parse, and encode one event.
pub(super) fn handle(data: &[u8]) -> Option<Vec<u8>> {
    let In { id, user, amount, .. } = rmp_serde::from_slice(data).ok()?;
    rmp_serde::to_vec_named(&Out { id, user, amount }).ok()
}

impl Bench<'_> {
    pub(super) fn native(&mut self) {
        if !self.begins("native handler") {
            return;
        }
        let data: Vec<Vec<u8>> = (0..10_000).map(guests::data).collect();
        let run = || {
            let begun = Instant::now();
            let mut emitted = 0;
            for _ in 0..20 {
                emitted += data
                    .iter()
                    .filter_map(|data| std::hint::black_box(handle(data)))
                    .map(|out| out.len())
                    .sum::<usize>();
            }
            std::hint::black_box(emitted);
            200_000.0 / begun.elapsed().as_secs_f64()
        };
        run();
        let runs = (0..self.options.runs).map(|_| run()).collect();
        self.found(Figure::of("native handler", Unit::PerSecond, runs));
    }
}
