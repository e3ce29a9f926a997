//! The clocks: the start of the attempt, standing still. Waiting for a time ends at once.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use super::streams::POLLABLE;
use crate::plugin::guest::Guest;

/// What the clocks tell apart: a microsecond, in nanoseconds.
const RESOLUTION: u32 = 1000;

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.count_call()?;
        Ok(wall_clock::Datetime {
            seconds: self.started.0 / 1_000_000,
            nanoseconds: (self.started.0 % 1_000_000) as u32 * 1000,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.count_call()?;
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: RESOLUTION,
        })
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.started.0.saturating_mul(1000))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(u64::from(RESOLUTION))
    }

    fn subscribe_instant(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.count_call()?;
        Ok(Resource::new_own(POLLABLE))
    }

    fn subscribe_duration(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.count_call()?;
        Ok(Resource::new_own(POLLABLE))
    }
}
