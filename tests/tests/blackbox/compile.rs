//! Compiling happens in a process that has given up what it does not need, and whose end harms nobody.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nerve_tests::{Host, program};

/// Drop `fixtures/counter` with this limit; answers why it is refused.
fn refused(host: &mut Host, limit: &str) -> String {
    fs::write(host.path("plugins/counter.toml"), format!("[limits]\n{limit}\n")).unwrap();
    host.drop_built("fixtures/counter");
    let mut reason = String::new();
    host.until("it is refused", |host| {
        let plugin = host.plugin("counter");
        let said = plugin
            .pointer("/refused/reason")
            .and_then(|reason| reason.as_str());
        said.unwrap_or_default().clone_into(&mut reason);
        !reason.is_empty()
    });
    reason
}

#[test]
fn compiling_too_long_or_with_too_much_memory_is_refused_by_the_name_of_the_limit() {
    for (limit, says) in [
        (
            "compile_ms = 1",
            "limit compile_ms: it took longer than 1 ms to compile; raise limits.compile_ms",
        ),
        (
            "compile_memory_bytes = 50000000",
            "limit compile_memory_bytes: it took more than 50000000 bytes of memory",
        ),
    ] {
        let mut host = Host::start(&[]);
        let reason = refused(&mut host, limit);
        assert!(reason.contains(says), "{limit}: {reason}");
        fs::remove_file(host.path("plugins/counter.toml")).unwrap();
        host.until("within the limits it is live", |host| {
            host.plugin("counter")["status"] == "live"
        });
    }
}

#[test]
fn the_process_that_compiles_gives_up_what_it_does_not_need_before_it_reads() {
    let mut child = Command::new(program())
        .args([
            "compile-component",
            "--memory-bytes",
            "1000000000",
            "--cpu-seconds",
            "7",
            "--code=optimized",
        ])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    // Landlock comes last, and takes the right to gain privileges; not a byte was written yet.
    let begun = Instant::now();
    while !of("status").contains("NoNewPrivs:\t1") {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", of("status"));
        std::thread::yield_now();
    }
    let limits = of("limits");
    for (name, most) in [
        ("Max address space", "1000000000"),
        ("Max cpu time", "7"),
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "4"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[26..].split_whitespace().next(), Some(most), "{line}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
