//! The process that compiles: it gives up what it does not need before it reads a byte.

use std::io::{self, Read, Write};
use std::time::Duration;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use super::{answer, translate};
use crate::plugin::engine::{self, Code};
use crate::plugin::stack::Stack;

/// The hidden command of `nerve` that is this process.
pub const COMMAND: &str = "compile-component";

/// The program of this very process, also when its file was replaced meanwhile.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// All of its environment: its allocator reserves no address space for later, which the limit would count, and it leaves a
/// processor to others, where there are several.
pub(super) fn environment() -> [(&'static str, String); 2] {
    let threads = processors().saturating_sub(1).max(1);
    [
        ("MIMALLOC_ARENA_RESERVE", "0".to_owned()),
        ("RAYON_NUM_THREADS", threads.to_string()),
    ]
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Open files that it may have: the three it is started with, and the one that Landlock needs for a moment.
const MOST_FILES: u64 = 4;

/// How far it stands behind everybody else for the processor.
const NICE: i32 = 5;

/// What it may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Seconds of the processors.
    pub cpu_seconds: u64,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The system does not set a limit.
    #[error("a limit can't be set: {0}")]
    Limit(#[from] rustix::io::Errno),
    /// The system has Landlock, and it fails.
    #[error("Landlock can't be set up: {0}")]
    Landlock(#[from] RulesetError),
}

/// The seconds of the processors that go with this time on the clock.
pub(super) fn cpu_seconds(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_add(1);
    seconds.saturating_mul(processors() as u64)
}

/// Give up, for good, whatever compiling does not need. To be called while the process has one thread.
///
/// Landlock is used as far as the kernel has it; the answer says how far that is.
pub fn confine(allowance: Allowance) -> Result<RulesetStatus, ConfineError> {
    // It has nobody to answer to when the host is gone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICE)?;
    let both = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, both(0))?;
    // Pipes are not meant by it.
    setrlimit(Resource::Fsize, both(0))?;
    setrlimit(Resource::Nofile, both(MOST_FILES))?;
    setrlimit(
        Resource::Cpu,
        Rlimit {
            current: Some(allowance.cpu_seconds),
            maximum: Some(allowance.cpu_seconds.saturating_add(1)),
        },
    )?;
    setrlimit(Resource::As, both(allowance.memory_bytes))?;
    Ok(deny()?)
}

/// Deny this thread, and those that it makes, every file, port and signal that the kernel knows to deny.
fn deny() -> Result<RulesetStatus, RulesetError> {
    let denied = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(denied.ruleset)
}

/// Read bytes to their end, compile them to what `code` says, and answer.
pub fn serve(mut from: impl Read, mut to: impl Write, code: Code) -> io::Result<()> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let engine =
        engine::below(code, Stack::default()).map_err(|cause| io::Error::other(format!("{cause:#}")))?;
    let answer = translate::translate(&engine, &bytes);
    let (kind, rest) = answer::parts(&answer);
    to.write_all(&[kind])?;
    to.write_all(&rest)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_kernel_has_landlock_no_file_and_no_port_can_be_had() {
        let tried = std::thread::spawn(|| {
            let status = deny().unwrap();
            let file = std::fs::read("/proc/self/exe").err().map(|cause| cause.kind());
            let folder = std::fs::read_dir("/").err().map(|cause| cause.kind());
            let port = std::net::TcpListener::bind("127.0.0.1:0")
                .err()
                .map(|cause| cause.kind());
            (status, [file, folder], port)
        });
        let (status, files, port) = tried.join().unwrap();
        let denied = Some(io::ErrorKind::PermissionDenied);
        match status {
            RulesetStatus::FullyEnforced => assert_eq!((files, port), ([denied; 2], denied)),
            RulesetStatus::PartiallyEnforced => assert_eq!(files, [denied; 2]),
            RulesetStatus::NotEnforced => assert_eq!(files, [None; 2]),
        }
    }

    #[test]
    fn it_answers_with_code_or_a_reason() {
        let answer = |bytes: &[u8]| {
            let mut said = Vec::new();
            serve(bytes, &mut said, Code::default()).unwrap();
            answer::parse(said).unwrap()
        };
        assert!(
            !answer(&wat::parse_str("(component)").unwrap())
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            answer(b"hello, world"),
            Err(super::super::CompileError::NotWasm("hello, w".into()))
        );
    }
}
