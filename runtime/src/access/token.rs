//! A token: 256 random bits as text, of which only a hash is kept.

use std::fmt;
use std::str::FromStr;

/// What every token begins with, so that scanners for secrets find it: `nrv_` and 64 hexadecimal digits.
pub const PREFIX: &str = "nrv_";

/// A token as its bearer has it. It is shown once, when it is made.
pub struct Token(String);

/// What is kept of a token: its BLAKE3 hash, which compares in constant time.
///
/// A slow hash, as passwords need one, would guard against guessing what somebody chose. Nobody guesses 256 random bits,
/// so a fast one is enough, and costs each request a fraction of a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(blake3::Hash);

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!(
            "{PREFIX}{}",
            blake3::Hash::from_bytes(bits).to_hex()
        )))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The hash of a token's text.
    pub fn hash(text: &str) -> TokenHash {
        TokenHash(blake3::hash(text.as_bytes()))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for TokenHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(Self)
    }
}
