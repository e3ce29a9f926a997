//! A fuzzer that needs no special compiler: it changes valid inputs, and keeps those whose outcome is new.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Dice, Mutator, figures, number, said};

/// Seconds that one input may take. Those are counted in which this process runs: it may be held up as a whole.
const LONGEST: u32 = 10;

/// Inputs that are kept at most.
const KEPT: usize = 20_000;

/// What a fuzzer did.
#[derive(Debug, Clone, Copy)]
pub struct Fuzzed {
    /// Inputs that were tried.
    pub executions: u64,
    /// Different outcomes that were met.
    pub outcomes: usize,
}

/// What the two threads share: the input that is tried, and its number.
type Trying = Arc<Mutex<(Vec<u8>, u64)>>;

/// Give `target` one changed input of `corpus` after the other, for as long as `NERVE_FUZZ_SECONDS` says, and leave
/// a line of figures. `target` answers in a few words what came of the input: an input with a new outcome is changed
/// further.
///
/// # Panics
/// When the target panics or takes longer than 10 s, naming the seed and the input.
pub fn fuzz(
    proof: &str,
    mutator: Mutator,
    corpus: Vec<Vec<u8>>,
    target: impl Fn(&[u8]) -> String + Send + 'static,
) -> Fuzzed {
    let begun = Instant::now();
    let seconds = number("NERVE_FUZZ_SECONDS").unwrap_or(30);
    let seed = number("NERVE_PROOF_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        u64::from_le_bytes(bytes)
    });
    let until = begun + Duration::from_secs(seconds);
    let trying: Trying = Arc::default();
    let watched = trying.clone();
    let (ended, end) = std::sync::mpsc::channel();
    // On a thread of its own, so that a target that never ends can be told.
    let worker = std::thread::Builder::new().spawn(move || {
        let fuzzed = run(&mutator, corpus, &target, seed, until, &trying);
        drop(ended.send(fuzzed));
    });
    worker.expect("a thread can be started");
    let (mut number, mut seconds) = (0, 0);
    let failed = loop {
        match end.recv_timeout(Duration::from_secs(1)) {
            Ok(Ok(fuzzed)) => {
                figures(proof, fuzzed.executions, begun, 0, Some(seed));
                return fuzzed;
            }
            Ok(Err((executions, why))) => break (executions, why),
            Err(_) => {
                let tried = watched.lock().map_or(number, |trying| trying.1);
                seconds = if tried == number { seconds + 1 } else { 0 };
                number = tried;
                if seconds >= LONGEST {
                    break (number, format!("it takes longer than {LONGEST} s"));
                }
            }
        }
    };
    figures(proof, failed.0, begun, 1, Some(seed));
    let input = watched.lock().map(|trying| trying.0.clone()).unwrap_or_default();
    panic!(
        "{proof}: {} (NERVE_PROOF_SEED={seed}, execution {}); the input is b\"{}\"",
        failed.1,
        failed.0,
        input.escape_ascii()
    );
}

fn run(
    mutator: &Mutator,
    mut corpus: Vec<Vec<u8>>,
    target: &impl Fn(&[u8]) -> String,
    seed: u64,
    until: Instant,
    trying: &Trying,
) -> Result<Fuzzed, (u64, String)> {
    let mut dice = Dice::new(seed);
    let mut outcomes = HashSet::new();
    let mut executions = 0;
    let first = corpus.clone();
    let mut unchanged = first.into_iter();
    while Instant::now() < until {
        let input = unchanged
            .next()
            .unwrap_or_else(|| mutator.change(&corpus, &mut dice));
        executions += 1;
        if let Ok(mut trying) = trying.lock() {
            *trying = (input.clone(), executions);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)))
            .map_err(|panicked| (executions, said(&*panicked)))?;
        if outcomes.len() < KEPT && outcomes.insert(outcome) {
            corpus.push(input);
        }
    }
    Ok(Fuzzed {
        executions,
        outcomes: outcomes.len(),
    })
}
