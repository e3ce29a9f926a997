//! Proofs inside the process: a whole host on a disk that fails, with a clock that is advanced by hand and plugins
//! whose handlers are functions or guests, driven by a seed and held against what its log must say.

use mimalloc::MiMalloc;

/// As the `nerve` command has it: a life allocates much, for a short time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

mod check;
mod controls;
mod deploying;
mod gate;
mod guest;
mod history;
mod points;
mod script;
mod simulation;
mod world;
