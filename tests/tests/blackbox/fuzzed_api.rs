//! The API as its document says it is: `schemathesis` asks a real host whatever the document allows and does not allow, and holds
//! every answer against the document.

use std::path::Path;
use std::process::Command;

use nerve_tests::Host;
use serde_json::json;

use crate::cloud_events::interpreter;

/// What is held of every answer: that it is no fault of the host's, and that status, type, headers and body are as documented.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method";

/// Requests for each operation, about; `NERVE_PROOF_SCALE` asks for more.
const EXAMPLES: u64 = 5;

#[test]
fn the_api_answers_as_its_document_says_whatever_it_is_asked() {
    let host = Host::start(&["fixtures/counter", "fixtures/trap"]);
    for id in ["a", "b"] {
        host.publish("test.x", id, Some("k"), &json!({ "id": id }));
        host.publish("test.trap", &format!("trap-{id}"), None, &json!({}));
    }
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let scale: u64 = number("NERVE_PROOF_SCALE", 1);
    let seed: u64 = number("NERVE_PROOF_SEED", 1);
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/hooks.py");
    let document = host.path("openapi.json");
    std::fs::write(&document, host.text("/openapi.json")).unwrap();
    let asked = |args: &[&str]| {
        let mut command = Command::new(interpreter());
        let out = command
            .current_dir(host.path("."))
            .env("SCHEMATHESIS_HOOKS", &hooks)
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}\nthe host says:\n{}", host.said());
        said
    };
    let document = document.display().to_string();
    assert!(asked(&["-m", "openapi_spec_validator", &document]).contains("OK"));
    let said = asked(&[
        "-m",
        "schemathesis.cli",
        "run",
        &format!("{}/openapi.json", host.address()),
        "--phases",
        "coverage,fuzzing",
        "--checks",
        CHECKS,
        "--max-examples",
        &(EXAMPLES * scale).to_string(),
        "--seed",
        &seed.to_string(),
        "--request-timeout",
        "30",
        "--suppress-health-check",
        "all",
        "--no-color",
    ]);
    assert!(said.contains("generated"), "{said}");
    assert!(!host.said().contains("panicked"), "{}", host.said());
    host.publish("test.x", "last", None, &json!({}));
    assert_eq!(host.get("/readyz").status, 200);
}
