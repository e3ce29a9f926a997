//! `random`: drawn from the seed that the outcome records. The generator is wyrand, as the `fastrand` crate has it;
//! replays depend on it.

use super::nerve::plugin::random::Host;
use crate::plugin::guest::Guest;

/// Most bytes of one call.
const MOST_BYTES: u32 = 65536;

impl Host for Guest {
    fn u64(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        self.handled.used_seed = true;
        Ok(self.dice.u64(..))
    }

    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        self.count_call()?;
        self.handled.used_seed = true;
        let mut bytes = vec![0; len.min(MOST_BYTES) as usize];
        self.dice.fill(&mut bytes);
        Ok(bytes)
    }
}
