//! `config`: the operator's values.

use super::nerve::plugin::config::Host;
use crate::plugin::guest::Guest;

impl Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.count_call()?;
        Ok(self.settings.config.get(&key).cloned())
    }
}
