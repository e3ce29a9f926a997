//! `NAME.webhook.toml`: where events go, which, and what holds of them.
//!
//! No message shows a line of the file: somebody may have written a secret into it by mistake, and messages are recorded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use ureq::http::{HeaderName, HeaderValue};

use super::secret::{NoSecret, Reference};
use super::signature::{BadSecret, Key};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::subscription::{BadType, Pattern, check_type};
use crate::plugin::grants::{Grants, HTTP};
use crate::plugin::outgoing::{HttpOptions, Range, Target, is_reserved};
use crate::plugin::settings::{
    BadSettings, Lag, Lanes, Limits, Retry, Settings, Share, Start, Watch, with_suggestion,
};

/// Where the events of a webhook go.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// The receiver's URL.
    pub url: String,
    /// The same without what may be secret.
    pub target: String,
    /// What it subscribes to.
    pub subscriptions: Vec<Pattern>,
    /// Where the secrets are that sign; all of them do.
    pub secrets: Vec<Reference>,
    /// How an event is sent.
    pub mode: Mode,
    /// Further headers.
    headers: Vec<(HeaderName, Text)>,
    /// Statuses that say that the receiver will never take the event.
    pub rejects: Vec<u16>,
    /// Types of events that the receiver may answer with. Where there are none, what it answers is not read.
    pub emits: Vec<String>,
}

/// How an event is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As one JSON object, attributes and data; the signature is over both.
    #[default]
    Structured,
    /// The data as body, the attributes as headers, over which there is no signature.
    Binary,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq)]
enum Text {
    Plain(HeaderValue),
    Secret(Reference),
}

/// Why a webhook can't send what is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadReference {
    /// There is none.
    #[error(transparent)]
    Missing(#[from] NoSecret),
    /// It is no secret that signs.
    #[error("what webhook.secrets leads to {0}")]
    Secret(#[from] BadSecret),
    /// It is no header's value.
    #[error("the secret of webhook.headers.{0} has characters that no header may have")]
    Header(HeaderName),
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    start: Start,
    lanes: Lanes,
    limits: LimitsOf,
    retry: Retry,
    lag: Lag,
    probation: Watch,
    canary: Share,
    http: HttpOf,
    webhook: Section,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsOf {
    event_bytes: usize,
    hops: u32,
    emits: usize,
    emit_bytes: usize,
    batch_bytes: usize,
}

impl Default for LimitsOf {
    fn default() -> Self {
        let Limits {
            event_bytes,
            hops,
            emits,
            emit_bytes,
            batch_bytes,
            ..
        } = Limits::default();
        Self {
            event_bytes,
            hops,
            emits,
            emit_bytes,
            batch_bytes,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpOf {
    time_ms: u64,
    request_bytes: usize,
    answer_bytes: usize,
    addresses: Vec<Range>,
}

impl Default for HttpOf {
    fn default() -> Self {
        Self {
            time_ms: 10_000,
            // An event of the largest size as JSON.
            request_bytes: 16 << 20,
            // What may be emitted, as JSON.
            answer_bytes: 1 << 20,
            addresses: Vec::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    url: String,
    subscriptions: Vec<String>,
    secrets: Option<toml::Value>,
    mode: Mode,
    headers: BTreeMap<String, toml::Value>,
    rejects: Vec<u16>,
    emits: Vec<String>,
}

/// Retries go on for about four minutes: the receiver may be restarted, and its outages end them at no cost anyway.
fn patient() -> RetryPolicy {
    RetryPolicy {
        attempts: 8,
        first: std::time::Duration::from_secs(1),
        factor: 3.0,
        ..RetryPolicy::default()
    }
}

/// Whether `text` is a webhook's file.
pub(in crate::plugin) fn is_one(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("webhook"))
}

/// Whether `text` is surely no webhook's file, but settings of a plugin.
pub(in crate::plugin) fn is_another(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| !table.contains_key("webhook"))
}

/// The settings in the webhook's file `text`.
pub(in crate::plugin) fn settings(text: &str) -> Result<Settings, BadSettings> {
    let file: File = toml::from_str(text).map_err(|cause| {
        let line = cause
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        BadSettings(with_suggestion(&format!("line {line}: {}", cause.message())))
    })?;
    let target = target(&file.webhook.url)?;
    let hook = file.webhook.checked(&target)?;
    let http = HttpOptions {
        time_ms: file.http.time_ms,
        request_bytes: file.http.request_bytes,
        answer_bytes: file.http.answer_bytes,
        addresses: file.http.addresses,
        ..HttpOptions::default()
    };
    if let Some(wrong) = http.wrong() {
        return Err(BadSettings(wrong.to_owned()));
    }
    let defaults = Settings::default();
    Ok(Settings {
        start: file.start,
        lanes: file.lanes,
        limits: Limits {
            event_bytes: file.limits.event_bytes,
            hops: file.limits.hops,
            emits: file.limits.emits,
            emit_bytes: file.limits.emit_bytes,
            batch_bytes: file.limits.batch_bytes,
            ..defaults.limits
        },
        retry: file.retry.checked(patient())?,
        lag: file.lag,
        probation: file.probation,
        canary: file.canary,
        grants: granted(&target)?,
        http: HttpOptions {
            addresses: [http.addresses, named_itself(&target.host)].concat(),
            ..http
        },
        webhook: Some(hook),
        ..defaults
    })
}

/// Who writes the URL grants it.
fn granted(target: &Target) -> Result<Grants, BadSettings> {
    let scope = format!("POST {}", target.place());
    let grants = Grants::parse(&BTreeMap::from([(HTTP.to_owned(), vec![scope])]));
    grants.map_err(|bad| BadSettings(format!("webhook.url: {bad}")))
}

/// The addresses that the URL names itself, and so allows. A name leads wherever its owner lets it lead: what is not
/// public has to be listed for it.
fn named_itself(host: &str) -> Vec<Range> {
    let texts: &[&str] = match host.parse::<IpAddr>() {
        Ok(_) => &[host],
        Err(_) if host == "localhost" => &["127.0.0.0/8", "::1"],
        Err(_) => &[],
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn target(url: &str) -> Result<Target, BadSettings> {
    if url.is_empty() {
        return Err(BadSettings(
            "webhook.url is missing: write the address of the receiver, such as https://billing.example/events".into(),
        ));
    }
    Target::of(url).map_err(|bad| BadSettings(format!("webhook.url: {}", bad.reason)))
}

impl Section {
    fn checked(self, target: &Target) -> Result<Hook, BadSettings> {
        let subscriptions: Result<Vec<Pattern>, BadType> =
            self.subscriptions.iter().map(|text| text.parse()).collect();
        let subscriptions =
            subscriptions.map_err(|bad| BadSettings(format!("webhook.subscriptions: {bad}")))?;
        if subscriptions.is_empty() {
            return Err(BadSettings(
                "webhook.subscriptions is missing or empty: name event types, such as [\"order.placed\", \
                 \"payment.>\"]"
                    .into(),
            ));
        }
        for name in &self.emits {
            check_type(name).map_err(|bad| BadSettings(format!("webhook.emits: {bad}")))?;
        }
        let headers = self.headers.iter().map(|(name, value)| header(name, value));
        if let Some(status) = self.rejects.iter().find(|status| !(400..500).contains(*status)) {
            return Err(BadSettings(format!(
                "webhook.rejects has {status}: only answers from 400 to 499 can say that an event will never be taken"
            )));
        }
        Ok(Hook {
            target: target.shown(),
            subscriptions,
            secrets: secrets(self.secrets)?,
            mode: self.mode,
            headers: headers.collect::<Result<_, _>>()?,
            rejects: self.rejects,
            emits: self.emits,
            url: self.url,
        })
    }
}

const HOW: &str = "write { env = \"NAME\" } or { file = \"PATH\" }";

fn secrets(written: Option<toml::Value>) -> Result<Vec<Reference>, BadSettings> {
    let listed = match written {
        Some(toml::Value::Array(all)) => all,
        one => one.into_iter().collect(),
    };
    if listed.is_empty() {
        return Err(BadSettings(format!(
            "webhook.secrets is missing: the receiver knows by a signature who sends; {HOW}, and `nerve webhook new` \
             makes one"
        )));
    }
    let references = listed.iter().map(Reference::parse).collect::<Option<Vec<_>>>();
    references.ok_or_else(|| {
        BadSettings(format!(
            "webhook.secrets must say where a secret is, and not what it is, for settings are kept in the log: {HOW}"
        ))
    })
}

fn header(name: &str, value: &toml::Value) -> Result<(HeaderName, Text), BadSettings> {
    let bad = |what: String| BadSettings(format!("webhook.headers.{name}: {what}"));
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| bad("that is no name of a header".into()))?;
    let ours = ["webhook-", "ce-", "nerve-"]
        .iter()
        .any(|ours| parsed.as_str().starts_with(ours));
    if ours
        || is_reserved(&parsed)
        || matches!(parsed.as_str(), "content-type" | "traceparent" | "tracestate")
    {
        return Err(bad("that header is the host's: leave it out".into()));
    }
    let text = match (value.as_str(), Reference::parse(value)) {
        (Some(text), _) => {
            let value = HeaderValue::from_str(text);
            Text::Plain(value.map_err(|_| bad("its value has characters that no header may have".into()))?)
        }
        (None, Some(reference)) => Text::Secret(reference),
        (None, None) => return Err(bad(format!("write a text, or where a secret is: {HOW}"))),
    };
    Ok((parsed, text))
}

impl Hook {
    /// The keys that sign. A reference may lead to several secrets, with space between.
    pub(super) fn keys(&self) -> Result<Vec<Key>, BadReference> {
        let mut keys = Vec::new();
        for reference in &self.secrets {
            for secret in reference.read()?.split_whitespace() {
                keys.push(Key::parse(secret)?);
            }
        }
        Ok(keys)
    }

    /// The headers that the settings add.
    pub(super) fn own_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, BadReference> {
        let headers = self.headers.iter().map(|(name, text)| {
            let value = match text {
                Text::Plain(value) => value.clone(),
                Text::Secret(reference) => {
                    let value = HeaderValue::from_str(&reference.read()?);
                    value.map_err(|_| BadReference::Header(name.clone()))?
                }
            };
            Ok((name.clone(), value))
        });
        headers.collect()
    }
}

#[cfg(test)]
mod tests;
