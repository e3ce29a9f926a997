//! Who may log in: `login` keeps its own copy, so that it answers whatever else is down.

use nerve_sdk::prelude::*;

/// From outside: somebody registered.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", key = "user")]
struct UserRegistered {
    user: String,
}

/// From outside: somebody logged in.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.logged_in", key = "user")]
struct UserLoggedIn {
    user: String,
}

/// What applications read under `login/USER`.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
struct Account {
    registered: bool,
    logins: u64,
    /// Microseconds since 1970.
    last_login: Option<u64>,
}

struct Logins;

#[plugin(readable("login/"))]
impl Logins {
    #[on]
    fn registered(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure> {
        ctx.state().update(&key(&event.user), |account: &mut Account| {
            account.registered = true;
        })?;
        Ok(())
    }

    #[on]
    fn logged_in(ctx: &mut Context<Self>, event: Delivered<UserLoggedIn>) -> Result<(), Failure> {
        let key = key(&event.user);
        let Some(mut account) = ctx.state().get::<Account>(&key)? else {
            return Err(Failure::reject(format!("{} never registered", event.user)));
        };
        account.logins += 1;
        account.last_login = Some(event.meta().time());
        ctx.state().set(&key, &account)?;
        Ok(())
    }
}

fn key(user: &str) -> String {
    format!("login/{user}")
}

#[cfg(test)]
mod tests;
