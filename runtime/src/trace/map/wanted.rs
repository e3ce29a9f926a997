//! Which part of the map is asked for.

use crate::delivery::subscription::Pattern;

/// Part of the map.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Types that match.
    pub types: Option<Pattern>,
    /// What this plugin emits or consumes.
    pub plugin: Option<String>,
}

impl Wanted {
    /// Whether a type is wanted that this plugin `touches`.
    pub(super) fn wants(&self, name: &str, touches: impl FnOnce(&str) -> bool) -> bool {
        self.types.as_ref().is_none_or(|pattern| pattern.matches(name))
            && self.plugin.as_deref().is_none_or(touches)
    }

    /// Whether all is wanted.
    pub(super) fn is_all(&self) -> bool {
        self.types.is_none() && self.plugin.is_none()
    }
}
