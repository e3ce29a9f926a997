//! Which events a plugin subscribes to.

use nerve_eventlog::Offset;

/// A pattern of event types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether an event of type `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut have = name.split('.');
        for token in self.0.split('.') {
            match (token, have.next()) {
                (">", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (token, Some(other)) if token == other => {}
                _ => return false,
            }
        }
        have.next().is_none()
    }
}

/// What a plugin subscribes to: patterns, each with the first offset it holds for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    patterns: Vec<(Pattern, Offset)>,
}

impl Subscription {
    /// A subscription to `patterns`, each from an offset on.
    pub fn new(patterns: Vec<(Pattern, Offset)>) -> Self {
        Self { patterns }
    }

    /// Whether events of type `name` match at any offset.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|(pattern, _)| pattern.matches(name))
    }

    /// Whether the event of type `name` at `offset` is to be delivered.
    pub fn wants(&self, name: &str, offset: Offset) -> bool {
        self.patterns
            .iter()
            .any(|(pattern, from)| *from <= offset && pattern.matches(name))
    }

    /// From this offset on, [`Self::matches`] and [`Self::wants`] say the same.
    pub fn whole_from(&self) -> Offset {
        self.patterns
            .iter()
            .map(|(_, from)| *from)
            .max()
            .unwrap_or_default()
    }

    /// The patterns, each with the first offset it holds for.
    pub fn patterns(&self) -> &[(Pattern, Offset)] {
        &self.patterns
    }

    /// The subscription to `patterns` that follows this one: a pattern that was there goes on, a new one
    /// begins at `from`.
    #[must_use]
    pub fn changed_to(&self, patterns: Vec<Pattern>, from: Offset) -> Self {
        let start = |pattern: &Pattern| {
            self.patterns
                .iter()
                .find(|(old, _)| old == pattern)
                .map_or(from, |(_, start)| *start)
        };
        Self::new(
            patterns
                .into_iter()
                .map(|pattern| (pattern.clone(), start(&pattern)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod subscription_tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_pattern_that_a_new_version_adds_begins_at_the_swap() {
        let first = Subscription::default().changed_to(vec![pattern("a.*")], Offset(5));
        let second = first.changed_to(vec![pattern("a.*"), pattern("b")], Offset(9));
        assert!(second.wants("a.x", Offset(5)) && !second.wants("a.x", Offset(4)));
        assert!(second.wants("b", Offset(9)) && !second.wants("b", Offset(8)) && second.matches("b"));
        assert_eq!(second.whole_from(), Offset(9));
    }
}
