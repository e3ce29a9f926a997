//! TLS with certificates that are made here: whom commands trust, what is renewed while the host runs, and what is refused.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nerve_tests::program;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::access::{Started, nerve, refused, said};

const LISTEN: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--tls-cert",
    "cert.pem",
    "--tls-key",
    "key.pem",
];

/// Somebody who vouches for hosts.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One whose certificate is in the file `name`.
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join(name), issuer.pem()).unwrap();
        Self(issuer)
    }

    /// A new certificate for this machine, good until this year, with its key.
    fn vouch(&self, folder: &Path, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    }
}

#[test]
fn commands_trust_a_host_for_whom_somebody_they_know_vouches_and_a_new_certificate_cuts_off_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (old, new) = (Authority::new(path, "old.pem"), Authority::new(path, "new.pem"));
    old.vouch(path, 2100);
    let host = Started::with(path, &LISTEN);
    let server = host.server();
    assert!(server.starts_with("https://127.0.0.1:"), "{server}");
    assert_eq!(
        std::fs::read_to_string(path.join("data/address")).unwrap().trim(),
        server
    );
    let ask = |authority: &str, args: &[&str]| {
        nerve(
            path,
            &[],
            &[&["--server", &server, "--ca-file", authority][..], args].concat(),
        )
    };
    said(&ask("old.pem", &["publish", "a.b", "1", "--id", "one"]));
    said(&nerve(
        path,
        &[("NERVE_CA_FILE", "old.pem")],
        &["--server", &server, "log", "info"],
    ));
    let stranger = ask("new.pem", &["log", "info"]);
    assert_eq!(refused(&stranger), ("unreachable".to_owned(), 6));
    let text = String::from_utf8_lossy(&stranger.stdout);
    assert!(
        text.contains("can't show that it is the host") && text.contains("--ca-file"),
        "{text}"
    );
    assert_eq!(
        refused(&nerve(path, &[], &["--server", &server, "log", "info"])).1,
        6,
        "the public knows nobody here"
    );
    let plain = server.replace("https", "http");
    assert_ne!(
        refused(&nerve(path, &[], &["--server", &plain, "log", "info"])).1,
        0
    );
    for (file, says) in [("none.pem", "can't be read"), ("key.pem", "no certificate")] {
        let output = ask(file, &["log", "info"]);
        assert_eq!(refused(&output).1, 2);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(says),
            "{output:?}"
        );
    }

    // Somebody follows while the certificate is renewed by another authority.
    let mut follower = Command::new(program())
        .current_dir(path)
        .args([
            "--server",
            &server,
            "--ca-file",
            "old.pem",
            "--output",
            "json",
            "events",
            "--follow",
            "--after",
            "0",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["offset"].clone();
    assert_eq!(next(), 1);
    // The key that is there alone by now belongs to no certificate: the old pair is shown on.
    let whole = std::fs::read(path.join("cert.pem")).unwrap();
    new.vouch(path, 2100);
    let renewed = std::fs::read(path.join("cert.pem")).unwrap();
    std::fs::write(path.join("cert.pem"), whole).unwrap();
    said(&ask("old.pem", &["log", "info"]));
    std::fs::write(path.join("cert.pem"), renewed).unwrap();
    said(&ask("new.pem", &["publish", "a.b", "1", "--id", "two"]));
    assert_eq!(refused(&ask("old.pem", &["log", "info"])).1, 6);
    assert_eq!(next(), 2, "who was connected stays so");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn files_that_make_no_tls_are_refused_with_what_is_wrong_with_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let authority = Authority::new(path, "ca.pem");
    let start = |args: &[&str]| {
        let output = nerve(path, &[], &[&["run"][..], args].concat());
        assert_eq!(refused(&output), ("usage".to_owned(), 2));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        value["error"]["detail"].as_str().unwrap().to_owned()
    };
    assert!(
        start(&LISTEN).contains("cert.pem can't be read"),
        "{}",
        start(&LISTEN)
    );
    authority.vouch(path, 2100);
    assert!(start(&LISTEN[..4]).contains("name the other file with --tls-key"));
    let swapped = ["--tls-cert", "key.pem", "--tls-key", "cert.pem"];
    assert!(start(&swapped).contains("key.pem has no certificate in PEM form"));
    let twice = ["--tls-cert", "cert.pem", "--tls-key", "cert.pem"];
    assert!(start(&twice).contains("cert.pem has no private key in PEM form"));
    std::fs::copy(path.join("key.pem"), path.join("other.pem")).unwrap();
    authority.vouch(path, 2100);
    let mixed = ["--tls-cert", "cert.pem", "--tls-key", "other.pem"];
    assert!(start(&mixed).contains("other.pem is not that of the certificate in cert.pem"));
    authority.vouch(path, 2021);
    let expired = start(&LISTEN);
    assert!(
        expired.contains("cert.pem expired at 2021-01-01T00:00:00Z: renew it"),
        "{expired}"
    );
    assert!(!path.join("data/log").exists(), "nothing was begun");
}
