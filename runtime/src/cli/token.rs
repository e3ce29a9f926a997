//! `nerve token`: who may use a host. The tokens are in its data folder, so that this works with the host running or not, and
//! only where one may write there.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use nerve_eventlog::{Clock, Micros, SystemClock};
use serde_json::{Value, json};

use super::Done;
use super::output::{Printer, table};
use crate::access::{self, Grant, Scope};

/// Make, list and revoke the tokens with which a host may be used
#[derive(Args)]
pub(super) struct Token {
    /// Folder of the host's log and everything that belongs to it
    #[arg(long, global = true, default_value = "data", env = "NERVE_DATA")]
    data: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a token and print it, this once; a running host takes it at once
    Create {
        /// Who is to have it, as the records of what they do will say
        name: String,
        /// What it is good for: read, operate, publish, or publish:PATTERN such as publish:order.*; may be given several times
        #[arg(long, required = true)]
        scope: Vec<Scope>,
        /// How long it is good, such as 90d, 12h or 30m [default: until it is revoked]
        #[arg(long, value_parser = lifetime)]
        expires: Option<Duration>,
    },
    /// List who has a token, what for and how long
    List,
    /// Revoke a token; a running host refuses it at once, and ends what it is sending to its bearer
    Revoke {
        /// Whose
        name: String,
    },
}

impl Token {
    pub(super) fn run(self, printer: &Printer) -> Done {
        let (folder, now) = (&self.data, SystemClock.now());
        match self.verb {
            Verb::Create { name, scope, expires } => {
                let until = expires
                    .map(|time| Micros(now.0 + u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 1)));
                let scopes: Vec<String> = scope.iter().map(Scope::to_string).collect();
                let made = access::create(folder, &name, scope, now, until)?;
                let until = until.map(text);
                let value = json!({ "name": name, "token": made.text(), "scopes": scopes, "expires": until });
                printer.print(&value, || {
                    let until = until.map_or_else(|| "until it is revoked".to_owned(), |until| format!("until {until}"));
                    format!(
                        "{}\n  of {name}, good for {}, {until}; it is not shown again\nnext: put it into a file that only you \
                         can read, and name that with --token-file or NERVE_TOKEN_FILE",
                        made.text(),
                        scopes.join(", ")
                    )
                });
            }
            Verb::List => {
                let grants = access::read(folder)?;
                let tokens: Vec<Value> = grants.iter().flatten().map(|grant| shown(grant, now)).collect();
                // Where no token was ever made, nobody is asked for one.
                printer.print(
                    &json!({ "asked_for": grants.is_some(), "tokens": tokens }),
                    || listed(grants.is_some(), &tokens),
                );
            }
            Verb::Revoke { name } => {
                access::revoke(folder, &name)?;
                printer.print(&json!({ "revoked": name }), || {
                    format!("the token of {name} is good for nothing any more")
                });
            }
        }
        Ok(())
    }
}

fn shown(grant: &Grant, now: Micros) -> Value {
    json!({
        "name": grant.name,
        "scopes": grant.scopes.iter().map(Scope::to_string).collect::<Vec<_>>(),
        "created": text(grant.created),
        "expires": grant.expires.map(text),
        "expired": grant.expires.is_some_and(|expires| expires <= now),
    })
}

fn listed(asked_for: bool, tokens: &[Value]) -> String {
    if tokens.is_empty() {
        let so = if asked_for {
            "nobody is let in"
        } else {
            "on loopback nobody is asked for one"
        };
        return format!("there is no token, and {so}; `nerve token create NAME --scope SCOPE` makes one");
    }
    let mut rows = vec![
        ["NAME", "SCOPES", "CREATED", "EXPIRES"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(tokens.iter().map(|token| {
        let text = |part: &str| token[part].as_str().unwrap_or("never").to_owned();
        let scopes: Vec<&str> = token["scopes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let expired = if token["expired"] == true {
            " (expired)"
        } else {
            ""
        };
        vec![
            text("name"),
            scopes.join(" "),
            text("created"),
            text("expires") + expired,
        ]
    }));
    table(&rows)
}

/// A time to the second.
fn text(time: Micros) -> String {
    let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// A number of days, hours or minutes.
fn lifetime(text: &str) -> Result<Duration, String> {
    let seconds = [("d", 86_400), ("h", 3600), ("m", 60)]
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            Some(u64::from(number) * seconds)
        });
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number of days, hours or minutes, such as 90d, 12h or 30m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_of_days_hours_or_minutes() {
        let hours = |count: u64| Ok(Duration::from_secs(count * 3600));
        assert_eq!((lifetime("90d"), lifetime("12h")), (hours(90 * 24), hours(12)));
        assert_eq!(lifetime("30m"), Ok(Duration::from_mins(30)));
        for bad in ["", "d", "0d", "-1d", "1.5h", "90", "9w", "99999999999d"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
