//! `wait_for` of `POST /v1/events`: the answer waits for plugins, and says who is behind.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::Problem;
use super::time;
use crate::host::{Behind, Waited};
use crate::plugin::name::PluginName;
use crate::trace::settled::Failed;

/// How long a publisher waits where it does not say.
const USUAL: Duration = Duration::from_secs(5);

/// How long a publisher waits at most.
const LONGEST: Duration = Duration::from_mins(1);

/// Plugins that one publisher may wait for.
const MOST_PLUGINS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    wait_for: Option<String>,
    timeout_ms: Option<u64>,
}

/// Whom a publisher waits for, and how long.
pub(super) struct Wait {
    pub(super) plugins: Vec<Box<str>>,
    pub(super) longest: Duration,
    prefers: Option<u64>,
}

impl Asked {
    /// The wait that the query and `Prefer: wait=SECONDS` (RFC 7240) ask for, where they name plugins. `timeout_ms`
    /// stands before the header.
    pub(super) fn wait(self, headers: &HeaderMap) -> Result<Option<Wait>, Problem> {
        let Some(names) = self.wait_for else {
            return match self.timeout_ms {
                None => Ok(None),
                Some(_) => Err(Problem::query(
                    "`timeout_ms` is for `wait_for`, which is not there",
                )),
            };
        };
        let parse = |name: &str| PluginName::parse(name.trim()).map(|name| name.as_str().into());
        let mut plugins: Vec<Box<str>> = names
            .split(',')
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|bad| Problem::query(format!("`wait_for`: {bad}; a list has commas")))?;
        plugins.sort();
        plugins.dedup();
        if plugins.len() > MOST_PLUGINS {
            return Err(Problem::query(format!(
                "`wait_for` may name {MOST_PLUGINS} plugins"
            )));
        }
        let prefers = self.timeout_ms.is_none().then(|| preferred(headers)).flatten();
        let asked = self
            .timeout_ms
            .map(Duration::from_millis)
            .or(prefers.map(Duration::from_secs));
        Ok(Some(Wait {
            plugins,
            longest: asked.unwrap_or(USUAL).min(LONGEST),
            prefers,
        }))
    }
}

/// The seconds of `Prefer: wait=SECONDS`; what can't be read is no preference.
fn preferred(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").iter();
    let mut preferences = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    preferences.find_map(|one| {
        let (name, value) = one.split(';').next()?.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

impl Wait {
    /// `published`, the answer without waiting, with what the waiting came to: 200 only where everything is settled.
    pub(super) fn answer(&self, published: &impl Serialize, waited: &Waited) -> Response {
        let mut published = json!(published);
        published["settled"] = waited.settled.into();
        published["failed"] = waited.failed.iter().map(failed).collect();
        published["behind"] = waited.behind.iter().map(behind).collect();
        let status = if waited.settled {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        let mut response = (status, axum::Json(published)).into_response();
        if self.prefers.is_some() {
            let applied = format!("wait={}", self.longest.as_secs());
            if let Ok(applied) = HeaderValue::try_from(applied) {
                response.headers_mut().insert("preference-applied", applied);
            }
        }
        response
    }
}

fn failed(failed: &Failed) -> Value {
    json!({
        "plugin": failed.plugin, "event": failed.event.0, "class": failed.class, "reason": failed.reason,
    })
}

fn behind(behind: &Behind) -> Value {
    json!({
        "plugin": behind.plugin, "why": behind.why.word(), "detail": behind.detail, "events": behind.events,
        "event": behind.event.map(|event| event.0), "next_try": behind.next_try.map(time::text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_query_or_of_the_preference_and_never_too_long() {
        for (timeout_ms, prefer, seconds) in [
            (None, None, 5),
            (None, Some("wait=7"), 7),
            (None, Some("respond-async, Wait=\"8\"; x=1"), 8),
            (None, Some("wait=soon"), 5),
            (None, Some("wait=7000"), 60),
            (Some(2000), Some("wait=7"), 2),
            (Some(u64::MAX), None, 60),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(prefer) = prefer {
                headers.insert("prefer", prefer.parse().unwrap());
            }
            let wait_for = Some("shipping, profiles,shipping".to_owned());
            let asked = Asked { wait_for, timeout_ms };
            let wait = asked.wait(&headers).ok().flatten().unwrap();
            let plugins: Vec<&str> = wait.plugins.iter().map(|name| &**name).collect();
            assert_eq!(plugins, ["profiles", "shipping"]);
            assert_eq!(wait.longest.as_secs(), seconds, "{timeout_ms:?} {prefer:?}");
        }
    }
}
