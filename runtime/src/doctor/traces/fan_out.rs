//! Operations that call many others for one request, and those that call the same one again and again.

use std::collections::BTreeMap;

use super::requests::Request;
use super::{FAN_OUT, SHOWN};
use crate::doctor::report::{Evidence, Finding};

#[derive(Default)]
struct Made<'a> {
    handlings: usize,
    calls: usize,
    most: usize,
    /// Calls by whom and for what.
    to: BTreeMap<(&'a str, &'a str), usize>,
}

pub(super) fn find(requests: &[Request]) -> Option<Finding> {
    let mut made: BTreeMap<(&str, &str), Made<'_>> = BTreeMap::new();
    for request in requests {
        let mut here: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for call in &request.calls {
            here.entry(call.handling).or_default().push(call);
        }
        for calls in here.values() {
            let of = made.entry((&calls[0].from, &calls[0].within)).or_default();
            of.handlings += 1;
            of.calls += calls.len();
            of.most = of.most.max(calls.len());
            for call in calls {
                *of.to.entry((&call.to, &call.name)).or_default() += 1;
            }
        }
    }
    let mut wide: Vec<_> = made
        .into_iter()
        .filter(|(_, made)| made.calls >= FAN_OUT * made.handlings)
        .collect();
    wide.sort_by_key(|(_, made)| std::cmp::Reverse(made.calls / made.handlings));
    let ((service, name), widest) = wide.first()?;
    let says = format!(
        "One request of {name} of {service} makes {} calls to other services on average, and {} at most.",
        widest.calls / widest.handlings,
        widest.most
    );
    let shown = wide.iter().take(SHOWN).map(|((service, name), made)| {
        let often = made.to.iter().max_by_key(|(_, count)| **count);
        let (to, count) = often.map_or(("", 0), |((to, _), count)| (*to, *count));
        let what = often.map_or("", |((_, what), _)| *what);
        Evidence::of(format!(
            "{service}: {name} makes {} calls a request; most often {what} of {to}, {} times each",
            made.calls / made.handlings,
            count / made.handlings
        ))
    });
    Some(Finding {
        symptom: "fan-out".into(),
        title: "Many calls for one request".into(),
        says,
        evidence: shown.collect(),
        remedy: "Each call is one more that may be slow or away. What is asked for one by one, keep as a copy that is fed by events; what is told to \
                 many, state once as an event that all of them get."
            .into(),
        plugins: wide.iter().map(|((service, _), _)| (*service).to_owned()).collect(),
        types: wide.iter().map(|((_, name), _)| (*name).to_owned()).collect(),
    })
}
