//! A host in memory with its router, and plugins whose handlers are functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures_util::StreamExt;
use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Batch, Durability, Offset, Options, SystemClock};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::access::Access;
use crate::delivery::handler::{Delivery, Failure, Handled, Handler, Version};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::timer::TimerLimits;
use crate::host::{Host, HostOptions, OpenError};
use crate::ingest::Limits;
use crate::log::record::{
    AskedBy, DeclaredSchema, Deployment, DeploymentAction, FailureClass, LiveVersion, Mute, Record, VersionId,
};
use crate::plugin::deploy::{Redelivers, swap_back};
use crate::state::{KeyValues, PluginState};

/// What a fake plugin does with a delivery.
pub(super) type Script = Arc<dyn Fn(&Delivery<'_>) -> Handled + Send + Sync>;

pub(super) struct Bed {
    pub(super) host: Host,
    pub(super) router: Router,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Bed {
    pub(super) fn new() -> Self {
        let memory = Options {
            durability: Durability::Memory,
            ..Options::default()
        };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        Self::with(&storage, memory, Limits::default())
    }

    pub(super) fn with(storage: &Arc<dyn Storage>, log: Options, accept: Limits) -> Self {
        let options = HostOptions {
            log,
            accept,
            ..HostOptions::default()
        };
        Self::on(storage, Arc::new(MemoryStorage::default()), options).unwrap()
    }

    /// A host with its log and its checkpoints in these storages.
    pub(super) fn on(
        storage: &Arc<dyn Storage>,
        checkpoints: Arc<dyn Storage>,
        options: HostOptions,
    ) -> Result<Self, OpenError> {
        let host = Host::open_on(storage, checkpoints, options)?;
        let everybody = Arc::new(Access::everybody(Arc::new(SystemClock)));
        let router = super::super::router(host.clone(), "127.0.0.1:7117".parse().unwrap(), everybody);
        Ok(Self { host, router })
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let mut bytes = Vec::new();
        let mut body = body.into_data_stream();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.unwrap());
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: bytes,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], "")).await
    }

    pub(super) async fn post(&self, content_type: &str, body: impl Into<Body>) -> Answer {
        let headers = [("content-type", content_type)];
        self.send(request("POST", "/v1/events", &headers, body)).await
    }

    /// Publish one structured event, and answer its offset.
    pub(super) async fn publish(&self, event: &Value) -> u64 {
        let answer = self.post("application/cloudevents+json", event.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()["offset"].as_u64().unwrap()
    }

    /// Follow `path`.
    pub(super) async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut request = request("GET", path, headers, "");
        request
            .headers_mut()
            .insert(header::ACCEPT, "text/event-stream".parse().unwrap());
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Stream {
            body: response.into_body().into_data_stream(),
            read: String::new(),
        }
    }

    /// Deploy a plugin that subscribes to `pattern`, lets `open/` be read, and runs `script`.
    pub(super) fn deploy(&self, name: &str, pattern: &str, script: Script) {
        self.deploy_as(name, pattern, None, 1, &[], script);
    }

    /// The same, with the types that it says it emits.
    pub(super) fn deploy_emitting(&self, name: &str, pattern: &str, emits: &[&str], script: Script) {
        self.deploy_as(name, pattern, None, 1, emits, script);
    }

    /// The same, in so many lanes.
    pub(super) fn deploy_in(&self, name: &str, pattern: &str, lanes: usize, script: Script) {
        self.deploy_as(name, pattern, None, lanes, &[], script);
    }

    /// The same, with the text of its `NAME.toml`.
    pub(super) fn deploy_with(&self, name: &str, pattern: &str, settings: &str, script: Script) {
        self.deploy_as(name, pattern, Some(settings), 1, &[], script);
    }

    /// The same, with what it emits and the schemas that it declares.
    pub(super) fn deploy_declaring(
        &self,
        name: &str,
        pattern: &str,
        emits: &[&str],
        schemas: Vec<DeclaredSchema>,
        script: Script,
    ) {
        let declares = LiveVersion {
            emits: emits.iter().map(|name| (*name).to_owned()).collect(),
            schemas,
            ..LiveVersion::default()
        };
        self.go_live(name, pattern, declares, 1, script);
    }

    fn deploy_as(
        &self,
        name: &str,
        pattern: &str,
        settings: Option<&str>,
        lanes: usize,
        emits: &[&str],
        script: Script,
    ) {
        let declares = LiveVersion {
            settings: settings.map(str::to_owned),
            emits: emits.iter().map(|name| (*name).to_owned()).collect(),
            ..LiveVersion::default()
        };
        self.go_live(name, pattern, declares, lanes, script);
    }

    fn go_live(&self, name: &str, pattern: &str, declares: LiveVersion, lanes: usize, script: Script) {
        static VERSIONS: AtomicU32 = AtomicU32::new(1);
        let mut version = [0; 8];
        version[4..].copy_from_slice(&VERSIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let version = VersionId(version);
        let live = LiveVersion {
            version,
            label: "1.2.3".into(),
            subscriptions: vec![pattern.into()],
            readable: vec!["open/".into()],
            ..declares
        };
        let fake = Arc::new(Fake {
            version,
            lanes,
            script,
        });
        self.record(name, DeploymentAction::Live(Box::new(live)), Some(fake));
    }

    /// The version before goes live again, with its state; it runs `script`.
    pub(super) fn go_back(&self, name: &str, script: Script) {
        let subscriber = self.host.subscribers().get(name).expect("it is deployed");
        let (from, target) = {
            let state = subscriber.state.lock();
            let live = state.live.as_ref().expect("it is live").version.version;
            (live, state.version_before().cloned().expect("another one was"))
        };
        let runs = Arc::new(Fake {
            version: target.version,
            lanes: 1,
            script,
        });
        let again = Redelivers::Since(Mute::default());
        let back = swap_back(self.host.sequencer(), &subscriber, from, target, runs, again);
        back.expect("nothing holds it up");
    }

    /// Remove a plugin.
    pub(super) fn remove(&self, name: &str) {
        self.record(name, DeploymentAction::Removed, None);
    }

    fn record(&self, name: &str, action: DeploymentAction, version: Option<Arc<dyn Version>>) {
        let deployment = Deployment {
            who: None,
            plugin: name.into(),
            pair: None,
            action,
            by: AskedBy::Folder,
            warnings: Vec::new(),
        };
        let subscriber = self.host.subscribers().get_or_start(name, PluginState::default());
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let sequencer = self.host.sequencer();
        let appended = sequencer.append(batch, None, std::iter::empty()).unwrap();
        state.apply_deployment(appended.first, appended.time, &deployment);
        sequencer.subscribe(subscriber.id, state.subscription.clone());
        drop(state);
        between.swap(version);
    }

    /// Wait until `through` is durable. Answers what is durable then.
    pub(super) async fn durable(&self, through: Offset) -> Offset {
        self.host.durable(through).await.unwrap()
    }

    /// Wait until `plugin` has settled everything up to `offset`.
    pub(super) async fn settled(&self, plugin: &str, offset: u64) {
        let longest = Duration::from_mins(1);
        self.host.settled(plugin, Offset(offset), longest).await.unwrap();
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The body of a success.
    pub(super) fn ok(&self) -> Value {
        assert_eq!(
            self.status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The problem, which must be a whole one, of this status and code.
    pub(super) fn problem(&self, status: u16, code: &str) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{shown}");
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{shown}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{shown}");
        assert_eq!(problem["status"], status, "{shown}");
        assert_eq!(problem["type"], "about:blank", "{shown}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{shown}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{shown}");
        problem
    }
}

/// Server-sent events on their way in.
pub(super) struct Stream {
    body: BodyDataStream,
    read: String,
}

impl Stream {
    /// The next event: its id, its name and its data. `None` when the stream ends.
    pub(super) async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().trim().to_owned()
                };
                let found = (field("id:"), field("event:"), field("data:"));
                self.read = rest.to_owned();
                return Some((found.0, found.1, serde_json::from_str(&found.2).unwrap()));
            }
            let part = self.body.next().await?.unwrap();
            self.read.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
}

/// A request to the router's own address.
pub(super) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:7117");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A structured event with this id and type.
pub(super) fn event(id: &str, r#type: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "test", "type": r#type, "data": { "n": 1 } })
}

/// A failure of `class`.
pub(super) fn failed(class: FailureClass, reason: &str) -> Handled {
    Handled {
        failure: Some(Failure {
            class,
            reason: reason.into(),
            retry_after: None,
        }),
        ..Handled::default()
    }
}

struct Fake {
    version: VersionId,
    lanes: usize,
    script: Script,
}

impl Version for Fake {
    fn id(&self) -> VersionId {
        self.version
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn state_bytes(&self) -> usize {
        1 << 20
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits {
            count: 3,
            bytes: 1 << 20,
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        vec![("time_ms", 1000)]
    }

    fn handler(&self, _: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(Self {
            version: self.version,
            lanes: self.lanes,
            script: self.script.clone(),
        })
    }
}

impl Handler for Fake {
    fn version(&self) -> VersionId {
        self.version
    }

    fn discard(&mut self) {}

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        (self.script)(delivery)
    }
}
