//! Which events a plugin subscribes to.

use nerve_eventlog::Offset;
use serde::{Deserialize, Serialize};

/// Bytes that an event type or a pattern may have at most.
pub const LONGEST_TYPE: usize = 256;

/// Why a text is no event type or no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no {what}: {problem}; write tokens of a-z, A-Z, 0-9, _ and - joined by dots, such as {example}"
)]
pub struct BadType {
    text: String,
    what: &'static str,
    problem: &'static str,
    example: &'static str,
}

/// Check that `text` is an event type: tokens of `a-z A-Z 0-9 _ -` joined by dots, at most 256 bytes.
pub fn check_type(text: &str) -> Result<(), BadType> {
    let bad = |problem| {
        let text = text.chars().take(LONGEST_TYPE).collect();
        Err(BadType {
            text,
            what: "event type",
            problem,
            example: "order.placed",
        })
    };
    if text.len() > LONGEST_TYPE {
        return bad("it is longer than 256 bytes");
    }
    match text
        .as_bytes()
        .split(|byte| *byte == b'.')
        .find_map(token_problem)
    {
        Some(problem) => bad(problem),
        None => Ok(()),
    }
}

fn token_problem(token: &[u8]) -> Option<&'static str> {
    if token.is_empty() {
        return Some("a token is empty");
    }
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if token.iter().all(is_allowed) {
        return None;
    }
    let text = String::from_utf8_lossy(token);
    Some(if text.contains(char::is_whitespace) {
        "it has a space"
    } else {
        "a token has another character"
    })
}

/// A pattern of event types: exact tokens, `*` for any one token, and at the end `>` for one or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(Box<str>);

impl std::str::FromStr for Pattern {
    type Err = BadType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |problem| {
            let text = text.chars().take(LONGEST_TYPE).collect();
            Err(BadType {
                text,
                what: "pattern",
                problem,
                example: "order.* or order.>",
            })
        };
        if text.len() > LONGEST_TYPE {
            return bad("it is longer than 256 bytes");
        }
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "*" => {}
                ">" if tokens.peek().is_none() => {}
                ">" => return bad("`>` stands for the rest and can only come last"),
                token => {
                    if let Some(problem) = token_problem(token.as_bytes()) {
                        return bad(problem);
                    }
                }
            }
        }
        Ok(Self(text.into()))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// The one type that it names, where it has no wildcard.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains(['*', '>'])).then_some(&*self.0)
    }

    /// Whether an event of type `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut have = name.split('.');
        for token in self.0.split('.') {
            match (token, have.next()) {
                (">", Some(_)) => return true,
                (token, Some(other)) if token == "*" || token == other => {}
                _ => return false,
            }
        }
        have.next().is_none()
    }
}

/// What a plugin subscribes to: patterns, each with the first offset it holds for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn patterns_match_by_tokens() {
        for (text, matching, other) in [
            ("a.b", &["a.b"][..], &["a", "a.b.c", "a.c"][..]),
            ("a.*", &["a.b", "a.c"], &["a", "a.b.c", "b.a"]),
            ("*.b", &["a.b"], &["b", "a.b.b"]),
            ("a.>", &["a.b", "a.b.c"], &["a", "b.a"]),
            (">", &["a", "a.b"], &[]),
        ] {
            for name in matching {
                assert!(pattern(text).matches(name), "{text} matches {name}");
            }
            for name in other {
                assert!(!pattern(text).matches(name), "{text} does not match {name}");
            }
        }
    }

    #[test]
    fn what_is_no_type_or_pattern_is_refused_with_what_to_write() {
        for text in [
            "",
            ".",
            "a..b",
            "order placed",
            "a.b.",
            "a.*",
            "a.>",
            "\u{e9}",
            &"x".repeat(257),
        ] {
            let refused = check_type(text).unwrap_err().to_string();
            assert!(refused.contains("such as order.placed"), "{refused}");
        }
        for text in ["", "a..b", ">.a", "a b", "a*", "**"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
        check_type("Order-1.placed_2").unwrap();
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
