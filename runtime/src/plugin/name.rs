//! Names of plugins.

use std::fmt;

/// A plugin's name: `a-z 0-9 -`, at most 64 bytes, a letter first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(Box<str>);

/// Why a text is no plugin's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no plugin's name: write a-z, 0-9 and -, at most 64 of them, a letter first, such as order-mails"
)]
pub struct BadName(String);

impl PluginName {
    /// The name in `text`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let letter_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let allowed = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if letter_first && allowed && text.len() <= 64 {
            return Ok(Self(text.into()));
        }
        Err(BadName(text.chars().take(80).collect()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
