//! Event types with a newer one beside them, by their names: `order.placed.v2` takes the place of `order.placed`.

use std::collections::BTreeMap;

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

use super::{TypeNode, when};

/// A type with a newer one beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Older {
    /// The type.
    pub r#type: String,
    /// The newest of its name.
    pub newest: String,
    /// Who still emits it; `None` for publishers outside.
    pub emitted_by: Vec<Option<String>>,
    /// Who consumes it by name and none that is newer: they need it.
    pub needed_by: Vec<String>,
    /// Who consumes it by name beside a newer one, as one does who has an upcast.
    pub upcast_by: Vec<String>,
    /// The last event.
    #[serde(with = "when::optional")]
    pub last: Option<Micros>,
}

/// The name without its version, and the version: 1 where none is written.
fn version(name: &str) -> (&str, u32) {
    let versioned = name.rsplit_once(".v").and_then(|(stem, number)| {
        let is_number = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        Some((stem, number.parse().ok().filter(|_| is_number)?))
    });
    versioned.unwrap_or((name, 1))
}

/// The older ones of `types`.
pub(super) fn find(types: &[TypeNode]) -> Vec<Older> {
    let mut families: BTreeMap<&str, Vec<(u32, &TypeNode)>> = BTreeMap::new();
    for one in types {
        let (stem, number) = version(&one.name);
        families.entry(stem).or_default().push((number, one));
    }
    let mut older = Vec::new();
    for family in families.values_mut().filter(|family| family.len() > 1) {
        family.sort_by_key(|(number, _)| *number);
        let newest = family
            .last()
            .map(|(_, newest)| newest.name.clone())
            .unwrap_or_default();
        for (place, (_, old)) in family.iter().enumerate().take(family.len() - 1) {
            let consumes = |one: &TypeNode, plugin: &str| {
                let mut consumers = one.consumed_by.iter();
                consumers.any(|other| other.plugin == plugin && other.pattern.as_ref() == Some(&one.name))
            };
            let by_name = old.consumed_by.iter().filter(|by| consumes(old, &by.plugin));
            let (upcast_by, needed_by): (Vec<_>, Vec<_>) =
                by_name.map(|by| by.plugin.clone()).partition(|plugin| {
                    family[place + 1..]
                        .iter()
                        .any(|(_, newer)| consumes(newer, plugin))
                });
            older.push(Older {
                r#type: old.name.clone(),
                newest: newest.clone(),
                emitted_by: old
                    .emitted_by
                    .iter()
                    .filter(|by| by.declared)
                    .map(|by| by.plugin.clone())
                    .collect(),
                needed_by,
                upcast_by,
                last: old.last,
            });
        }
    }
    older
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_version_is_a_number_at_the_end_of_a_name() {
        for (name, is) in [
            ("order.placed", ("order.placed", 1)),
            ("order.placed.v2", ("order.placed", 2)),
            ("order.placed.v12", ("order.placed", 12)),
            ("order.placed.v02", ("order.placed.v02", 1)),
            ("order.placed.vat", ("order.placed.vat", 1)),
            ("order.placed.v", ("order.placed.v", 1)),
            ("v2", ("v2", 1)),
        ] {
            assert_eq!(super::version(name), is);
        }
    }
}
