//! What `nerve doctor --traces --scaffold` writes compiles, and its tests pass. That it writes exactly this is a test of
//! the doctor's.

#[rustfmt::skip]
#[path = "scaffolded/busy.rs"]
mod busy;
#[rustfmt::skip]
#[path = "scaffolded/stock.rs"]
mod stock;
