//! Proofs: tests that run many cases, shorter in `make test` and longer in `make soak`, and say what they came to.
//!
//! `NERVE_PROOF_SCALE=long` asks for the long form (or a number for so many cases), `NERVE_PROOF_SEED` for the cases of a seed that failed. Every proof
//! appends a line of JSON to the file that `NERVE_PROOF_FIGURES` names; `scripts/reliability` makes a table of them.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Instant;

use serde_json::json;

/// One proof, from its begin to its end.
pub struct Proof {
    name: &'static str,
    seed: u64,
    begun: Instant,
    cases: u64,
}

impl Proof {
    /// Begin.
    pub fn begin(name: &'static str) -> Self {
        let asked = std::env::var("NERVE_PROOF_SEED").ok();
        let seed = asked
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| RandomState::new().hash_one(name));
        Self {
            name,
            seed,
            begun: Instant::now(),
            cases: 0,
        }
    }

    /// How many cases to run: `short` in `make test`, `long` in `make soak`.
    pub fn scale(&self, short: u64, long: u64) -> u64 {
        match std::env::var("NERVE_PROOF_SCALE").as_deref() {
            Ok("long") => long,
            Ok("short") | Err(_) => short,
            Ok(count) => count
                .parse()
                .expect("NERVE_PROOF_SCALE is short, long or a number of cases"),
        }
    }

    /// What makes its random choices.
    pub fn dice(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// So many cases more were run, and held.
    pub fn held(&mut self, cases: u64) {
        self.cases += cases;
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!(
                "{} failed behind {} cases; NERVE_PROOF_SEED={} makes the same choices again",
                self.name, self.cases, self.seed
            );
        }
        let Some(file) = std::env::var_os("NERVE_PROOF_FIGURES") else {
            return;
        };
        let line = json!({
            "proof": self.name,
            "cases": self.cases + u64::from(failed),
            "seconds": self.begun.elapsed().as_secs_f64(),
            "violations": u64::from(failed),
            "seed": self.seed,
        });
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(cause) = written {
            eprintln!("{}: {cause}", file.display());
        }
    }
}
