//! Mistakes in handlers.

use nerve_sdk::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", key = "user")]
struct UserRegistered {
    user: String,
}

struct Nothing;

#[plugin]
impl Nothing {}

struct Wrong;

#[plugin]
impl Wrong {
    #[on]
    fn bare(_ctx: &mut Context<Self>, _event: UserRegistered) -> Result<(), Failure> {
        Ok(())
    }

    #[on]
    fn raw_without_a_pattern(_ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        Ok(())
    }

    #[on("user.*")]
    fn typed_with_a_pattern(_ctx: &mut Context<Self>, _event: Delivered<UserRegistered>) -> Result<(), Failure> {
        Ok(())
    }

    #[on]
    fn with_self(&mut self, _event: Delivered<UserRegistered>) -> Result<(), Failure> {
        Ok(())
    }

    #[on(user.registered)]
    fn unquoted(_ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        Ok(())
    }
}

struct Twins;

#[plugin]
impl Twins {
    #[on]
    fn first(_ctx: &mut Context<Self>, _event: Delivered<UserRegistered>) -> Result<(), Failure> {
        Ok(())
    }

    #[on]
    fn second(_ctx: &mut Context<Self>, _event: Delivered<UserRegistered>) -> Result<(), Failure> {
        Ok(())
    }
}

#[plugin]
struct NoImpl;

fn main() {}
