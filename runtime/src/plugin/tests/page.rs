//! The page about settings, held against the settings.

use crate::plugin::settings::Settings;

const PAGE: &str = include_str!("../../../../docs/operating.md");

/// The keys that `[table]` may have, as the refusal of another one lists them.
fn keys(table: &str) -> Vec<String> {
    let refused = Settings::parse(&format!("{table}\nno_such_key = 1"))
        .unwrap_err()
        .to_string();
    let listed = refused.split("unknown field").nth(1).unwrap();
    let listed = listed.split('`').skip(3).step_by(2);
    listed.map(str::to_owned).collect()
}

#[test]
fn every_setting_of_a_plugin_is_on_the_page() {
    let mut all = 0;
    for table in [
        "",
        "[limits]",
        "[limits.shape]",
        "[retry]",
        "[lag]",
        "[probation]",
        "[http]",
        "[contracts]",
    ] {
        for key in keys(table) {
            let named = ["`{}`", ".{}`", ".{}.", "`{}.", "`[{}]`"].map(|form| form.replace("{}", &key));
            assert!(
                named.iter().any(|named| PAGE.contains(named)),
                "{table} {key} is not in docs/operating.md"
            );
            all += 1;
        }
    }
    assert!(all > 40, "{all} settings were found");
}
