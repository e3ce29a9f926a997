//! The operation to convert first, and the events to replace its calls with.
//!
//! First is what costs most: the operation that waits for most services in most requests, and one that does something
//! before one that only asks. Its first service states what happened; each service that it called reacts to that, and states
//! what it did in turn. What was only asked for becomes a copy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::requests::Request;
use super::{Operation, operation};

/// The operation to convert first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its service.
    pub service: String,
    /// What it is called.
    pub operation: String,
    /// Why it is the first.
    pub why: String,
    /// The events that take the place of calls; the first is what the service of the operation states.
    pub events: Vec<PlannedEvent>,
    /// What was only asked for.
    pub copies: Vec<Copied>,
    /// The plugins that react.
    pub plugins: Vec<PlannedPlugin>,
}

/// An event that takes the place of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// Its type.
    pub r#type: String,
    /// The service that states it.
    pub stated_by: String,
    /// The operation whose result it is.
    pub instead_of: String,
    /// Services that react to it.
    pub heard_by: Vec<String>,
}

/// What was only asked for, and is kept as a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Who asks.
    pub by: String,
    /// Whom.
    pub of: String,
    /// For what.
    pub instead_of: String,
}

/// A plugin that reacts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPlugin {
    /// Its name.
    pub name: String,
    /// The service whose work it does.
    pub service: String,
    /// To what it reacts how.
    pub reactions: Vec<Reaction>,
}

/// What a plugin does with an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The type that it gets.
    pub to: String,
    /// The types that it emits then, each with the operation whose work is done.
    pub with: Vec<(String, String)>,
}

/// What is emitted for each type, with the operation whose work is done.
type Reactions = BTreeMap<String, Vec<(String, String)>>;

/// The plan, where any operation waits for another service.
pub(super) fn make(operations: &[Operation], requests: &[Request]) -> Option<Plan> {
    let waits = |one: &&Operation| !one.waits_for.is_empty();
    let cost = |one: &Operation| one.waits_for.values().sum::<usize>();
    let first = operations.iter().filter(waits).max_by(|a, b| {
        (!a.is_query, cost(a))
            .cmp(&(!b.is_query, cost(b)))
            .then_with(|| b.name.cmp(&a.name))
    })?;
    let others = operations.iter().filter(waits).count();
    let more = match others {
        1 => "and no other operation waits".to_owned(),
        others if first.is_query => format!("more than any other of the {others} operations that wait"),
        others => format!("more than any other that does something of the {others} operations that wait"),
    };
    let why = format!(
        "{} requests waited {} times for {} other services, {more}",
        first.requests,
        cost(first),
        first.waits_for.len()
    );
    let mut plan = Plan {
        service: first.service.clone(),
        operation: first.name.clone(),
        why,
        ..Plan::default()
    };
    let of_it = requests
        .iter()
        .filter(|one| one.service == first.service && one.name == first.name);
    // What each call is made in, and what it is.
    let mut steps: Vec<[&str; 4]> = Vec::new();
    let mut known = BTreeSet::new();
    for call in of_it.flat_map(|request| &request.calls) {
        let step = [&*call.from, &*call.within, &*call.to, &*call.name];
        if known.insert(step) {
            steps.push(step);
        }
    }
    let mut types: BTreeMap<(&str, &str), String> = BTreeMap::new();
    add(&mut plan, &mut types, &first.service, &first.name);
    for [_, _, to, what] in &steps {
        if !operation::is_query(what) {
            add(&mut plan, &mut types, to, what);
        }
    }
    let mut plugins: BTreeMap<&str, Reactions> = BTreeMap::new();
    let mut ways: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for [from, within, to, what] in steps {
        let stated = types.get(&(to, what)).cloned();
        // What is called inside of what only asks has no event to react to, but the first.
        let heard = types
            .get(&(from, within))
            .or_else(|| types.get(&(&*first.service, &*first.name)));
        let heard = heard.cloned().unwrap_or_default();
        // Who calls back asks: an event would go round.
        let stated = stated.filter(|stated| !leads(&ways, stated, &heard));
        let Some(stated) = stated else {
            plan.copies.push(Copied {
                by: from.to_owned(),
                of: to.to_owned(),
                instead_of: what.to_owned(),
            });
            continue;
        };
        ways.entry(heard.clone()).or_default().insert(stated.clone());
        if let Some(event) = plan.events.iter_mut().find(|event| event.r#type == heard)
            && !event.heard_by.iter().any(|service| service == to)
        {
            event.heard_by.push(to.to_owned());
        }
        let reaction = plugins.entry(to).or_default().entry(heard).or_default();
        if !reaction.iter().any(|(known, _)| *known == stated) {
            reaction.push((stated, what.to_owned()));
        }
    }
    let mut names = BTreeSet::new();
    for (service, reactions) in plugins {
        let mut plugin = plugin_name(service);
        while !names.insert(plugin.clone()) {
            plugin.push_str("-2");
        }
        let reactions = reactions.into_iter().map(|(to, with)| Reaction { to, with });
        plan.plugins.push(PlannedPlugin {
            name: plugin,
            service: service.to_owned(),
            reactions: reactions.collect(),
        });
    }
    Some(plan)
}

/// Whether the event `from` leads to `to` by these `ways`.
fn leads(ways: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut reached, mut todo) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        let next = ways.get(at).into_iter().flatten().map(String::as_str);
        todo.extend(next.filter(|next| reached.insert(next)));
    }
    false
}

fn types_of(events: &[PlannedEvent]) -> impl Iterator<Item = &String> {
    events.iter().map(|event| &event.r#type)
}

/// A new event for an operation of a service, with a type of its own.
fn add<'a>(
    plan: &mut Plan,
    types: &mut BTreeMap<(&'a str, &'a str), String>,
    service: &'a str,
    name: &'a str,
) {
    if types.contains_key(&(service, name)) {
        return;
    }
    let mut fact = operation::fact(service, name);
    let stem = operation::stem(service);
    while types_of(&plan.events).any(|known| *known == fact) {
        fact = format!("{stem}.{fact}");
    }
    types.insert((service, name), fact.clone());
    plan.events.push(PlannedEvent {
        r#type: fact,
        stated_by: service.to_owned(),
        instead_of: name.to_owned(),
        heard_by: Vec::new(),
    });
}

/// A plugin's name made of a service's: a-z, 0-9 and -, a letter first.
fn plugin_name(service: &str) -> String {
    let name = operation::words(service).join("-");
    let name: String = name.chars().take(50).collect();
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name
    } else {
        format!("service-{name}")
    }
}
