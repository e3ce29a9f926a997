//! The page about settings, held against the settings.

use crate::plugin::settings::Settings;
use crate::plugin::webhook;

const PAGE: &str = include_str!("../../../../docs/operating.md");

/// The keys that `[table]` may have, as the refusal of another one lists them.
fn keys(table: &str) -> Vec<String> {
    let refused = Settings::parse(&format!("{table}\nno_such_key = 1"))
        .unwrap_err()
        .to_string();
    listed(&refused)
}

/// The keys that the refusal of an unknown one lists.
fn listed(refused: &str) -> Vec<String> {
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

#[test]
fn every_setting_of_a_webhook_is_on_its_page() {
    const PAGE: &str = include_str!("../../../../docs/webhooks.md");
    let mut all = 0;
    for table in ["", "webhook", "http", "limits"] {
        let text = match table {
            "" => "no_such_key = 1\n[webhook]".to_owned(),
            table => format!("[{table}]\nno_such_key = 1"),
        };
        for key in listed(&webhook::settings(&text).unwrap_err().to_string()) {
            let dot = if table.is_empty() { "" } else { "." };
            let named = [
                format!("`{table}{dot}{key}`"),
                format!("`[{key}]`"),
                format!("`{key}."),
            ];
            assert!(
                named.iter().any(|named| PAGE.contains(named)),
                "{table} {key} is not in docs/webhooks.md"
            );
            all += 1;
        }
    }
    assert!(all > 15, "{all} settings were found");
}
