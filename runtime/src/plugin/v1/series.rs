//! `series`: events that follow within the same call.

use super::nerve::plugin::series::Host;
use crate::plugin::guest::Guest;

impl Host for Guest {
    fn next(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.go_on())
    }
}
