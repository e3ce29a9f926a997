//! What users are told: `notifications` says which message goes to whom.
//!
//! Sending it is another plugin's or service's work, which consumes `notification.sent`.

use nerve_sdk::prelude::*;

/// From outside: somebody registered.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", key = "user")]
struct UserRegistered {
    user: String,
    email: String,
}

/// From outside: somebody moved.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "address.changed", key = "user")]
struct AddressChanged {
    user: String,
}

/// An order is paid.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.confirmed")]
struct OrderConfirmed {
    user: String,
}

/// An order came to nothing.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.cancelled")]
struct OrderCancelled {
    user: String,
    reason: String,
}

/// Why somebody is told something.
#[derive(Schema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Welcome,
    AddressChanged,
    OrderConfirmed,
    OrderCancelled,
}

/// A message was handed over.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "notification.sent", key = "user")]
struct NotificationSent {
    user: String,
    kind: Kind,
}

struct Notifications;

#[plugin(emits(NotificationSent), readable("sent/"))]
impl Notifications {
    #[on]
    fn greet(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure> {
        info!("welcome to {}", event.email);
        send(ctx, event.into_data().user, Kind::Welcome)
    }

    #[on]
    fn confirm(ctx: &mut Context<Self>, event: Delivered<AddressChanged>) -> Result<(), Failure> {
        send(ctx, event.into_data().user, Kind::AddressChanged)
    }

    #[on]
    fn order_confirmed(ctx: &mut Context<Self>, event: Delivered<OrderConfirmed>) -> Result<(), Failure> {
        send(ctx, event.into_data().user, Kind::OrderConfirmed)
    }

    #[on]
    fn order_cancelled(ctx: &mut Context<Self>, event: Delivered<OrderCancelled>) -> Result<(), Failure> {
        info!("{} has no order, since {}", event.user, event.reason);
        send(ctx, event.into_data().user, Kind::OrderCancelled)
    }
}

/// Say that `user` was told, and count it under `sent/USER`.
fn send(ctx: &mut Context<Notifications>, user: String, kind: Kind) -> Result<(), Failure> {
    ctx.state()
        .update(&format!("sent/{user}"), |count: &mut u64| *count += 1)?;
    ctx.emit(&NotificationSent { user, kind })?;
    Ok(())
}

#[cfg(test)]
mod tests;
