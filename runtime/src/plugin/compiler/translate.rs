//! The work itself: a core module becomes a component, and a component code.

use wasmtime::Engine;

use super::CompileError;
use crate::plugin::v1::log::escaped;

/// The code for `bytes`.
pub(super) fn translate(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    let wrapped = as_component(bytes)?;
    engine
        .precompile_component(wrapped.as_deref().unwrap_or(bytes))
        .map_err(|cause| CompileError::Damaged(escaped(format!("{cause:#}"))))
}

/// A core module, turned into a component; `None` where it is one already.
fn as_component(bytes: &[u8]) -> Result<Option<Vec<u8>>, CompileError> {
    if wasmparser::Parser::is_component(bytes) {
        return Ok(None);
    }
    if !wasmparser::Parser::is_core_wasm(bytes) {
        let begins = bytes
            .iter()
            .take(8)
            .flat_map(|byte| byte.escape_ascii())
            .map(char::from)
            .collect();
        return Err(CompileError::NotWasm(begins));
    }
    wasmparser::validate(bytes).map_err(|cause| CompileError::Damaged(escaped(cause.to_string())))?;
    let encode = || wit_component::ComponentEncoder::default().module(bytes)?.encode();
    encode()
        .map(Some)
        .map_err(|cause| CompileError::NoWorld(escaped(format!("{cause:#}"))))
}
