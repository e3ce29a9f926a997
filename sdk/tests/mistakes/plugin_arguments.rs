//! Mistakes in the parentheses of `#[plugin]`: all are reported at once.

use nerve_sdk::prelude::*;

struct Greeter;

#[plugin(name = "Greeter!", emits("user greeted"))]
impl Greeter {
    #[on("user.>.all")]
    fn greet(_ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        Ok(())
    }
}

struct Other;

#[plugin(emit("user.greeted"))]
impl Other {
    #[on(">")]
    fn greet(_ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        Ok(())
    }
}

struct Asking;

#[plugin(asks(files("/etc")))]
impl Asking {
    #[on(">")]
    fn greet(_ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        Ok(())
    }
}

fn main() {}
