//! The requests in a trace: where work begins, whom it waits for, and through whom.
//!
//! A request begins with a span that nobody waits for: one without a parent, or one that handles a message. Who calls from
//! outside, with a span of its own, is not part of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Span};

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// The service that it begins at.
    pub(super) service: String,
    /// What it is called there.
    pub(super) name: String,
    /// How long it took, in microseconds.
    pub(super) took: u64,
    /// Whether it failed.
    pub(super) failed: bool,
    /// The deepest chain of services that wait for each other, with the operation of each; its own first.
    pub(super) chain: Vec<String>,
    /// Services that it waits for, beside its own.
    pub(super) waits_for: BTreeSet<String>,
    /// Calls from service to service.
    pub(super) calls: Vec<Call>,
}

/// A call that somebody waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// Which handling it was made in: a number in the request, 0 for its first service.
    pub(super) handling: usize,
    /// The number of the handling that it makes.
    pub(super) makes: usize,
    /// Who calls.
    pub(super) from: String,
    /// In which operation.
    pub(super) within: String,
    /// Who is called.
    pub(super) to: String,
    /// For what.
    pub(super) name: String,
}

/// What is in a trace.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) requests: Vec<Request>,
    pub(super) without_parent: usize,
    pub(super) skewed: usize,
}

/// Spans that wait for each other at most; what is deeper is cut, and a circle of parents ends there.
const DEEPEST: usize = 1000;

struct Tree<'a> {
    spans: &'a [Span],
    children: Vec<Vec<usize>>,
}

/// The requests in a trace of these `spans`.
pub(super) fn of(spans: &[Span]) -> Found {
    let by_id: BTreeMap<&str, usize> = spans.iter().enumerate().map(|(n, span)| (&*span.id, n)).collect();
    let mut found = Found::default();
    let (mut children, mut begin) = (vec![Vec::new(); spans.len()], Vec::new());
    for (n, span) in spans.iter().enumerate() {
        let parent = span
            .parent
            .as_deref()
            .map(|parent| by_id.get(parent).copied().filter(|parent| *parent != n));
        match parent {
            None => begin.push(n),
            Some(None) => {
                found.without_parent += 1;
                begin.push(n);
            }
            Some(Some(parent)) => {
                found.skewed +=
                    usize::from(spans[parent].start > span.start && spans[parent].service != span.service);
                if is_waited_for(&spans[parent], span) {
                    children[parent].push(n);
                } else {
                    begin.push(n);
                }
            }
        }
    }
    for all in &mut children {
        all.sort_by_key(|n| spans[*n].start);
    }
    let tree = Tree { spans, children };
    for first in begin {
        // A caller that nobody called stands outside.
        let called = tree.called_by(first);
        if spans[first].kind == Kind::Client && !called.is_empty() {
            found.requests.extend(called.into_iter().map(|n| tree.request(n)));
        } else {
            found.requests.push(tree.request(first));
        }
    }
    found
}

/// Whether the parent waits for the span: not where a message lies between.
fn is_waited_for(parent: &Span, span: &Span) -> bool {
    !span.follows && span.kind != Kind::Consumer && parent.kind != Kind::Producer
}

/// One step down the tree.
struct Step {
    span: usize,
    handling: usize,
    depth: usize,
}

impl Tree<'_> {
    /// The spans of other services directly below `n`.
    fn called_by(&self, n: usize) -> Vec<usize> {
        let other = |child: &usize| self.spans[*child].service != self.spans[n].service;
        self.children[n].iter().copied().filter(other).collect()
    }

    fn request(&self, first: usize) -> Request {
        let span = &self.spans[first];
        let mut request = Request {
            service: span.service.clone(),
            name: span.name.clone(),
            took: span.took,
            failed: span.failed,
            ..Request::default()
        };
        // Each handling: who, what, and in which one it was called.
        let mut handlings: Vec<(String, String, Option<usize>)> =
            vec![(span.service.clone(), span.name.clone(), None)];
        let mut todo = vec![Step {
            span: first,
            handling: 0,
            depth: 0,
        }];
        while let Some(Step {
            span: n,
            handling,
            depth,
        }) = todo.pop()
        {
            let span = &self.spans[n];
            let mut called = self.called_by(n).len();
            let mut steps = Vec::new();
            for &child in self.children[n].iter().filter(|_| depth < DEEPEST) {
                let next = &self.spans[child];
                let handling = if next.service == span.service {
                    handling
                } else {
                    handlings.push((next.service.clone(), next.name.clone(), Some(handling)));
                    handlings.len() - 1
                };
                steps.push(Step {
                    span: child,
                    handling,
                    depth: depth + 1,
                });
            }
            todo.extend(steps.into_iter().rev());
            // Who is called leaves no spans of its own: the caller knows the name.
            if let Some(peer) = span
                .peer
                .as_ref()
                .filter(|peer| span.kind == Kind::Client && called == 0 && **peer != span.service)
            {
                handlings.push((peer.clone(), span.name.clone(), Some(handling)));
                called += 1;
            }
        }
        let mut deepest = (0, 0);
        for (n, (service, name, by)) in handlings.iter().enumerate().skip(1) {
            let mut up = *by;
            let mut depth = 1;
            while let Some(before) = up.filter(|before| *before > 0) {
                up = handlings[before].2;
                depth += 1;
            }
            deepest = deepest.max((depth, usize::MAX - n));
            let by = by.unwrap_or_default();
            if *service != request.service {
                request.waits_for.insert(service.clone());
            }
            request.calls.push(Call {
                handling: by,
                makes: n,
                from: handlings[by].0.clone(),
                within: handlings[by].1.clone(),
                to: service.clone(),
                name: name.clone(),
            });
        }
        let mut at = if deepest.0 == 0 {
            Some(0)
        } else {
            Some(usize::MAX - deepest.1)
        };
        while let Some(n) = at {
            let (service, name, by) = &handlings[n];
            request.chain.push(format!("{service}: {name}"));
            at = *by;
        }
        request.chain.reverse();
        request
    }
}
