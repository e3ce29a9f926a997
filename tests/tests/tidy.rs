//! The rules of the repository, as tests: which room may know what, how files begin, and that every invariant has a
//! guard.
#![expect(clippy::unwrap_used, reason = "a test ends when something is wrong")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the longest file; what is longer holds two things.
const LONGEST: usize = 500;

/// Files that are longer, and why that is right.
const LONG: &[(&str, &str)] = &[];

/// Folder, and what its files must not mention.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "runtime/eventlog/src",
        &["tokio", "wasmtime", "rmp_serde", "serde_json", "plugin"],
    ),
    (
        "runtime/src/delivery",
        &[
            "wasmtime",
            "serde_json",
            "axum",
            "crate::plugin",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/state",
        &[
            "wasmtime",
            "serde_json",
            "axum",
            "tokio",
            "crate::plugin",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/log",
        &[
            "wasmtime",
            "serde_json",
            "axum",
            "crate::plugin",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/trace",
        &[
            "wasmtime",
            "serde_json",
            "axum",
            "crate::plugin",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/otlp",
        &[
            "wasmtime",
            "serde_json",
            "axum",
            "crate::plugin",
            "crate::host",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/doctor",
        &[
            "wasmtime",
            "axum",
            "tokio",
            "crate::plugin",
            "crate::host",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/host",
        &["serde_json", "axum", "crate::http", "crate::cli"],
    ),
    (
        "runtime/src/trial",
        &["axum", "wasmtime", "crate::http", "crate::cli"],
    ),
    ("runtime/src/plugin", &["axum", "crate::http", "crate::cli"]),
    (
        "runtime/src/ingest",
        &["axum", "wasmtime", "crate::http", "crate::cli"],
    ),
    (
        "runtime/src/cloud_event",
        &[
            "axum",
            "wasmtime",
            "tokio",
            "crate::plugin",
            "crate::host",
            "crate::http",
            "crate::cli",
        ],
    ),
    (
        "runtime/src/contract",
        &["axum", "wasmtime", "crate::plugin", "crate::http", "crate::cli"],
    ),
    ("runtime/src/http", &["wasmtime", "crate::cli"]),
];

/// Bytes of the largest file: what is larger is made by a script, where it is needed.
const LARGEST: u64 = 256 << 10;

/// Names that say nothing of what a file is for.
const EMPTY_NAMES: &[&str] = &[
    "utils.rs",
    "util.rs",
    "helpers.rs",
    "common.rs",
    "manager.rs",
    "misc.rs",
    "mod.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of the repository: its path from the root, and its text.
fn files() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["runtime", "sdk", "plugins", "tests", "peers"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                out.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(out.len() > 100, "the files are found");
    out
}

/// The text of a file without its tests and comments, which may speak of anything.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What breaks the rule of the layers.
fn layer_faults(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (folder, forbidden) in LAYERS {
        let inside = |name: &str| name.starts_with(&format!("{folder}/")) || name == format!("{folder}.rs");
        for (name, text) in files
            .iter()
            .filter(|(name, _)| inside(name) && !name.contains("/tests"))
        {
            let code = code(text);
            let uses = forbidden.iter().filter(|word| mentions(&code, word));
            faults.extend(uses.map(|word| format!("{name} knows {word}, which {folder} must not")));
        }
    }
    faults
}

/// Whether `code` has `word` as a path or crate: followed by `::`, or imported.
fn mentions(code: &str, word: &str) -> bool {
    code.contains(&format!("{word}::")) || code.contains(&format!("use {word};"))
}

#[test]
fn rooms_know_only_what_they_may() {
    // JSON is checked and transcoded where it enters, schemas where a plugin is described.
    let allowed = [
        "runtime/src/ingest/message_pack.rs",
        "runtime/src/plugin/manifest.rs",
    ];
    let faults: Vec<String> = layer_faults(&files())
        .into_iter()
        .filter(|fault| !allowed.iter().any(|name| fault.starts_with(name)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_rule_of_the_rooms_notices_a_fault() {
    let files = BTreeMap::from([(
        "runtime/src/delivery/x.rs".to_owned(),
        "use wasmtime::Engine;".to_owned(),
    )]);
    assert_eq!(layer_faults(&files).len(), 1);
}

#[test]
fn only_the_command_line_prints() {
    for (name, text) in files() {
        // A benchmark is a program of its own.
        let may = [
            "runtime/src/cli",
            "runtime/benches/",
            "tests/",
            "peers/src/main.rs",
        ]
        .iter()
        .any(|begin| name.starts_with(begin))
            || name.contains("/tests");
        let prints = ["println!(", "eprintln!(", "print!(", "stdout()"]
            .iter()
            .find(|word| code(&text).contains(**word));
        assert!(may || prints.is_none(), "{name} uses {prints:?}");
    }
}

#[test]
fn every_file_says_what_it_owns_and_holds_one_thing() {
    for (name, text) in files() {
        let compile_fail = name.contains("/mistakes/") || name.contains("/ui/");
        assert!(
            compile_fail || text.starts_with("//!"),
            "{name} does not begin with //!"
        );
        let lines = text.lines().count();
        let known = LONG.iter().any(|(long, _)| *long == name);
        assert!(
            known || lines <= LONGEST,
            "{name} has {lines} lines: which two things are in it?"
        );
        let file = name.rsplit('/').next().unwrap_or_default();
        assert!(!EMPTY_NAMES.contains(&file), "{name}: a name that says nothing");
    }
}

#[test]
fn nothing_large_is_kept() {
    let mut folders = vec![root()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let made = [".git", "target", "target-wasm"]
                .iter()
                .any(|name| path.ends_with(name));
            if path.is_dir() && !made {
                folders.push(path);
            } else if path.is_file() {
                files += 1;
                let bytes = fs::metadata(&path).unwrap().len();
                assert!(bytes <= LARGEST, "{} has {bytes} bytes", path.display());
            }
        }
    }
    assert!(files > 100, "the files are found");
}

#[test]
fn tests_neither_sleep_nor_are_skipped() {
    for (name, text) in files().into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for word in ["#[ignore", "thread::sleep(", "todo!(", "unimplemented!("] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
}

#[test]
fn every_invariant_is_guarded_by_a_test_that_names_it() {
    let all: String = files().into_values().collect();
    let missing: Vec<String> = (1..=12)
        .map(|n| format!("fn invariant_{n:02}_"))
        .filter(|name| !all.contains(name))
        .collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

#[test]
fn every_proof_of_make_soak_is_a_test_and_on_the_page() {
    let all: String = files().into_values().collect();
    let soak = fs::read_to_string(root().join("scripts/soak")).unwrap();
    let page = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let tests = soak.lines().filter_map(|line| {
        // ("package", "test", minutes)
        let parts: Vec<&str> = line.split('"').collect();
        (parts.len() == 5 && parts[2] == ", " && parts[4].starts_with(", ")).then(|| parts[3].to_owned())
    });
    let tests: Vec<String> = tests.collect();
    assert!(!tests.is_empty(), "the list is found");
    for test in tests {
        assert!(all.contains(&format!("fn {test}(")), "there is no test {test}");
        assert!(
            page.contains(&test),
            "docs/reliability.md does not speak of {test}"
        );
    }
}
