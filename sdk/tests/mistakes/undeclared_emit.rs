//! An event that is emitted, but not declared.

use nerve_sdk::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.greeted", key = "user")]
struct UserGreeted {
    user: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.forgotten", key = "user")]
struct UserForgotten {
    user: String,
}

struct Greeter;

#[plugin(emits(UserForgotten))]
impl Greeter {
    #[on("user.registered")]
    fn greet(ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        ctx.emit(&UserGreeted { user: String::new() })?;
        Ok(())
    }
}

fn main() {}
