//! What the process that compiles tells the one that asked: a byte that says what it is, and the code or a reason.

use super::CompileError;
use crate::plugin::v1::log::escaped;

/// Bytes of a reason at most.
const LONGEST_REASON: usize = 4096;

const CODE: u8 = b'c';
const NOT_WASM: u8 = b'n';
const NO_WORLD: u8 = b'w';
const DAMAGED: u8 = b'd';
const FAULT: u8 = b'f';

/// One answer.
pub(super) type Answer = Result<Vec<u8>, CompileError>;

/// As bytes: the first, and the rest.
pub(super) fn parts(answer: &Answer) -> (u8, std::borrow::Cow<'_, [u8]>) {
    match answer {
        Ok(code) => (CODE, code.into()),
        Err(CompileError::NotWasm(reason)) => (NOT_WASM, reason.as_bytes().into()),
        Err(CompileError::NoWorld(reason)) => (NO_WORLD, reason.as_bytes().into()),
        Err(CompileError::Damaged(reason)) => (DAMAGED, reason.as_bytes().into()),
        Err(other) => (FAULT, other.to_string().into_bytes().into()),
    }
}

/// The answer in these bytes; `None` where there is none.
pub(super) fn parse(mut said: Vec<u8>) -> Option<Answer> {
    let kind = *said.first()?;
    if kind == CODE {
        said.remove(0);
        return Some(Ok(said));
    }
    // The words come from where hostile bytes were read.
    let reason = String::from_utf8_lossy(&said[1..said.len().min(LONGEST_REASON)]);
    let reason = escaped(reason.into_owned());
    Some(Err(match kind {
        NOT_WASM => CompileError::NotWasm(reason),
        NO_WORLD => CompileError::NoWorld(reason),
        DAMAGED => CompileError::Damaged(reason),
        FAULT => CompileError::Fault(reason),
        _ => return None,
    }))
}
