//! What shipping costs each user: recomputed when an address changes, readable under `cost/USER`; and parcels for
//! orders that are paid.

use nerve_sdk::prelude::*;

/// Cents for a parcel that stays in the shop's country, unless `[config]` says otherwise.
const HOME_CENTS: u64 = if cfg!(feature = "dearer") { 450 } else { 390 };
/// Cents for a parcel abroad, unless `[config]` says otherwise.
const ABROAD_CENTS: u64 = 1290;

/// The part of an address that costs depend on.
#[derive(Schema, Serialize, Deserialize)]
struct Address {
    country: String,
}

/// From outside: somebody registered.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", key = "user")]
struct UserRegistered {
    user: String,
    address: Address,
}

/// From outside: somebody moved.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "address.changed", key = "user")]
struct AddressChanged {
    user: String,
    address: Address,
}

/// A parcel to this user costs something else from now on.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "shipping.cost_changed", key = "user")]
struct CostChanged {
    user: String,
    cents: u64,
}

/// An order is paid.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.confirmed", key = "order")]
struct OrderConfirmed {
    order: String,
    user: String,
}

/// Its parcel is on its way.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "parcel.sent", key = "order")]
struct ParcelSent {
    order: String,
    user: String,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
struct Cost {
    cents: u64,
    /// How often it was computed: once for every address that this user ever had.
    computed: u64,
}

struct Shipping;

#[plugin(emits(CostChanged, ParcelSent), readable("cost/"))]
impl Shipping {
    #[on]
    fn registered(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure> {
        let UserRegistered { user, address } = event.into_data();
        recompute(ctx, user, &address)
    }

    #[on]
    fn moved(ctx: &mut Context<Self>, event: Delivered<AddressChanged>) -> Result<(), Failure> {
        let AddressChanged { user, address } = event.into_data();
        recompute(ctx, user, &address)
    }

    #[on]
    fn confirmed(ctx: &mut Context<Self>, event: Delivered<OrderConfirmed>) -> Result<(), Failure> {
        let OrderConfirmed { order, user } = event.into_data();
        ctx.emit(&ParcelSent { order, user })?;
        Ok(())
    }
}

fn recompute(ctx: &mut Context<Shipping>, user: String, address: &Address) -> Result<(), Failure> {
    let home = ctx.config("home").unwrap_or_else(|| "GB".to_owned());
    let cents = if address.country == home {
        cents(ctx, "home_cents", HOME_CENTS)?
    } else {
        cents(ctx, "abroad_cents", ABROAD_CENTS)?
    };
    let key = format!("cost/{user}");
    let old: Cost = ctx.state().get(&key)?.unwrap_or_default();
    ctx.state().set(
        &key,
        &Cost {
            cents,
            computed: old.computed + 1,
        },
    )?;
    if old.cents != cents {
        ctx.emit(&CostChanged { user, cents })?;
    }
    Ok(())
}

/// A price from `[config]`. A retry, not a reject: the operator mends it, and no event is lost.
fn cents(ctx: &Context<Shipping>, key: &str, default: u64) -> Result<u64, Failure> {
    ctx.config(key).map_or(Ok(default), |text| {
        text.parse()
            .map_err(|_| Failure::retry(format!("{key} = {text:?} in [config] is not a number of cents")))
    })
}

#[cfg(test)]
mod tests;
