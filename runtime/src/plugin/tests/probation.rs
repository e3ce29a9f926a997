//! What a plugin's settings say of how its new versions are watched.

use crate::log::record::Terms;
use crate::plugin::settings::Settings;

#[test]
fn a_new_version_is_watched_over_100_attempts_or_60_seconds_and_five_times_as_slow_is_too_slow() {
    let terms = |text: &str| {
        let settings = Settings::parse(text).unwrap();
        settings.probation.terms(settings.canary, settings.canary_state)
    };
    let default = Terms {
        events: 100,
        seconds: 60,
        slower: 5,
        share: 0,
        own: false,
    };
    assert_eq!(terms(""), Some(default));
    assert_eq!(terms("[probation]\nevents = 0"), None, "it is trusted at once");
    let canary = "canary = \"5%\"\n[probation]\nevents = 0\nslower = 0";
    let unwatched = Terms {
        events: 0,
        seconds: 60,
        slower: 0,
        share: 500,
        own: false,
    };
    assert_eq!(
        terms(canary),
        Some(unwatched),
        "it runs for its share all the same"
    );
}
