//! In what two results of one delivery differ.
//!
//! Events are compared with those of the same type, in their order; state by key, timers by name. A difference has a kind and a
//! subject, the value on either side, and the places inside the values that changed, so that equal differences of many
//! events can be counted as one.

use std::collections::BTreeMap;

use compact_str::CompactString;
use nerve_eventlog::Micros;
use serde::Serialize;
use serde_json::{Value, json};

use super::Came;
use crate::delivery::handler::{Effects, Emit, SetTimer};

/// Places inside a value that are named at most; what changes more is another value.
const MOST_CHANGES: usize = 12;

/// Shows data of a content type, which is JSON where there is none.
pub type Show = fn(Option<&str>, &[u8]) -> Value;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Whether and how the delivery fails; the subject is the class, the values have the reasons.
    Fails,
    /// A call of somebody outside that has no recorded answer; the subject is what is called.
    Calls,
    /// Whether the event is delivered at all; the subject is its type.
    Subscribes,
    /// An emitted event; the subject is its type.
    Emits,
    /// A key of the state; the subject is the key up to its first `/`.
    Writes,
    /// A timer; the subject is its name up to the first `/`.
    Sets,
}

/// One difference. A side that has no value does not do it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What differs.
    pub what: What,
    /// Of what.
    pub subject: String,
    /// The whole key or name, where the subject is a part of it.
    pub name: Option<String>,
    /// What the running version does.
    pub old: Option<Value>,
    /// What the new version does.
    pub new: Option<Value>,
    /// What changed inside, where both do it.
    pub changes: Vec<Change>,
}

/// A place inside a value that is another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The way to it, such as `items[].cents`; empty for the whole value.
    pub path: String,
    /// What was there; `None` where nothing was.
    pub old: Option<Value>,
    /// What is there; `None` where nothing is.
    pub new: Option<Value>,
}

/// In what `new` differs from `old`, for a delivery of an event of type `event` that began at `started`.
pub fn differences(old: &Came, new: &Came, event: &str, started: Micros, show: Show) -> Vec<Difference> {
    if old == new {
        return Vec::new();
    }
    match (old, new) {
        (Came::Done(old), Came::Done(new)) => {
            let mut out = Vec::new();
            emits(old, new, show, &mut out);
            writes(old, new, show, &mut out);
            timers(old, new, started, show, &mut out);
            out
        }
        (Came::Unanswered(asked), other) | (other, Came::Unanswered(asked)) => {
            let call = || Some(Value::from(format!("{} {}", asked.method, asked.target)));
            // What it would have come to is not known: of the other side's result nothing can be said.
            let is_old = matches!(old, Came::Unanswered(_));
            let is_both = is_old && matches!(other, Came::Unanswered(_));
            vec![Difference {
                what: What::Calls,
                subject: format!("{} {}", asked.method, asked.target),
                name: None,
                old: call().filter(|_| is_old),
                new: call().filter(|_| !is_old || is_both),
                changes: Vec::new(),
            }]
        }
        (Came::NotSubscribed, _) | (_, Came::NotSubscribed) => {
            let says = |came: &Came| (*came != Came::NotSubscribed).then(|| in_short(came));
            vec![Difference {
                what: What::Subscribes,
                subject: event.to_owned(),
                name: None,
                old: says(old),
                new: says(new),
                changes: Vec::new(),
            }]
        }
        (old, new) => vec![fails(old, new)],
    }
}

/// What it came to in a few words.
fn in_short(came: &Came) -> Value {
    match came {
        Came::Failed { class, reason } => json!({ "class": class, "reason": reason }),
        Came::Done(effects) => json!({
            "emits": effects.emits.len(), "writes": effects.writes.len(), "timers": effects.timers.len(),
        }),
        Came::Unanswered(_) | Came::NotSubscribed => Value::Null,
    }
}

fn fails(old: &Came, new: &Came) -> Difference {
    let failure = |came: &Came| matches!(came, Came::Failed { .. }).then(|| in_short(came));
    let class = |came: &Came| in_short(came)["class"].as_str().map(str::to_owned);
    Difference {
        what: What::Fails,
        subject: class(new).or_else(|| class(old)).unwrap_or_default(),
        name: None,
        old: failure(old),
        new: failure(new),
        changes: Vec::new(),
    }
}

fn emits(old: &Effects, new: &Effects, show: Show, out: &mut Vec<Difference>) {
    let before = out.len();
    let mut by_type: BTreeMap<&str, [Vec<&Emit>; 2]> = BTreeMap::new();
    for (side, effects) in [old, new].into_iter().enumerate() {
        for emit in &effects.emits {
            by_type.entry(&emit.r#type).or_default()[side].push(emit);
        }
    }
    for (kind, [old, new]) in by_type {
        for n in 0..old.len().max(new.len()) {
            let (a, b) = (old.get(n).copied(), new.get(n).copied());
            if a != b {
                out.push(emit_differs(kind, a, b, show));
            }
        }
    }
    if out.len() == before && old.emits != new.emits {
        let order = |emits: &[Emit]| emits.iter().map(|emit| Value::from(&*emit.r#type)).collect();
        out.push(Difference {
            what: What::Emits,
            subject: "in another order".into(),
            name: None,
            old: Some(order(&old.emits)),
            new: Some(order(&new.emits)),
            changes: Vec::new(),
        });
    }
}

fn emit_differs(kind: &str, old: Option<&Emit>, new: Option<&Emit>, show: Show) -> Difference {
    let data = |emit: Option<&Emit>| Some(show(emit?.content_type.as_deref(), &emit?.data));
    let mut difference = Difference {
        what: What::Emits,
        subject: kind.to_owned(),
        name: None,
        old: data(old),
        new: data(new),
        changes: Vec::new(),
    };
    if let (Some(old), Some(new)) = (old, new) {
        for (what, a, b) in [
            ("(key)", &old.key, &new.key),
            ("(subject)", &old.subject, &new.subject),
            ("(content type)", &old.content_type, &new.content_type),
        ] {
            let value = |text: &Option<CompactString>| text.as_deref().map(Value::from);
            if a != b {
                difference.changes.push(Change {
                    path: what.into(),
                    old: value(a),
                    new: value(b),
                });
            }
        }
        difference.compare();
    }
    difference
}

fn writes(old: &Effects, new: &Effects, show: Show, out: &mut Vec<Difference>) {
    let shown = |value: &Option<bytes::Bytes>| value.as_ref().map_or(Value::Null, |value| show(None, value));
    beside(&old.writes, &new.writes, |key, a, b| {
        out.push(Difference::named(What::Writes, key, a.map(shown), b.map(shown)));
    });
}

fn timers(old: &Effects, new: &Effects, started: Micros, show: Show, out: &mut Vec<Difference>) {
    let shown = |set: &Option<SetTimer>| {
        set.as_ref().map_or(Value::Null, |set| {
            json!({
                "after_ms": set.due.0.saturating_sub(started.0) / 1000, "type": set.emit.r#type, "key": set.emit.key,
                "data": show(set.emit.content_type.as_deref(), &set.emit.data),
            })
        })
    };
    beside(&old.timers, &new.timers, |name, a, b| {
        out.push(Difference::named(What::Sets, name, a.map(shown), b.map(shown)));
    });
}

/// Call `differs` with every name whose value is not the same in both lists, which ascend.
fn beside<T: PartialEq>(
    old: &[(Box<str>, T)],
    new: &[(Box<str>, T)],
    mut differs: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let (a, b) = (old.peek(), new.peek());
        let name = match (a, b) {
            (None, None) => return,
            (Some((a, _)), Some((b, _))) => a.min(b),
            (Some((name, _)), None) | (None, Some((name, _))) => name,
        };
        let name = name.clone();
        let a = old.next_if(|(own, _)| *own == name).map(|(_, value)| value);
        let b = new.next_if(|(own, _)| *own == name).map(|(_, value)| value);
        if a != b {
            differs(&name, a, b);
        }
    }
}

impl Difference {
    /// Of something whose name begins with what it has in common with others.
    fn named(what: What, name: &str, old: Option<Value>, new: Option<Value>) -> Self {
        let family = name.split_once('/').map(|(family, _)| format!("{family}/…"));
        let mut difference = Self {
            what,
            subject: family.clone().unwrap_or_else(|| name.to_owned()),
            name: family.map(|_| name.to_owned()),
            old,
            new,
            changes: Vec::new(),
        };
        difference.compare();
        difference
    }

    fn compare(&mut self) {
        if let (Some(old), Some(new)) = (&self.old, &self.new) {
            let mut changes = Vec::new();
            changed("", Some(old), Some(new), &mut changes);
            if changes.len() > MOST_CHANGES {
                changes = vec![Change {
                    path: String::new(),
                    old: Some(old.clone()),
                    new: Some(new.clone()),
                }];
            }
            self.changes.extend(changes);
        }
    }

    /// What makes differences of many events the same one.
    pub fn kind(&self) -> (What, String, [bool; 2], String) {
        let detail = match self.what {
            What::Fails => [&self.old, &self.new]
                .map(|side| {
                    side.as_ref()
                        .map_or_else(String::new, |side| without_numbers(&side["reason"]))
                })
                .join("\n"),
            _ => self
                .changes
                .iter()
                .map(|change| &*change.path)
                .collect::<Vec<_>>()
                .join("\n"),
        };
        let sides = [self.old.is_some(), self.new.is_some()];
        (self.what, self.subject.clone(), sides, detail)
    }
}

/// A reason with its numbers left out: the same failure of many events speaks of each.
fn without_numbers(reason: &Value) -> String {
    let reason = reason.as_str().unwrap_or_default();
    let mut out = String::with_capacity(reason.len());
    for c in reason.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

/// Where `old` and `new` differ, below `path`.
fn changed(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Change>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                changed(&path, old.get(key), new.get(key), out);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (old, new) in old.iter().zip(new) {
                let before = out.len();
                changed(&format!("{path}[]"), Some(old), Some(new), out);
                // One element is example enough.
                if out.len() > before {
                    return;
                }
            }
        }
        (old, new) => out.push(Change {
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(_: Option<&str>, bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn emits(emits: &[(&str, &str, &Value)]) -> Came {
        let emits = emits.iter().map(|(kind, key, data)| Emit {
            r#type: (*kind).into(),
            key: Some((*key).into()),
            subject: None,
            content_type: None,
            data: data.to_string().into_bytes(),
        });
        Came::Done(Effects {
            emits: emits.collect(),
            ..Effects::default()
        })
    }

    /// Kind, subject and paths of each difference.
    fn found(old: &Came, new: &Came) -> Vec<(What, String, [bool; 2], String)> {
        let found = differences(old, new, "a.b", Micros(1000), shown);
        found.iter().map(Difference::kind).collect()
    }

    #[test]
    fn events_are_compared_with_those_of_their_type_in_their_order() {
        let (one, two) = (json!({ "n": 1 }), json!({ "n": 2 }));
        let old = emits(&[("a", "k", &one), ("b", "k", &one)]);
        let both = [true, true];
        assert_eq!(found(&old, &old), []);
        assert_eq!(
            found(&old, &emits(&[("a", "k", &one), ("b", "k", &two)])),
            [(What::Emits, "b".into(), both, "n".into())]
        );
        assert_eq!(
            found(&old, &emits(&[("a", "k", &one), ("a", "k", &one)])),
            [
                (What::Emits, "a".into(), [false, true], String::new()),
                (What::Emits, "b".into(), [true, false], String::new())
            ]
        );
        assert_eq!(
            found(&old, &emits(&[("b", "k", &one), ("a", "k", &one)])),
            [(What::Emits, "in another order".into(), both, String::new())]
        );
        assert_eq!(
            found(&old, &emits(&[("a", "other", &one), ("b", "k", &one)])),
            [(What::Emits, "a".into(), both, "(key)".into())]
        );
    }

    #[test]
    fn what_changed_inside_is_named_by_its_way() {
        let paths = |old: &Value, new: &Value| {
            let mut changes = Vec::new();
            changed("", Some(old), Some(new), &mut changes);
            let paths = changes.iter().map(|change| &*change.path);
            paths.collect::<Vec<_>>().join(" ")
        };
        for (old, new, path) in [
            (json!({ "a": 1, "b": 2 }), json!({ "a": 1, "b": 2 }), ""),
            (json!({ "a": 1, "b": 2 }), json!({ "a": 3, "c": 2 }), "a b c"),
            (
                json!({ "a": { "b": [1, 2] } }),
                json!({ "a": { "b": [1, 3] } }),
                "a.b[]",
            ),
            (json!({ "a": [1, 2] }), json!({ "a": [1] }), "a"),
            (
                json!([{ "x": 1 }, { "x": 2 }]),
                json!([{ "x": 9 }, { "x": 9 }]),
                "[].x",
            ),
            (json!(null), json!({ "a": 1 }), ""),
        ] {
            assert_eq!(paths(&old, &new), path, "{old} {new}");
        }
    }

    #[test]
    fn timers_and_state_are_compared_by_name_and_told_by_family() {
        let timer = |due, kind: &str| SetTimer {
            due: Micros(due),
            emit: Emit {
                r#type: kind.into(),
                key: None,
                subject: None,
                content_type: None,
                data: b"1".to_vec(),
            },
        };
        let came = |timers: Vec<(&str, Option<SetTimer>)>, writes: &[(&str, Option<&'static str>)]| {
            let writes = writes.iter();
            let bytes =
                |value: Option<&'static str>| value.map(|value| bytes::Bytes::from_static(value.as_bytes()));
            Came::Done(Effects {
                emits: Vec::new(),
                writes: writes
                    .map(|(key, value)| ((*key).into(), bytes(*value)))
                    .collect(),
                timers: timers.into_iter().map(|(name, set)| (name.into(), set)).collect(),
            })
        };
        let old = came(
            vec![("pay/1", Some(timer(6000, "late"))), ("pay/2", None)],
            &[("a", Some("1")), ("b", Some("1")), ("c/1", None)],
        );
        let new = came(
            vec![("pay/1", Some(timer(9000, "late"))), ("ping", None)],
            &[("b", Some("2")), ("c/1", Some("3"))],
        );
        let both = [true, true];
        assert_eq!(
            found(&old, &new),
            [
                (What::Writes, "a".into(), [true, false], String::new()),
                (What::Writes, "b".into(), both, String::new()),
                (What::Writes, "c/…".into(), both, String::new()),
                (What::Sets, "pay/…".into(), both, "after_ms".into()),
                (What::Sets, "pay/…".into(), [true, false], String::new()),
                (What::Sets, "ping".into(), [false, true], String::new()),
            ]
        );
    }
}
