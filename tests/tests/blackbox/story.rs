//! `nerve demo`: every claim holds, and what is kept goes on.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_story_holds_and_its_host_goes_on_where_it_is_kept() {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target-wasm");
    let folder = tempfile::tempdir().unwrap();
    let args = ["--output", "json", "demo", "--keep", "--built", built];
    let output = nerve_tests::nerve(folder.path(), &args);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told["claims"].as_u64() > Some(50), "{told}");
    let kept = |part: &str| told["kept"][part].as_str().unwrap().to_owned();
    let page = ureq::get(&format!("{}/", kept("address"))).call();
    let page = page.unwrap().body_mut().read_to_string().unwrap();
    assert!(page.contains("<html"), "the dashboard is open: {page}");
    let ended = Command::new("kill").arg(told["kept"]["pid"].to_string()).status();
    assert!(ended.unwrap().success());
    // Until it has ended, it writes there.
    while std::fs::remove_dir_all(kept("folder")).is_err() {
        std::thread::yield_now();
    }
}
