//! Who gets which events and who emits which: the ways that an event's consequences can take, as plugins declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nerve_eventlog::Offset;
use parking_lot::Mutex;

use crate::delivery::subscription::Subscription;

/// The plugins that run.
#[derive(Debug, Default)]
pub struct Routes {
    plugins: BTreeMap<Box<str>, Route>,
    /// What was asked for before.
    leading: Mutex<BTreeMap<Box<str>, Leading>>,
    /// Who looked saw no record behind this one.
    pub through: Offset,
}

/// One plugin.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// What it gets.
    pub subscription: Subscription,
    /// The types that it says it emits.
    pub emits: Vec<String>,
}

/// Plugins by name.
pub type Leading = Arc<BTreeSet<Box<str>>>;

impl Routes {
    /// These plugins, by name, as somebody saw them who saw no record behind `through`.
    pub fn new(plugins: impl IntoIterator<Item = (Box<str>, Route)>, through: Offset) -> Self {
        Self {
            plugins: plugins.into_iter().collect(),
            leading: Mutex::default(),
            through,
        }
    }

    /// Whether `plugin` runs.
    pub fn has(&self, plugin: &str) -> bool {
        self.plugins.contains_key(plugin)
    }

    /// Whether `plugin` runs and gets the event of type `name` at `offset`.
    pub fn gets(&self, plugin: &str, name: &str, offset: Offset) -> bool {
        let route = self.plugins.get(plugin);
        route.is_some_and(|route| route.subscription.wants(name, offset))
    }

    /// `plugin`, the plugins that emit what it gets, those that emit what they get, and so on.
    pub fn leading_to(&self, plugin: &str) -> Leading {
        if let Some(known) = self.leading.lock().get(plugin) {
            return known.clone();
        }
        let mut leading = BTreeSet::from([Box::from(plugin)]);
        let mut from: Vec<&Route> = self.plugins.get(plugin).into_iter().collect();
        while let Some(reached) = from.pop() {
            for (name, route) in &self.plugins {
                let mut emits = route.emits.iter();
                if !leading.contains(name) && emits.any(|emitted| reached.subscription.matches(emitted)) {
                    leading.insert(name.clone());
                    from.push(route);
                }
            }
        }
        let leading = Arc::new(leading);
        self.leading.lock().insert(plugin.into(), leading.clone());
        leading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_to_a_plugin_is_found_through_others_and_through_circles() {
        let route = |name: &str, gets: &str, emits: &[&str]| {
            let pattern = gets.parse().unwrap();
            let route = Route {
                subscription: Subscription::new(vec![(pattern, Offset(1))]),
                emits: emits.iter().map(|name| (*name).to_owned()).collect(),
            };
            (Box::from(name), route)
        };
        let routes = Routes::new(
            [
                route("orders", "order.>", &["payment.asked", "order.confirmed"]),
                route("payments", "payment.asked", &["order.paid"]),
                route("shipping", "order.confirmed", &["parcel.sent"]),
                route("mails", "parcel.*", &[]),
                route("stock", "goods.*", &["goods.low"]),
            ],
            Offset(9),
        );
        for (to, from) in [
            ("mails", &["mails", "orders", "payments", "shipping"][..]),
            ("orders", &["orders", "payments"]),
            ("payments", &["orders", "payments"]),
            ("stock", &["stock"]),
            ("nobody", &["nobody"]),
        ] {
            for _ in 0..2 {
                let leading = routes.leading_to(to);
                let leading: Vec<&str> = leading.iter().map(|name| &**name).collect();
                assert_eq!(leading, from, "leading to {to}");
            }
        }
        assert!(routes.gets("mails", "parcel.lost", Offset(1)) && !routes.gets("mails", "parcel", Offset(1)));
        assert!(!routes.gets("mails", "parcel.lost", Offset(0)));
    }
}
