//! What contracts refuse, and when it is tried again.
//!
//! A field that changes in a producer and in its consumers is saved, and built, at once, and deployed one by one: what
//! comes first may be refused for what runs of the others. So whenever something else went live it is tried again, until
//! nothing more goes live. What another reason refuses stays so until it changes.

use std::collections::BTreeMap;

use crate::contract::REFUSED;

/// What is refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By contracts, with the reason that was shown; none of a plugin that the host had refused before.
    by_contract: BTreeMap<String, String>,
    /// What went live since they were tried.
    since: Vec<String>,
    /// What had gone live when they were tried last.
    tried_for: Vec<String>,
    /// Whether any is refused for a reason that was not told before.
    is_news: bool,
}

impl Refused {
    /// The host had decided on what `plugin` is asked to run, when it ran before: where it had refused that, it is tried again.
    pub(super) fn before(&mut self, plugin: &str) {
        self.by_contract.insert(plugin.to_owned(), String::new());
        self.since.push(String::new());
    }

    /// `plugin` is not refused.
    pub(super) fn is_not(&mut self, plugin: &str) {
        self.by_contract.remove(plugin);
    }

    /// `plugin` was removed, and others may have been refused for it.
    pub(super) fn gone(&mut self, plugin: &str) {
        self.is_not(plugin);
        self.since.push(String::new());
    }

    /// `plugin` went live; thanks to which others, where it was refused for them.
    pub(super) fn live(&mut self, plugin: &str) -> Vec<String> {
        self.since.push(plugin.to_owned());
        let was_refused = self.by_contract.remove(plugin);
        let others = self.tried_for.iter().filter(|one| !one.is_empty());
        others.filter(|_| was_refused.is_some()).cloned().collect()
    }

    /// `plugin` is refused for this `reason`; whether that is news.
    pub(super) fn refuse(&mut self, plugin: &str, reason: &str) -> bool {
        let known = self.by_contract.remove(plugin);
        if !reason.starts_with(REFUSED) {
            return true;
        }
        let is_news = known.as_deref() != Some(reason);
        self.is_news |= is_news;
        self.by_contract.insert(plugin.to_owned(), reason.to_owned());
        is_news
    }

    /// What is tried again now, since something else went live.
    pub(super) fn due(&mut self) -> Vec<String> {
        if self.since.is_empty() || self.by_contract.is_empty() {
            return Vec::new();
        }
        self.tried_for = std::mem::take(&mut self.since);
        self.by_contract.keys().cloned().collect()
    }

    /// Those of which none can go first, where there are several and it was not said yet.
    pub(super) fn is_stuck(&mut self) -> Option<Vec<&str>> {
        (self.since, self.tried_for) = (Vec::new(), Vec::new());
        let is_news = std::mem::take(&mut self.is_news);
        (is_news && self.by_contract.len() > 1).then(|| self.by_contract.keys().map(String::as_str).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contracts_refuse_is_tried_again_when_another_one_went_live_and_its_reason_is_told_once() {
        let mut refused = Refused::default();
        let reason = format!("{REFUSED}orders needs it");
        assert!(refused.refuse("carts", &reason));
        assert!(refused.refuse("login", "its settings are wrong"));
        assert_eq!(refused.due(), [""; 0]);
        assert_eq!(refused.live("orders"), [""; 0]);
        assert_eq!(refused.due(), ["carts"]);
        assert!(!refused.refuse("carts", &reason), "for the same reason");
        assert_eq!(refused.due(), [""; 0]);
        assert_eq!(refused.is_stuck(), None, "one alone has its reason");
        refused.live("payments");
        assert_eq!(refused.due(), ["carts"]);
        assert_eq!(refused.live("carts"), ["payments"]);
        assert_eq!(refused.due(), [""; 0], "nothing is refused any more");
        assert_eq!(refused.is_stuck(), None);
        refused.refuse("carts", &reason);
        refused.gone("orders");
        assert_eq!(refused.due(), ["carts"]);
        assert_eq!(refused.live("carts"), [""; 0], "thanks to nobody that is live");
    }

    #[test]
    fn that_several_can_not_go_on_is_told_once() {
        let mut refused = Refused::default();
        for plugin in ["carts", "orders"] {
            refused.refuse(plugin, REFUSED);
        }
        assert_eq!(refused.is_stuck(), Some(vec!["carts", "orders"]));
        refused.live("login");
        assert_eq!(refused.due(), ["carts", "orders"]);
        refused.refuse("carts", REFUSED);
        refused.refuse("orders", REFUSED);
        assert_eq!(refused.is_stuck(), None);
    }

    #[test]
    fn what_the_host_had_refused_before_is_tried_again_and_told() {
        let mut refused = Refused::default();
        refused.before("carts");
        assert_eq!(refused.due(), ["carts"]);
        assert!(refused.refuse("carts", REFUSED));
        refused.before("orders");
        assert_eq!(refused.due(), ["carts", "orders"]);
        assert_eq!(refused.live("carts"), [""; 0], "thanks to nobody");
    }
}
