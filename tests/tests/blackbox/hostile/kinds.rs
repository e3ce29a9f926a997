//! Hostile plugins, as a table: what each does, and what the host must say of it.

use nerve_tests::built;

use super::guest::{ANSWER, Guest, KEY, MANIFEST, NIL, NOT_PACKED, NOT_UTF8, OK, TYPE, escaped};

/// Settings that nothing but an endless loop meets.
const PATIENT: &str = "[limits]\ntime_ms = 20000\n[retry]\nattempts = 1\n";

/// Settings for those that end by time alone.
const QUICK: &str = "[limits]\ntime_ms = 200\n[retry]\nattempts = 1\n";

/// Settings for those that are built to be slow to compile.
const BRIEF: &str = "[limits]\ncompile_ms = 2000\n[retry]\nattempts = 1\n";

/// One hostile plugin.
pub(super) struct Kind {
    /// Its name.
    pub(super) name: &'static str,
    /// The file.
    pub(super) wasm: Vec<u8>,
    /// Its settings.
    pub(super) settings: &'static str,
    /// How it must end.
    pub(super) ends: Ends,
}

/// How a hostile plugin must end.
pub(super) enum Ends {
    /// Refused when it is dropped, with these words.
    Refused(&'static str),
    /// Its event is a dead letter of this class, with these words.
    Dead(&'static str, &'static str),
    /// Its event waits for another attempt, with these words.
    Parked(&'static str),
    /// Its event is settled.
    Done,
    /// Refused, or its event is settled: large as it is, it may be within the limits.
    Harmless,
}

use Ends::{Dead, Done, Harmless, Parked, Refused};

fn file(name: &'static str, wasm: Vec<u8>, ends: Ends) -> Kind {
    let settings = PATIENT;
    Kind {
        name,
        wasm,
        settings,
        ends,
    }
}

pub(super) fn guest(name: &'static str, change: impl FnOnce(&mut Guest), ends: Ends) -> Kind {
    let mut guest = Guest::new(name);
    change(&mut guest);
    file(name, guest.wasm(), ends)
}

/// What `handle` does.
fn handles(name: &'static str, handle: &str, ends: Ends) -> Kind {
    guest(name, |guest| handle.clone_into(&mut guest.handle), ends)
}

fn brief(kind: Kind) -> Kind {
    Kind {
        settings: BRIEF,
        ..kind
    }
}

pub(super) fn quick(kind: Kind) -> Kind {
    Kind {
        settings: QUICK,
        ..kind
    }
}

/// Files that are no plugins.
pub(super) fn files() -> Vec<Kind> {
    let whole = built("fixtures/counter");
    let mut dice = fastrand::Rng::with_seed(1);
    let random: Vec<u8> = (0..10_000).map(|_| dice.u8(..)).collect();
    let mut random_module = b"\0asm\x01\0\0\0".to_vec();
    random_module.extend(&random);
    let component = |text: &str| wat::parse_str(text).unwrap();
    vec![
        file("nothing", Vec::new(), Refused("no WebAssembly")),
        file("random", random, Refused("no WebAssembly")),
        file("random-module", random_module, Refused("does not compile")),
        file(
            "cut-off",
            whole[..whole.len() / 3].to_vec(),
            Refused("does not compile"),
        ),
        file("wrong-world", built("fixtures/wrong-world"), Refused("nerve-sdk")),
        file("another-name", whole, Refused("describes itself as \"counter\"")),
        file(
            "no-exports",
            component("(component)"),
            Refused("does not export nerve:plugin/handler"),
        ),
        file(
            "other-world",
            component("(component (import \"other:thing/x@1.0.0\" (instance)))"),
            Refused("not part of nerve:plugin"),
        ),
        file(
            "newer-world",
            component("(component (import \"nerve:plugin/state@9.0.0\" (instance)))"),
            Refused("this host speaks nerve:plugin"),
        ),
        file(
            "nested-components",
            component(&format!("{}{}", "(component ".repeat(50), ")".repeat(50))),
            Refused("limit shape.nesting"),
        ),
        file(
            "many-types",
            component(&format!("(module {})", "(type (func))".repeat(100_000))),
            Refused("limit shape.types"),
        ),
        file(
            "threads",
            component("(module (memory 1 1 shared))"),
            Refused("does not compile"),
        ),
        file(
            "relaxed-simd",
            component("(module (func (result v128) (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0))))"),
            Refused("does not compile"),
        ),
        file(
            "memory64",
            component("(module (memory i64 1))"),
            Refused("does not compile"),
        ),
    ]
}

/// What goes wrong before the first event.
pub(super) fn starts() -> Vec<Kind> {
    let describes =
        |name, describe: &str, ends| guest(name, |guest| describe.clone_into(&mut guest.describe), ends);
    let starts = |name, body: &str, ends| {
        let besides = format!("(func $start {body}) (start $start)");
        guest(name, |guest| guest.besides = besides, ends)
    };
    // A description whose field at `at` is this word.
    let says = |name, at: u32, word: u32, ends| {
        let describe = format!(
            "(i32.store (i32.const {}) (i32.const {word})) (i32.const {MANIFEST})",
            MANIFEST + at
        );
        guest(name, |guest| guest.describe = describe, ends)
    };
    let no_description = "does not describe itself";
    vec![
        file(
            "loop-in-describe",
            built("fixtures/loop-in-describe"),
            Refused("it took longer than 1 s"),
        ),
        starts(
            "loop-in-start",
            "(loop $l (br $l))",
            Refused("it took longer than 1 s"),
        ),
        starts("trap-in-start", "unreachable", Refused(no_description)),
        describes("trap-in-describe", "unreachable", Refused(no_description)),
        describes(
            "calls-in-describe",
            "(loop $l (drop (call $now)) (br $l)) unreachable",
            Refused("limit host_calls"),
        ),
        guest(
            "vast-memory",
            |guest| "65536".clone_into(&mut guest.memory),
            Refused(no_description),
        ),
        guest(
            "vast-table",
            |guest| "(table 10000000 funcref)".clone_into(&mut guest.besides),
            Refused(no_description),
        ),
        guest(
            "many-tables",
            |guest| guest.besides = "(table 90000 funcref)".repeat(100),
            Refused("limit table"),
        ),
        says("name-not-utf8", 0, NOT_UTF8, Refused(no_description)),
        says("name-out-of-memory", 4, u32::MAX, Refused(no_description)),
        says("list-out-of-memory", 20, u32::MAX / 8, Refused(no_description)),
        says("odd-address", 16, MANIFEST + 61, Refused(no_description)),
        says("wrong-enum", 32, 7, Refused(no_description)),
        describes(
            "long-list",
            &format!(
                "(drop (memory.grow (i32.const 128)))
                 (i32.store (i32.const {}) (i32.const 262144)) (i32.store (i32.const {}) (i32.const 1000000))
                 (i32.const {MANIFEST})",
                MANIFEST + 24,
                MANIFEST + 28
            ),
            Refused(""),
        ),
        brief(guest(
            "many-functions",
            |guest| guest.besides = "(func)".repeat(300_000),
            Refused("limit shape.functions"),
        )),
        brief(guest(
            "huge-function",
            |guest| {
                guest.besides = format!(
                    "(func (result i32) (i32.const 1) {})",
                    "i32.const 1 i32.add ".repeat(2_000_000)
                );
            },
            Harmless,
        )),
        brief(guest(
            "deep-nesting",
            |guest| guest.besides = format!("(func {} {})", "block ".repeat(500_000), "end ".repeat(500_000)),
            Harmless,
        )),
    ]
}

/// What goes wrong while an event is handled.
pub(super) fn handlers() -> Vec<Kind> {
    let on_realloc =
        |name, realloc: &str, ends| guest(name, |guest| realloc.clone_into(&mut guest.realloc), ends);
    vec![
        quick(handles(
            "loop",
            "(loop $l (br $l)) unreachable",
            Dead("time", "limit time_ms"),
        )),
        handles(
            "host-calls",
            "(loop $l (drop (call $now)) (br $l)) unreachable",
            Dead("limit", "limit host_calls"),
        ),
        handles(
            "memory-growth",
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            Dead("memory", "limit memory_bytes"),
        ),
        guest(
            "table-growth",
            |guest| {
                "(table $t 1 funcref)".clone_into(&mut guest.besides);
                "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable"
                    .clone_into(&mut guest.handle);
            },
            Dead("limit", "table"),
        ),
        guest(
            "stack-overflow",
            |guest| {
                "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))"
                    .clone_into(&mut guest.besides);
                "(call $deep (i32.const 0))".clone_into(&mut guest.handle);
            },
            Dead("limit", "limit stack"),
        ),
        handles("unreachable", "unreachable", Dead("trap", "unreachable")),
        handles(
            "wild-pointer",
            "(i32.load (i32.const -4))",
            Dead("trap", "out of bounds"),
        ),
        handles(
            "division",
            "(i32.div_u (i32.const 1) (i32.const 0))",
            Dead("trap", "divide by zero"),
        ),
        guest(
            "wild-call",
            |guest| {
                "(table 1 funcref) (type $f (func (result i32)))".clone_into(&mut guest.besides);
                "(call_indirect (type $f) (i32.const 0))".clone_into(&mut guest.handle);
            },
            Dead("trap", "uninitialized element"),
        ),
        // Each is given the event's texts by the allocator, before `handle` begins.
        on_realloc("allocator-out-of-memory", "(i32.const -16)", Dead("trap", "")),
        on_realloc("allocator-at-odd-address", "(i32.const 65537)", Dead("trap", "")),
        on_realloc("allocator-traps", "unreachable", Dead("trap", "unreachable")),
        quick(on_realloc(
            "allocator-loops",
            "(loop $l (br $l)) unreachable",
            Dead("time", "limit time_ms"),
        )),
        on_realloc(
            "allocator-calls-the-host",
            "(drop (call $now)) unreachable",
            Dead("trap", "cannot leave component instance"),
        ),
    ]
}

/// What is wrong with the answer that `handle` points to.
pub(super) fn answers() -> Vec<Kind> {
    // The result that `handle` points to, and what the words of it are.
    let answers = |name, words: &[(u32, u32)], ends| {
        let stores = words.iter().fold(String::new(), |out, (at, word)| {
            format!("{out}(i32.store (i32.const {}) (i32.const {word}))", OK + at)
        });
        handles(name, &format!("{stores} (i32.const {OK})"), ends)
    };
    vec![
        handles("result-out-of-memory", "(i32.const -8)", Dead("trap", "")),
        handles("result-at-odd-address", "(i32.const 513)", Dead("trap", "")),
        answers("result-unknown", &[(0, 9)], Dead("trap", "discriminant")),
        answers("failure-unknown", &[(0, 1), (8, 9)], Dead("trap", "discriminant")),
        answers(
            "reason-not-utf8",
            &[(0, 1), (8, 1), (16, NOT_UTF8), (20, 4)],
            Dead("trap", "utf-8"),
        ),
        answers(
            "reason-out-of-memory",
            &[(0, 1), (8, 1), (16, 0), (20, u32::MAX)],
            Dead("trap", ""),
        ),
        answers(
            "long-reason",
            &[(0, 1), (8, 1), (16, 8192), (20, 50_000)],
            Dead("reject", ""),
        ),
        answers(
            "retry-at-the-end-of-time",
            &[
                (0, 1),
                (8, 0),
                (16, TYPE),
                (20, 4),
                (24, 1),
                (32, u32::MAX),
                (36, u32::MAX),
            ],
            Dead("retry", "test"),
        ),
        Kind {
            settings: "[retry]\nattempts = 3\n",
            ..answers(
                "waits-for-the-end-of-time",
                &[
                    (0, 1),
                    (8, 0),
                    (16, TYPE),
                    (20, 4),
                    (24, 1),
                    (32, u32::MAX),
                    (36, u32::MAX),
                ],
                Parked("test"),
            )
        },
    ]
}

/// What is wrong with the effects that are asked for.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn effects() -> Vec<Kind> {
    let text = |at: u32, len: u32| format!("(i32.const {at}) (i32.const {len})");
    let none = "(i32.const 0) (i32.const 0) (i32.const 0)";
    // Emits an event of this type, key and data.
    let emit = |kind: &str, key: &str, data: &str| {
        format!("(call $emit {kind} {none} {key} {none} {data} (i32.const {ANSWER}))")
    };
    let (kind, nil) = (text(TYPE, 12), text(NIL, 1));
    let ok = format!("(i32.const {OK})");
    let once = |name, call: &str, ends| handles(name, &format!("{call} {ok}"), ends);
    let ever = |name, call: &str, ends| handles(name, &format!("(loop $l {call} (br $l)) unreachable"), ends);
    let set = |key: &str, value: &str| format!("(call $set {key} {value} (i32.const {ANSWER}))");
    let line = |text: &str| format!("(call $write (i32.const 2) {text})");
    vec![
        ever(
            "emit-flood",
            &emit(&kind, none, &nil),
            Dead("limit", "limit emits"),
        ),
        once(
            "emit-absurd-length",
            &emit(&kind, none, &text(0, u32::MAX)),
            Dead("trap", ""),
        ),
        once(
            "emit-too-much",
            &format!(
                "(drop (memory.grow (i32.const 128))) {}",
                emit(&kind, none, &text(0, 5 << 20))
            ),
            Dead("limit", "limit emit_bytes"),
        ),
        once(
            "emit-not-utf8",
            &emit(&text(NOT_UTF8, 4), none, &nil),
            Dead("trap", "utf-8"),
        ),
        once(
            "emit-bad-type",
            &emit(&text(MANIFEST, 8), none, &nil),
            Dead("limit", "an emitted event was refused"),
        ),
        once(
            "emit-forged-key",
            &emit(&kind, &format!("(i32.const 1) {}", text(8192, 300)), &nil),
            Dead(
                "limit",
                "the key of an emitted test.flooded must have 1 to 256 bytes",
            ),
        ),
        once(
            "emit-not-packed",
            &emit(&kind, none, &text(NOT_PACKED, 1)),
            Dead("limit", "is no MessagePack"),
        ),
        once(
            "state-empty-key",
            &set(&text(KEY, 0), &nil),
            Dead("limit", "a state key has 0 bytes"),
        ),
        once(
            "state-large-value",
            &format!(
                "(drop (memory.grow (i32.const 64))) {}",
                set(&text(KEY, 3), &text(0, 2 << 20))
            ),
            Dead("limit", "limit state_value_bytes"),
        ),
        Kind {
            settings: "[limits]\ntime_ms = 20000\nstate_bytes = 1000000\n[retry]\nattempts = 1\n",
            ..once(
                "state-flood",
                &set(&text(KEY, 3), &text(0, 60_000)).repeat(20),
                Dead("limit", "limit state_bytes"),
            )
        },
        once("line-not-utf8", &line(&text(NOT_UTF8, 4)), Dead("trap", "utf-8")),
        once("line-absurd-length", &line(&text(0, u32::MAX)), Dead("trap", "")),
        ever(
            "line-flood",
            &line(&text(TYPE, 12)),
            Dead("limit", "limit host_calls"),
        ),
        once("lines-cut", &line(&text(8192, 50_000)).repeat(200), Done),
        ever(
            "scan-flood",
            &format!(
                "(call $scan {} {none} (i32.const -1) (i32.const {ANSWER}))",
                text(KEY, 0)
            ),
            Dead("limit", "limit host_calls"),
        ),
        ever(
            "random-flood",
            &format!("(call $bytes (i32.const -1) (i32.const {ANSWER}))"),
            Dead("memory", "limit memory_bytes"),
        ),
        guest(
            "timer-at-the-end-of-time",
            |guest| {
                // Name, moment, type, no subject, no key, no content type, data.
                let words = [
                    KEY,
                    3,
                    0,
                    0,
                    u32::MAX,
                    u32::MAX,
                    TYPE,
                    12,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    NIL,
                    1,
                ];
                let bytes = words.map(u32::to_le_bytes).concat();
                guest.besides = format!("(data (i32.const 3072) \"{}\")", escaped(&bytes));
                guest.handle = format!("(call $timer (i32.const 3072) (i32.const {ANSWER})) {ok}");
            },
            Done,
        ),
    ]
}
