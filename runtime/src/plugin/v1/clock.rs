//! `clock`: the time at the start of the attempt.

use super::nerve::plugin::clock::Host;
use crate::plugin::guest::Guest;

impl Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.started.0)
    }
}
