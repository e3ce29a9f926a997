//! What the proofs of this workspace share: how many cases they run, from which seeds, and the line of figures that
//! each leaves.
//!
//! | Variable | What it sets |
//! |---|---|
//! | `NERVE_PROOF_SCALE` | `short` (the default), `long`, or a number of cases |
//! | `NERVE_PROOF_SEED` | the only case to run; for a fuzzer, the seed it begins with |
//! | `NERVE_PROOF_FIRST` | the seed to begin with, where those before ran already |
//! | `NERVE_PROOF_MINUTES` | after so many minutes no further case begins, and the line of figures says `stopped` |
//! | `NERVE_PROOF_STEPS` | with a seed: its case prints what happens, step by step, where the proof has steps |
//! | `NERVE_FUZZ_SECONDS` | how long each fuzzer runs; 30 by default |
//! | `NERVE_PROOF_FIGURES` | a file to which each proof appends its line: a JSON object with `proof`, `cases`, `seconds`, `violations` and `seed` |

mod dice;
mod fuzz;
mod mutate;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

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

/// Seeds that a proof names at most, where they fail.
const NAMED: usize = 32;

/// Failing cases behind which a proof ends.
const ENOUGH: u64 = 1000;

/// What a case answers: how many it stands for in the figures.
pub trait Held {
    /// So many.
    fn count(self) -> u64;
}

impl Held for () {
    fn count(self) -> u64 {
        1
    }
}

impl Held for u64 {
    fn count(self) -> u64 {
        self
    }
}

/// What cases came to.
#[derive(Debug, Default)]
struct Ran {
    cases: u64,
    failed: u64,
    /// The failing seeds that are named, in order, and what each said.
    named: BTreeMap<u64, String>,
    /// Whether it was to begin no further case before all had run.
    stopped: bool,
}

/// Run `case` with each of as many seeds as the `scale` says, from 0 on and on all processors, and leave a line of
/// figures. Goes on behind a case that fails. May stop earlier, where it was told to.
///
/// # Panics
/// When cases do, naming their seeds; and when a variable is set to something that it can't be.
pub fn cases<H: Held>(proof: &str, scale: Scale, case: impl Fn(u64) -> H + Sync) {
    let begun = Instant::now();
    let only = number("NERVE_PROOF_SEED");
    let (first, end) = match only {
        Some(seed) => (seed, seed.saturating_add(1)),
        None => (number("NERVE_PROOF_FIRST").unwrap_or(0), how_many(scale)),
    };
    let minutes = number("NERVE_PROOF_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let is_late = || minutes.is_some_and(|minutes| begun.elapsed() >= minutes);
    let ran = run(first, end, is_late, |seed| case(seed).count());
    let seed = ran.named.keys().next().copied().or(only);
    let more = if ran.stopped { ", \"stopped\": true" } else { "" };
    line(proof, ran.cases, begun, ran.failed, seed, more);
    if let Some(told) = ran.told() {
        panic!("{proof}: {told}");
    }
}

fn run(first: u64, end: u64, is_late: impl Fn() -> bool + Sync, case: impl Fn(u64) -> u64 + Sync) -> Ran {
    let next = AtomicU64::new(first);
    let ran: Mutex<Ran> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_late() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let ended = catch_unwind(AssertUnwindSafe(|| case(seed)));
                    let mut ran = ran.lock().expect("nobody panics while holding it");
                    match ended {
                        Ok(held) => ran.cases += held,
                        Err(panicked) => ran.fails(seed, said(&*panicked)),
                    }
                    if ran.failed >= ENOUGH {
                        // The others end with the case they are at.
                        next.store(end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut ran = ran.into_inner().expect("nobody panics while holding it");
    ran.stopped = next.into_inner() < end;
    ran
}

impl Ran {
    fn fails(&mut self, seed: u64, why: String) {
        self.cases += 1;
        self.failed += 1;
        self.named.insert(seed, why);
        if self.named.len() > NAMED {
            self.named.pop_last();
        }
    }

    /// Which seeds fail, where some do.
    fn told(&self) -> Option<String> {
        let first = self.named.keys().next()?;
        let named: Vec<String> = self
            .named
            .iter()
            .map(|(seed, why)| format!("seed {seed}: {why}"))
            .collect();
        let more = match self.failed.saturating_sub(self.named.len() as u64) {
            0 => String::new(),
            more => format!("\nand {more} more"),
        };
        Some(format!(
            "{} of {} cases fail:\n{}{more}\nNERVE_PROOF_SEED={first} runs one alone, and NERVE_PROOF_STEPS=1 beside it \
             prints its steps",
            self.failed,
            self.cases,
            named.join("\n")
        ))
    }
}

/// Print a step of the case that runs, where it is the only one and `NERVE_PROOF_STEPS` asks for it.
pub fn step(what: impl FnOnce() -> String) {
    static ASKED: OnceLock<bool> = OnceLock::new();
    let set = |name| std::env::var_os(name).is_some();
    if *ASKED.get_or_init(|| set("NERVE_PROOF_STEPS") && set("NERVE_PROOF_SEED")) {
        // Nobody may be there to read it.
        writeln!(std::io::stderr(), "{}", what()).ok();
    }
}

/// Append the line of figures of `proof`, where they are asked for.
///
/// # Panics
/// When the file can't be written.
pub fn figures(proof: &str, cases: u64, begun: Instant, violations: u64, seed: Option<u64>) {
    line(proof, cases, begun, violations, seed, "");
}

fn line(proof: &str, cases: u64, begun: Instant, violations: u64, seed: Option<u64>, more: &str) {
    let Some(file) = std::env::var_os("NERVE_PROOF_FIGURES") else {
        return;
    };
    let seconds = begun.elapsed().as_secs_f64();
    let seed = seed.map_or("null".to_owned(), |seed| seed.to_string());
    let line = format!(
        "{{\"proof\": \"{proof}\", \"cases\": {cases}, \"seconds\": {seconds:.1}, \"violations\": {violations}, \
         \"seed\": {seed}{more}}}\n"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_goes_on_behind_a_failing_case_and_names_every_failing_seed() {
        let ran = run(
            0,
            50,
            || false,
            |seed| {
                assert!(seed % 10 != 3, "it ends with 3");
                2
            },
        );
        assert_eq!((ran.cases, ran.failed), (95, 5));
        let told = ran.told().unwrap();
        for seed in [3, 13, 23, 33, 43] {
            assert!(
                told.contains(&format!("\nseed {seed}: it ends with 3\n")),
                "{told}"
            );
        }
        assert!(run(0, 50, || false, |_| 1).told().is_none());
    }

    #[test]
    fn of_many_failing_seeds_the_first_are_named_and_the_others_counted() {
        let ran = run(0, 100, || false, |_| panic!("no"));
        let told = ran.told().unwrap();
        assert!(
            told.contains("100 of 100 cases fail") && told.contains("and 68 more"),
            "{told}"
        );
        assert!(
            told.contains("\nseed 31: no\n") && !told.contains("seed 32"),
            "{told}"
        );
    }
}
