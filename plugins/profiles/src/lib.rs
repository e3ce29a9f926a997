//! Who the shop's users are: `profiles` keeps what applications read under `profile/USER`.

use nerve_sdk::prelude::*;

/// Where somebody lives.
#[derive(Schema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
struct Address {
    street: String,
    city: String,
    country: String,
}

/// From outside: somebody registered.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", key = "user")]
struct UserRegistered {
    user: String,
    email: String,
    name: String,
    address: Address,
}

/// From outside: somebody moved.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "address.changed", key = "user")]
struct AddressChanged {
    user: String,
    address: Address,
}

/// A profile can be read from now on.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "profile.created", key = "user")]
struct ProfileCreated {
    user: String,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Profile {
    email: String,
    name: String,
    address: Address,
    /// How often this profile was written: 1 after the registration.
    revision: u64,
}

struct Profiles;

#[plugin(emits(ProfileCreated), readable("profile/"))]
impl Profiles {
    #[on]
    fn registered(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure> {
        let UserRegistered {
            user,
            email,
            name,
            address,
        } = event.into_data();
        if !email.contains('@') {
            return Err(Failure::reject(format!("{email:?} is not an email address")));
        }
        let key = key(&user);
        let revision = ctx
            .state()
            .get::<Profile>(&key)?
            .map_or(1, |old| old.revision + 1);
        ctx.state().set(
            &key,
            &Profile {
                email,
                name,
                address,
                revision,
            },
        )?;
        if revision == 1 {
            ctx.emit(&ProfileCreated { user })?;
        }
        Ok(())
    }

    #[on]
    fn moved(ctx: &mut Context<Self>, event: Delivered<AddressChanged>) -> Result<(), Failure> {
        let AddressChanged { user, address } = event.into_data();
        let key = key(&user);
        let Some(mut profile) = ctx.state().get::<Profile>(&key)? else {
            return Err(Failure::reject(format!("{user} has no profile")));
        };
        profile.address = address;
        profile.revision += 1;
        ctx.state().set(&key, &profile)?;
        Ok(())
    }
}

fn key(user: &str) -> String {
    format!("profile/{user}")
}

#[cfg(test)]
mod tests;
