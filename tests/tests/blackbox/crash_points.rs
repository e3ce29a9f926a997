//! The real process gets SIGKILL before each named change of its files, and its next one holds what was told.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use nerve_tests::Host;
use nerve_tests::ledger::{Counts, Ledger, Published};
use nerve_tests::proof::Proof;
use nerve_tests::shim::Shim;
use serde_json::{Value, json};

/// A point: its name, what is about to be done, and the paths below the data folder.
type Point = (&'static str, &'static str, &'static str);

/// What a host does, the changes that it makes on the way, and what has to be there first.
struct Operation {
    options: &'static [&'static str],
    plugins: &'static [&'static str],
    /// Large events that are in the log.
    chunks: usize,
    /// Clean stops behind some more events, each of which leaves a checkpoint.
    stops: usize,
    /// Whether the process is started for it, and not before.
    starts: bool,
    does: fn(&mut Host, &mut Published),
    points: &'static [Point],
}

const NONE: Operation = Operation {
    options: &[],
    plugins: &["fixtures/counter"],
    chunks: 0,
    stops: 1,
    starts: false,
    does: |_, _| {},
    points: &[],
};

const FRAME: Point = (
    "a frame, the mark or the zeros behind it are written",
    "write",
    "log/*.log",
);
const FRAME_SYNCED: Point = ("the frames are synced", "sync", "log/*.log");

/// Bytes of a large event, and how many of them fill a segment.
const CHUNK: usize = 1 << 19;
const SEGMENT: usize = (64 << 20) / CHUNK;

/// What a frame begins with; behind it stands how long its body is.
const MAGIC: &[u8] = b"NVF1";

/// The longest that may stand behind the last frame: what is prepared, and more than a mark.
const TAIL: u64 = (256 << 10) + 100;

/// What is put back before each kill.
const FOLDERS: [&str; 2] = ["data", "plugins"];

#[test]
fn killed_at_each_point_of_publishing() {
    killed_at_each_point(&Operation {
        plugins: &[],
        does: |host, published| publish(host, published, &[event("new", "test.x", &json!({}))]),
        points: &[FRAME, FRAME_SYNCED],
        ..NONE
    });
}

#[test]
fn killed_at_each_point_of_settling() {
    killed_at_each_point(&Operation {
        plugins: &["fixtures/counter", "fixtures/steps"],
        does: |host, published| {
            let step = |wait: Option<u64>| json!({ "key": "k", "left": 2, "wait_ms": wait });
            let steps = [
                event("emits", "test.step", &step(None)),
                event("waits", "test.step", &step(Some(1))),
            ];
            publish(host, published, &steps);
        },
        points: &[FRAME, FRAME_SYNCED],
        ..NONE
    });
}

#[test]
fn killed_at_each_point_of_beginning_a_segment() {
    killed_at_each_point(&Operation {
        chunks: SEGMENT - 1,
        does: |host, published| {
            publish(host, published, &[event("fills it", "test.x", &chunk())]);
            publish(host, published, &[event("begins one", "test.x", &json!({}))]);
        },
        points: &[
            FRAME,
            FRAME_SYNCED,
            ("a segment is made", "make", "log/*.log"),
            ("its name is synced", "sync", "log"),
        ],
        ..NONE
    });
}

#[test]
fn killed_at_each_point_of_a_checkpoint_and_a_clean_stop() {
    killed_at_each_point(&Operation {
        stops: 3,
        does: |host, published| {
            publish(host, published, &[event("new", "test.x", &json!({}))]);
            if !host.is_gone() {
                host.signal("TERM");
            }
            host.until("it is gone", Host::is_gone);
        },
        points: &[
            FRAME,
            FRAME_SYNCED,
            ("what was prepared is cut off", "truncate", "log/*.log"),
            ("a checkpoint is made", "make", "checkpoints/*.checkpoint"),
            ("it is written", "write", "checkpoints/*.checkpoint"),
            ("it is synced", "sync", "checkpoints/*.checkpoint"),
            ("its name, or the removal, is synced", "sync", "checkpoints"),
            ("an old one is removed", "remove", "checkpoints/*.checkpoint"),
        ],
        ..NONE
    });
}

#[test]
fn killed_at_each_point_of_a_start_that_drops_the_oldest_segment() {
    killed_at_each_point(&Operation {
        options: &["--retain-mib", "1"],
        chunks: SEGMENT + 3,
        stops: 2,
        starts: true,
        does: |host, _| {
            let dropped = |host: &Host| Some(host.try_get("/v1/log")?.body["bytes"].as_u64()? < 64 << 20);
            host.until("the oldest segment goes", |host| {
                host.is_gone() || dropped(host).unwrap_or(false)
            });
        },
        points: &[
            (
                "the reserve of the process before is removed",
                "remove",
                "log/reserve",
            ),
            ("a reserve is made", "make", "log/reserve"),
            ("the process's number is forgotten", "truncate", "pid"),
            ("it is written", "write", "pid"),
            ("the address is written beside", "make", ".address"),
            ("its bytes are written", "write", ".address"),
            ("it gets its name", "rename", "address"),
            ("the oldest segment is removed", "remove", "log/*.log"),
            ("its removal is synced", "sync", "log"),
        ],
        ..NONE
    });
}

#[test]
fn killed_at_each_point_of_a_deployment() {
    killed_at_each_point(&Operation {
        does: |host, _| host.drop_built("fixtures/steps"),
        points: &[
            ("compiled code is written beside", "make", "cache/*.new"),
            ("its bytes are written", "write", "cache/*.new"),
            ("it gets its name", "rename", "cache/*"),
            ("the component is written beside", "make", "components/*.new"),
            ("its bytes are written", "write", "components/*.new"),
            ("it is synced", "sync", "components/*.new"),
            ("it gets its name", "rename", "components/*.wasm"),
            ("its name is synced", "sync", "components"),
            FRAME,
            FRAME_SYNCED,
        ],
        ..NONE
    });
}

/// Do it once and note the changes: each has a name, and each name is met. Then, for each of them, kill the process before
/// it and start another one.
fn killed_at_each_point(operation: &Operation) {
    let mut proof = Proof::begin("SIGKILL before each named change, real process");
    // What is prepared is whole: options such as those of retention hold from then on.
    let mut host = Host::start(operation.plugins);
    let (before, told) = prepare(&mut host, operation);
    host.set_options(operation.options);
    let mut published = told.clone();
    let changes = run(&mut host, operation, &mut published, Shim::note).noted();
    assert_eq!(go_on(&mut host, &before, &mut published), Vec::<String>::new());
    let points = named(&changes, operation.points).unwrap_or_else(|what| panic!("{what}"));
    for ((name, what, pattern), count) in points {
        for nth in 1..=count {
            reset(&host);
            let mut published = told.clone();
            let arm = |shim: &Shim| shim.kill_before(what, pattern, nth);
            let killed = run(&mut host, operation, &mut published, arm).killed();
            // Frames are shared as it happens, so that the last ones may not come.
            assert!(killed.is_some() || nth > 1, "{name}: no process was killed");
            let is_killed = host.is_gone() && host.ended().is_none();
            assert_eq!(
                is_killed,
                killed.is_some(),
                "{name}, number {nth}: {}",
                host.said()
            );
            let violations = go_on(&mut host, &before, &mut published);
            assert_eq!(violations, Vec::<String>::new(), "{name}, number {nth}");
            proof.held(u64::from(is_killed));
        }
    }
}

/// The points of `changes`, each with how often it was met.
fn named(changes: &[(String, String)], points: &[Point]) -> Result<Vec<(Point, usize)>, String> {
    let is_at = |change: &(String, String), point: &Point| {
        let (begin, end) = point.2.split_once('*').unwrap_or((point.2, ""));
        let inner = change
            .1
            .strip_prefix(begin)
            .and_then(|rest| rest.strip_suffix(end));
        change.0 == point.1 && inner.is_some_and(|inner| inner.is_empty() || point.2.contains('*'))
    };
    if let Some(change) = changes
        .iter()
        .find(|change| !points.iter().any(|point| is_at(change, point)))
    {
        return Err(format!("{change:?} is no point that has a name, of {changes:?}"));
    }
    let met = |point: &Point| changes.iter().filter(|change| is_at(change, point)).count();
    match points.iter().find(|point| met(point) == 0) {
        Some(point) => Err(format!("there is no change at {point:?}, of {changes:?}")),
        None => Ok(points.iter().map(|point| (*point, met(point))).collect()),
    }
}

/// Fill the log and stop, and keep a copy of the folders: answers what the log says, and what publishers were told.
fn prepare(host: &mut Host, operation: &Operation) -> (Ledger, Published) {
    let mut published = Published::default();
    for n in 0..operation.chunks {
        publish(
            host,
            &mut published,
            &[event(&format!("chunk {n}"), "test.x", &chunk())],
        );
    }
    for n in 0..operation.stops {
        if n > 0 {
            host.run();
        }
        publish(
            host,
            &mut published,
            &[event(&format!("stop {n}"), "test.x", &json!({}))],
        );
        until_it_rests(host);
        assert_eq!(host.stop(), Some(0), "{}", host.said());
    }
    for name in FOLDERS {
        copy(&host.path(name), &host.path("before").join(name));
    }
    (Ledger::read(&host.path("data")), published)
}

/// Put the folders of `host` back as they were.
fn reset(host: &Host) {
    for name in FOLDERS {
        fs::remove_dir_all(host.path(name)).unwrap();
        copy(&host.path("before").join(name), &host.path(name));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

/// Do it, with the shim told what to look out for when the process rests, or where the start is it, before.
fn run(host: &mut Host, operation: &Operation, published: &mut Published, tell: impl FnOnce(&Shim)) -> Shim {
    let shim = Shim::before(host);
    if !operation.starts {
        host.run();
        until_it_rests(host);
    }
    tell(&shim);
    if operation.starts {
        host.begin();
        host.until("it answers, or is gone", |host| host.is_gone() || host.answers());
    }
    (operation.does)(host, published);
    until_it_rests(host);
    shim
}

/// Publish, where the process lives to answer.
fn publish(host: &Host, published: &mut Published, batch: &[Value]) {
    published.sending(batch);
    match host.connect().publish(batch) {
        Some(answer) => {
            assert_eq!(answer.status, 200, "{}", answer.body);
            published.told(batch, &answer.body);
        }
        None => published.unsure.extend(batch.iter().cloned()),
    }
}

fn event(id: &str, kind: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "test", "type": kind, "partitionkey": "k", "data": data })
}

/// Data of so many bytes that few events fill a segment.
fn chunk() -> Value {
    json!("x".repeat(CHUNK))
}

/// The process is gone, or all is settled and nothing more will be changed.
fn until_it_rests(host: &mut Host) {
    host.until("it rests, or is gone", |host| {
        host.is_gone() || is_settled(host).unwrap_or(false) && ends_with_a_mark(&host.path("data/log"))
    });
}

fn is_settled(host: &Host) -> Option<bool> {
    let last = host.try_get("/v1/log")?.body["last"].clone();
    for file in fs::read_dir(host.path("plugins")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".wasm") else {
            continue;
        };
        let plugin = host.try_get(&format!("/v1/plugins/{name}"))?.body;
        if plugin["status"] != "live" || plugin["lag"] != 0 || plugin["timers"]["count"] != 0 {
            return Some(false);
        }
    }
    Some(host.try_get("/v1/log")?.body["durable"] == last)
}

/// Whether the log's last frame has no records: the writer has nothing more to do.
fn ends_with_a_mark(log: &Path) -> bool {
    let files = fs::read_dir(log).unwrap().map(|file| file.unwrap().path());
    let Some(last) = files
        .filter(|file| file.extension().is_some_and(|end| end == "log"))
        .max()
    else {
        return false;
    };
    let mut end = Vec::new();
    let read = File::open(last).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.read_to_end(&mut end)
    });
    let begins = end.windows(MAGIC.len()).rposition(|bytes| bytes == MAGIC);
    let body = begins.and_then(|at| end.get(at + MAGIC.len()..)?.first_chunk());
    read.is_ok() && body == Some(&[0; 4])
}

/// Another process starts on what is there: what was not answered is sent again, everything is settled, and the log is
/// held against what publishers were told. What retention dropped is taken from the log `before`.
fn go_on(host: &mut Host, before: &Ledger, published: &mut Published) -> Vec<String> {
    if !host.is_gone() {
        host.kill();
    }
    host.before_start("");
    host.run();
    let again = std::mem::take(&mut published.unsure);
    if !again.is_empty() {
        publish(host, published, &again);
    }
    host.until("everything is settled", |host| is_settled(host).unwrap_or(false));
    let counted = host.try_get("/v1/plugins/counter/state?prefix=count/&limit=1000");
    let counted = counted
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body);
    assert_eq!(host.stop(), Some(0), "{}", host.said());
    let mut ledger = Ledger::read(&host.path("data"));
    let first = ledger.facts.keys().next().copied();
    let dropped = before.facts.iter().filter(|(offset, _)| Some(**offset) < first);
    ledger
        .facts
        .extend(dropped.map(|(offset, fact)| (*offset, fact.clone())));
    let mut violations = ledger.violations(published);
    if let Some(counted) = counted {
        let entries = counted["entries"].as_array().unwrap().iter();
        let counted: Counts = entries
            .map(|entry| {
                (
                    entry["key"].as_str().unwrap().to_owned(),
                    entry["value"].as_u64().unwrap(),
                )
            })
            .collect();
        let right = ledger.counts("counter");
        if counted != right {
            violations.push(format!("counted are {counted:?}, and there are {right:?}"));
        }
    }
    violations
}

#[test]
fn a_change_without_a_name_and_a_point_without_a_change_are_noticed() {
    let change = |what: &str, path: &str| (what.to_owned(), path.to_owned());
    let changes = [
        change("write", "log/1.log"),
        change("sync", "log/1.log"),
        change("write", "log/1.log"),
    ];
    let points = [FRAME, FRAME_SYNCED];
    assert_eq!(named(&changes, &points).unwrap(), [(FRAME, 2), (FRAME_SYNCED, 1)]);
    named(&changes, &points[..1]).unwrap_err();
    named(&changes[..1], &points).unwrap_err();
    named(
        &[change("sync", "log"), changes[0].clone(), changes[1].clone()],
        &points,
    )
    .unwrap_err();
}

#[test]
fn a_process_that_answers_before_it_writes_would_be_noticed() {
    let mut host = Host::start(&["fixtures/counter"]);
    let mut published = Published::default();
    publish(&host, &mut published, &[event("kept", "test.x", &json!({}))]);
    until_it_rests(&mut host);
    let log = host.path("data/log/00000000000000000001.log");
    let before = fs::read(&log).unwrap();
    publish(&host, &mut published, &[event("lost", "test.x", &json!({}))]);
    host.kill();
    // As if it had been told and not yet written.
    fs::write(&log, before).unwrap();
    let violations = go_on(&mut host, &Ledger::default(), &mut published);
    assert!(
        violations
            .iter()
            .any(|what| what.contains("lost was acknowledged")),
        "{violations:?}"
    );
}
