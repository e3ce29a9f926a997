//! What the proofs of this workspace share: how many cases they run, from which seeds, and the line of figures that
//! each leaves.
//!
//! | Variable | What it sets |
//! |---|---|
//! | `NERVE_PROOF_SCALE` | `short` (the default), `long`, or a number of cases |
//! | `NERVE_PROOF_SEED` | the only case to run; for a fuzzer, the seed it begins with |
//! | `NERVE_FUZZ_SECONDS` | how long each fuzzer runs; 30 by default |
//! | `NERVE_PROOF_FIGURES` | a file to which each proof appends its line: a JSON object with `proof`, `cases`, `seconds`, `violations` and `seed` |

mod dice;
mod fuzz;
mod mutate;

use std::any::Any;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub use dice::Dice;
pub use fuzz::{Fuzzed, fuzz};
pub use mutate::{Mutator, reseal};

/// How many cases a proof runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// In `make test`.
    pub short: u64,
    /// In `make soak`.
    pub long: u64,
}

/// Run `case` with each of as many seeds as the `scale` says, from 0 on and on all processors, and leave a line of
/// figures.
///
/// # Panics
/// When a case does, naming its seed; and when a variable is set to something that it can't be.
pub fn cases(proof: &str, scale: Scale, case: impl Fn(u64) + Sync) {
    let begun = Instant::now();
    let only = number("NERVE_PROOF_SEED");
    let (first, count) = only.map_or((0, how_many(scale)), |seed| (seed, 1));
    let (next, ran) = (AtomicU64::new(first), AtomicU64::new(0));
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let end = first.saturating_add(count);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let ended = catch_unwind(AssertUnwindSafe(|| case(seed)));
                    ran.fetch_add(1, Ordering::Relaxed);
                    if let Err(panicked) = ended {
                        // The others end with the case they are at.
                        next.store(end, Ordering::Relaxed);
                        let mut failed = failed.lock().expect("nobody panics while holding it");
                        failed.get_or_insert_with(|| (seed, said(&*panicked)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics while holding it");
    let ran = ran.into_inner();
    match failed {
        None => figures(proof, ran, begun, 0, only),
        Some((seed, why)) => {
            figures(proof, ran, begun, 1, Some(seed));
            panic!("{proof}: seed {seed}: {why} (NERVE_PROOF_SEED={seed} runs it alone)");
        }
    }
}

/// Append the line of figures of `proof`, where they are asked for.
///
/// # Panics
/// When the file can't be written.
pub fn figures(proof: &str, cases: u64, begun: Instant, violations: u64, seed: Option<u64>) {
    let Some(file) = std::env::var_os("NERVE_PROOF_FIGURES") else {
        return;
    };
    let seconds = begun.elapsed().as_secs_f64();
    let seed = seed.map_or("null".to_owned(), |seed| seed.to_string());
    let line = format!(
        "{{\"proof\": \"{proof}\", \"cases\": {cases}, \"seconds\": {seconds:.1}, \"violations\": {violations}, \
         \"seed\": {seed}}}\n"
    );
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        // One write for the whole line: other proofs append to the same file.
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|cause| panic!("{}: {cause}", file.display()));
}

/// How many cases to run.
///
/// # Panics
/// When `NERVE_PROOF_SCALE` is set to something that it can't be.
pub fn how_many(scale: Scale) -> u64 {
    match std::env::var("NERVE_PROOF_SCALE").as_deref() {
        Err(_) | Ok("short") => scale.short,
        Ok("long") => scale.long,
        Ok(_) => number("NERVE_PROOF_SCALE").unwrap_or(scale.short),
    }
}

/// The number in an environment variable.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")))
}

/// What a panic said.
fn said(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it panicked without a word".to_owned())
}
