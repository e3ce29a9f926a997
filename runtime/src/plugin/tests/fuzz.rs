//! Fuzzing of `NAME.toml` and of what a plugin says of itself: nothing panics, a refusal is a short text, and what is
//! accepted can be used.

use std::time::Duration;

use nerve_eventlog::Micros;
use nerve_eventlog::proof::{Mutator, fuzz};

use crate::contract::{Schema, Verdict, accepts};
use crate::delivery::subscription::{Pattern, check_type};
use crate::plugin::manifest::Manifest;
use crate::plugin::name::PluginName;
use crate::plugin::settings::Settings;
use crate::plugin::v1::exports::nerve::plugin::handler as wit;

/// A refusal, as the kind of outcome that it is.
fn refused(refusal: &dyn std::error::Error, longest: usize) -> String {
    let text = refusal.to_string();
    assert!(
        !text.is_empty() && text.len() < longest,
        "a refusal of {} bytes: {text}",
        text.len()
    );
    text.chars().filter(char::is_ascii_lowercase).take(60).collect()
}

fn settings(text: &str) -> String {
    match Settings::parse(text) {
        // The line that is wrong is shown.
        Err(refusal) => refused(&refusal, 2048 + 2 * text.len()),
        Ok(settings) => {
            assert_eq!(
                Settings::parse(text).as_ref(),
                Ok(&settings),
                "{text:?} says the same every time"
            );
            let policy = settings.retry;
            for (attempt, dice) in [(1, 0.0), (policy.attempts, 0.5), (u32::MAX, 1.0)] {
                let due = policy.after(attempt, Micros(5), Some(Duration::MAX), dice);
                assert!(due >= Micros(5));
                policy.due(attempt, Micros(u64::MAX), None, dice);
            }
            assert!(!policy.shown().is_empty() && !settings.limits.shown().is_empty());
            format!(
                "{:?} {:?} {}",
                settings.start,
                policy.at_end,
                settings.config.len()
            )
        }
    }
}

#[test]
fn fuzz_settings() {
    let corpus = [
        "start = \"beginning\"\nisolation = \"event\"\n[limits]\ntime_ms = 5\nmemory_bytes = 65536\n[config]\nname = \"x\"\nn = 3\nb = true\nf = 1.5\n",
        "[retry]\nattempts = 2\nfirst_ms = 10\nlongest_ms = 60000\nfactor = 2.0\njitter = 0.2\nat_end = \"pause\"\noutage_keys = 3\n",
        "[grants]\nhttp = [\"GET,POST api.example.com:443\", \"GET [::1]:80\"]\n",
        "[limits]\nemits = 1\nemit_bytes = 2\nlog_lines = 3\nlog_line_bytes = 4\nstate_value_bytes = 5\nstate_bytes = 6\ntimers = 7\nhost_calls = 9\n",
        "",
    ];
    let corpus = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    let words = [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "18446744073709551615",
        "9223372036854775807",
        "-1",
        "0",
        "[limits]",
        "[retry]",
        "[config]",
        "[grants]",
        "factor = ",
        "jitter = ",
        "first_ms = ",
        "longest_ms = ",
        "= [[",
        "\"\"\"",
        "'''",
        "{ a = 1 }",
        "2026-01-02T03:04:05Z",
        "\\u0000",
        "\u{feff}",
        "\r\n",
        "a.b.c = 1\n",
        ":0",
        ":65536",
        "*",
    ];
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let fuzzed = fuzz("fuzz: settings", Mutator::new(&words), corpus, |input| {
        settings(&String::from_utf8_lossy(input))
    });
    assert!(fuzzed.outcomes > 20, "{fuzzed:?}");
}

/// A manifest of lines, each of a letter that names what it adds, and a text.
fn manifest(text: &str) -> wit::Manifest {
    let mut said = wit::Manifest {
        name: "x".into(),
        version: String::new(),
        subscriptions: vec![],
        emits: vec![],
        payload: wit::PayloadFormat::MessagePack,
        schemas: vec![],
        asks: vec![],
        readable: vec![],
    };
    for line in text.split('\n') {
        let kind = line.chars().next().unwrap_or('?');
        let rest = line[kind.len_utf8().min(line.len())..].to_owned();
        match kind {
            'n' => said.name = rest,
            'v' => said.version = rest,
            's' => said.subscriptions.push(rest),
            'S' => said.subscriptions.resize(said.subscriptions.len() + 999, rest),
            'e' => said.emits.push(rest),
            'j' => said.payload = wit::PayloadFormat::Json,
            'c' => {
                let (event_type, json) = rest.split_once(' ').unwrap_or((&rest, ""));
                said.schemas.push(wit::Schema {
                    event_type: event_type.to_owned(),
                    role: wit::Role::Emits,
                    json: json.to_owned(),
                });
            }
            'a' => {
                let mut words = rest.split(' ').map(str::to_owned);
                said.asks.push(wit::Ask {
                    capability: words.next().unwrap_or_default(),
                    scope: words.collect(),
                });
            }
            'r' => said.readable.push(rest),
            _ => {}
        }
    }
    said
}

fn describe(text: &str) -> String {
    let name = PluginName::parse("x").unwrap();
    match Manifest::check(&name, manifest(text)) {
        Err(refusal) => refused(&refusal, 2048),
        Ok(manifest) => {
            for pattern in &manifest.subscriptions {
                let again: Pattern = pattern.to_string().parse().unwrap();
                assert_eq!(*pattern, again, "a pattern is read as it was written");
                let example = pattern.to_string().replace(['*', '>'], "x");
                assert!(
                    check_type(&example).is_ok() && pattern.matches(&example),
                    "{pattern}"
                );
            }
            assert!(!manifest.subscriptions.is_empty());
            for declared in &manifest.schemas {
                match declared.json.parse::<Schema>() {
                    Err(bad) => drop(refused(&bad, 2048)),
                    Ok(schema) => {
                        let itself = accepts(&schema, &schema);
                        assert!(
                            !matches!(itself, Verdict::Breaking(_)),
                            "{}: {itself:?}",
                            declared.json
                        );
                        schema.check(&[0x81, 0xa1, b'a', 0xc0]);
                    }
                }
            }
            assert!(manifest.emits.iter().all(|name| check_type(name).is_ok()));
            let missing = crate::plugin::grants::Grants::default().missing(&manifest.asks);
            format!("{} {} {missing:?}", manifest.json, manifest.schemas.len().min(3))
        }
    }
}

#[test]
fn fuzz_descriptions() {
    let corpus = [
        "nx\nv1.0\nsorder.*\nsuser.>\neorder.placed\nj\ncorder.placed {\"type\":\"object\"}\nahttp GET api.example.com:443\nropen/",
        "nx\ns>\nco {\"type\":[\"object\",\"null\"],\"properties\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"enum\":[1,null]}]}},\"required\":[\"a\"],\"additionalProperties\":false,\"$defs\":{\"n\":{\"minimum\":0,\"multipleOf\":2}}}",
        "nx\nS>\nsa",
        "nx\nv\nsa\nc{\"a\":[1,2,{\"b\":null}]}",
        "nx\ns*.*\nahttp GET,POST host:80\nahttp\na",
    ];
    let corpus = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    let words = [
        "\ns", "\ne", "\nahttp ", "\nc", "\nS", ">", "*", ".", "..", "order", "GET", "[::1]", ":443",
        "[[[[[[[[", "\u{0}", "ü",
    ];
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let fuzzed = fuzz(
        "fuzz: descriptions of plugins",
        Mutator::new(&words),
        corpus,
        |input| describe(&String::from_utf8_lossy(input)),
    );
    assert!(fuzzed.outcomes > 10, "{fuzzed:?}");
}

#[test]
#[should_panic(expected = "a refusal of")]
fn the_fuzzer_notices_a_refusal_that_says_too_much() {
    let long = format!("ny\nv{}", "x".repeat(9));
    refused(
        &Manifest::check(&PluginName::parse("x").unwrap(), manifest(&long)).unwrap_err(),
        10,
    );
}
