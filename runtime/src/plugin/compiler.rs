//! From the bytes of a component to code of this machine.
//!
//! Compiling is work on bytes that nobody vouches for, and takes as much time and memory as they want. So it is done
//! in a process of its own, inside limits, where a program to run as that process is known ([`child`]); and in this
//! process where it is not. Both do the same (`translate`).

mod answer;
pub mod child;
mod translate;

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;

use super::engine::Code;
use super::settings::Limits;
use super::v1::log::escaped;

/// Bytes that are read of what a child says on its standard error.
const LONGEST_COMPLAINT: u64 = 4096;

/// How often a child that has answered is looked at until it has ended.
const LOOK: Duration = Duration::from_millis(1);

/// What compiles components.
#[derive(Debug, Clone)]
pub(super) enum Compiler {
    /// This process, without limits.
    Here,
    /// A process of this program, which is `nerve`, for each component.
    Child(PathBuf),
}

/// Why bytes were not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// They are something else.
    #[error("it is no WebAssembly: a component or module begins with \\0asm, this file with {0:?}")]
    NotWasm(String),
    /// A core module that is no plugin.
    #[error(
        "it is a core module without the world of nerve plugins: build it with nerve-sdk, and don't strip its custom \
         sections ({0})"
    )]
    NoWorld(String),
    /// They are no valid component, or use a proposal that is off.
    #[error("it does not compile, so it is damaged or cut off: {0}")]
    Damaged(String),
    /// It took too long.
    #[error("limit compile_ms: it took longer than {0} ms to compile; raise limits.compile_ms")]
    Time(u64),
    /// It took too much memory.
    #[error(
        "limit compile_memory_bytes: it took more than {0} bytes of memory to compile; raise limits.compile_memory_bytes"
    )]
    Memory(u64),
    /// The compiler ended without an answer.
    #[error("it brought the compiler down, and nothing else: {0}")]
    Fault(String),
    /// The compiler could not be run.
    #[error("the compiler, a process of {}, can't be run: {cause}", program.display())]
    Process {
        /// The program.
        program: PathBuf,
        /// Why.
        cause: String,
    },
}

impl Compiler {
    /// The code for `bytes`, a component or a core module, for `engine`, which is one for `code`. Blocks.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        code: Code,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::Here => translate::translate(engine, bytes),
            Self::Child(program) => in_child(program, code, bytes, limits),
        }
    }
}

fn in_child(program: &PathBuf, code: Code, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, CompileError> {
    let process = |cause: io::Error| CompileError::Process {
        program: program.clone(),
        cause: cause.to_string(),
    };
    let allowed = Duration::from_millis(limits.compile_ms);
    let begun = Instant::now();
    let mut child = Command::new(program)
        .arg(child::COMMAND)
        .args(["--memory-bytes", &limits.compile_memory_bytes.to_string()])
        .args(["--cpu-seconds", &child::cpu_seconds(allowed).to_string()])
        .args(
            code.to_possible_value()
                .map(|code| format!("--code={}", code.get_name())),
        )
        .env_clear()
        .envs(child::environment())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(process)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // What goes wrong with the child's input is told by how it ends.
        scope.spawn(move || stdin.map(|mut to| to.write_all(bytes)));
        let complaint = scope.spawn(move || complaint(stderr));
        let (tell, told) = mpsc::sync_channel(1);
        let most = limits.compile_memory_bytes;
        scope.spawn(move || tell.send(said(stdout, most)));
        let said = told.recv_timeout(allowed);
        // It closes its output at its end, and ends then; whatever is left of it is killed.
        let ended = loop {
            let left = allowed.saturating_sub(begun.elapsed());
            match child.try_wait() {
                Ok(Some(status)) => break Ok(Some(status)),
                Ok(None) if said.is_ok() && !left.is_zero() => thread::park_timeout(LOOK),
                Ok(None) => break child.kill().and_then(|()| child.wait()).map(|_| None),
                Err(cause) => break child.kill().and(Err(cause)),
            }
        };
        let complaint = complaint.join().unwrap_or_default();
        match (ended.map_err(process)?, said) {
            (_, Ok(None)) => Err(CompileError::Memory(limits.compile_memory_bytes)),
            (None, _) => Err(CompileError::Time(limits.compile_ms)),
            (Some(status), Ok(Some(said))) if status.success() => {
                if !complaint.is_empty() {
                    tracing::debug!("the compiler says: {}", escaped(complaint.trim().to_owned()));
                }
                answer::parse(said)
                    .unwrap_or_else(|| Err(CompileError::Fault("its answer is cut off".into())))
            }
            (Some(status), Err(_)) if status.success() => Err(CompileError::Time(limits.compile_ms)),
            (Some(status), _) => Err(why(status, &complaint, limits)),
        }
    })
    .map_err(|refused| match refused {
        CompileError::Damaged(cause) if is_about_memory(&cause) => {
            CompileError::Memory(limits.compile_memory_bytes)
        }
        _ => refused,
    })
}

/// Everything the child says, unless it is more than `most` bytes.
fn said(stdout: Option<impl Read>, most: u64) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    stdout?.take(most.saturating_add(1)).read_to_end(&mut said).ok()?;
    (said.len() as u64 <= most).then_some(said)
}

fn complaint(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        // Half a complaint is better than none.
        stderr.take(LONGEST_COMPLAINT).read_to_end(&mut said).ok();
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What an end without an answer means.
fn why(status: ExitStatus, complaint: &str, limits: &Limits) -> CompileError {
    let first = complaint.lines().map(str::trim).find(|line| !line.is_empty());
    let first = escaped(first.unwrap_or("it said nothing").to_owned());
    let cpu = rustix::process::Signal::XCPU.as_raw();
    match status.signal() {
        Some(signal) if signal == cpu => CompileError::Time(limits.compile_ms),
        _ if is_about_memory(complaint) => CompileError::Memory(limits.compile_memory_bytes),
        Some(_) if complaint.contains("overflowed its stack") => {
            CompileError::Fault("it is nested too deeply".into())
        }
        _ => CompileError::Fault(format!("{status}, {first}")),
    }
}

/// Whether these words, of the system or of a library, say that there was no memory.
fn is_about_memory(words: &str) -> bool {
    [
        "memory allocation of",
        "Cannot allocate memory",
        "os error 12",
        "out of memory",
        // There was none for the stack of a thread.
        "ThreadPoolBuildError",
    ]
    .iter()
    .any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(program: &str, bytes: &[u8]) -> CompileError {
        let limits = Limits {
            compile_memory_bytes: 1 << 20,
            ..Limits::default()
        };
        let engine = wasmtime::Engine::default();
        Compiler::Child(program.into())
            .compile(&engine, Code::default(), bytes, &limits)
            .unwrap_err()
    }

    #[test]
    fn a_program_that_is_not_there_or_says_nothing_is_named_as_the_cause() {
        let absent = refused("/not/there", b"");
        assert!(
            matches!(&absent, CompileError::Process { .. }) && absent.to_string().contains("/not/there"),
            "{absent}"
        );
        let bytes = vec![0; 1 << 20];
        let silent = refused("/bin/false", &bytes);
        assert!(
            matches!(&silent, CompileError::Fault(how) if how.contains("exit status: 1")),
            "{silent}"
        );
        assert_eq!(
            refused("/bin/true", &bytes),
            CompileError::Fault("its answer is cut off".into())
        );
    }

    #[test]
    fn how_the_child_ends_says_which_limit_it_met() {
        let limits = Limits::default();
        let (time, memory) = (
            CompileError::Time(limits.compile_ms),
            CompileError::Memory(limits.compile_memory_bytes),
        );
        let signal = |signal: rustix::process::Signal| ExitStatus::from_raw(signal.as_raw());
        let (xcpu, abort) = (
            signal(rustix::process::Signal::XCPU),
            signal(rustix::process::Signal::ABORT),
        );
        for (status, complaint, meant) in [
            (xcpu, "", time),
            (abort, "memory allocation of 4096 bytes failed", memory.clone()),
            (
                ExitStatus::from_raw(101 << 8),
                "a panic: ThreadPoolBuildError",
                memory,
            ),
            (
                abort,
                "\nthread 'main' has overflowed its stack",
                CompileError::Fault("it is nested too deeply".into()),
            ),
            (
                ExitStatus::from_raw(101 << 8),
                "\n  thread 'main' panicked\nmore",
                CompileError::Fault("exit status: 101, thread 'main' panicked".into()),
            ),
        ] {
            assert_eq!(why(status, complaint, &limits), meant, "{complaint}");
        }
    }

    #[test]
    fn an_answer_without_end_is_not_read_to_its_end() {
        assert_eq!(said(Some(io::repeat(b'x')), 1 << 20), None);
        assert_eq!(said(Some(&b"all"[..]), 3), Some(b"all".to_vec()));
    }

    #[test]
    fn what_the_child_says_is_escaped_and_cut() {
        let mut said = vec![b'd'];
        said.extend("\u{1b}[31m\u{202e}".bytes());
        said.extend([b'x'; 10_000]);
        let Some(Err(CompileError::Damaged(reason))) = answer::parse(said) else {
            panic!("it is a reason");
        };
        assert!(
            reason.starts_with("\\u{1b}[31m\\u{202e}x") && reason.len() < 5000,
            "{reason}"
        );
        assert!(answer::parse(Vec::new()).is_none() && answer::parse(b"?".to_vec()).is_none());
    }
}
