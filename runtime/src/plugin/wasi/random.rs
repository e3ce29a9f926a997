//! Randomness: all of it from the seed that the outcome records.

use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::plugin::guest::Guest;

/// Most bytes of one call.
const MOST_BYTES: u64 = 65536;

impl Guest {
    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.count_call()?;
        let len = usize::try_from(len.min(MOST_BYTES + 1))?;
        if len as u64 > MOST_BYTES {
            return Err(wasmtime::Error::msg(format!(
                "it asked for more than {MOST_BYTES} random bytes at a time"
            )));
        }
        self.handled.used_seed = true;
        let mut bytes = vec![0; len];
        self.dice.fill(&mut bytes);
        Ok(bytes)
    }

    fn random_number(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        self.handled.used_seed = true;
        Ok(self.dice.u64(..))
    }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number()
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number()
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random_number()?, self.random_number()?))
    }
}
