//! How new versions of a plugin are watched, for which share of the keys they run first, and on whose state.

use serde::Deserialize;

use super::BadSettings;
use crate::log::record::Terms;

/// How a version is watched that takes another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// Attempts over which it is watched. Default 100; 0 trusts it at once.
    pub events: u32,
    /// How long it is watched at most, from its first event on, in seconds. Default 60.
    pub seconds: u32,
    /// How many times the mean time of the version before it may take; beyond it is much slower. Default 5; 0 compares
    /// no times.
    pub slower: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            events: 100,
            seconds: 60,
            slower: 5,
        }
    }
}

impl Watch {
    /// What the deployment's record says of it, and of a canary's `share`.
    pub fn terms(self, share: Share, state: CanaryState) -> Option<Terms> {
        let Self {
            events,
            seconds,
            slower,
        } = self;
        let Share(share) = share;
        (events > 0 || share > 0).then_some(Terms {
            events,
            seconds,
            slower,
            share,
            own: state == CanaryState::Own,
        })
    }
}

/// Whose state a canary reads and writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CanaryState {
    /// The plugin's, as the version before does.
    #[default]
    Shared,
    /// A copy, until it is promoted or rolled back.
    Own,
}

/// A share of the keys, of 10,000; 0 is all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Share(pub(super) u32);

impl TryFrom<String> for Share {
    type Error = BadSettings;

    fn try_from(text: String) -> Result<Self, BadSettings> {
        let percent = text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 1 to 9,999"
            )]
            Some(percent) if (0.01..100.0).contains(&percent) => {
                Ok(Self((percent * 100.0).round().min(9_999.0) as u32))
            }
            _ => Err(BadSettings(format!(
                "canary is {text:?}: write a share such as \"5%\", from 0.01% to less than 100%"
            ))),
        }
    }
}
