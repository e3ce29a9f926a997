//! Making a plugin: its crate, its component, and `nerve dev`, with the real tool chain.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nerve_tests::{Host, program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long cargo and the host may take for one step.
const LONGEST: Duration = Duration::from_mins(8);

/// `nerve`, with a folder for cargo's output where the standard library is built already.
fn nerve(folder: &Path) -> Command {
    let mut command = Command::new(program());
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target-wasm/cargo");
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", built)
        .env_remove("NERVE_SERVER")
        .stdin(Stdio::null());
    command
}

/// Run it, which must succeed, and answer what it says.
fn said(command: &mut Command) -> Value {
    let output = command.args(["--output", "json"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A new plugin's crate in a folder of its own, with the versions of the shop's crates.
fn new_plugin(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    said(nerve(folder.path()).args(["plugin", "new", name]));
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/Cargo.lock");
    let made = folder.path().join(name);
    fs::copy(lock, made.join("Cargo.lock")).unwrap();
    (folder, made)
}

#[test]
fn a_new_plugin_is_built_dropped_and_answers() {
    let (folder, made) = new_plugin("greeter-new");
    let source = fs::read_to_string(made.join("src/lib.rs")).unwrap();
    let mut host = Host::start(&[]);
    let (plugins, server) = (host.path("plugins"), host.address().to_owned());
    let build = || {
        let mut command = nerve(folder.path());
        command
            .args(["--server", &server, "plugin", "build", "greeter-new", "--into"])
            .arg(&plugins);
        command
    };
    for _ in 0..2 {
        let told = said(&mut build());
        assert_eq!(
            (&told["name"], &told["status"]),
            (&json!("greeter-new"), &json!("live"))
        );
    }
    let offset = host.publish("user.registered", "a", Some("ann"), &json!({ "user": "ann" }));
    assert_eq!(host.state("greeter-new", "greeted/ann", offset), 1);

    fs::write(plugins.join("greeter-new.toml"), "[limits]\ntime_msec = 5\n").unwrap();
    host.until("the settings are refused", |host| {
        !host.plugin("greeter-new")["refused"].is_null()
    });
    fs::write(made.join("src/lib.rs"), source.replace("hello", "good day")).unwrap();
    let refused = build().output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && told.contains("did you mean `time_ms`"),
        "{told}"
    );
}

/// `nerve dev` and the lines that it prints.
struct Dev {
    process: Child,
    lines: Receiver<Value>,
}

impl Dev {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut process = nerve(folder)
            .args(["--output", "json", "dev", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|bad| panic!("{line}: {bad}"));
                if tell.send(value).is_err() {
                    return;
                }
            }
        });
        Self { process, lines }
    }

    /// The next line of this kind; what stands between is passed over.
    fn next(&self, kind: &str) -> Value {
        let mut passed = Vec::new();
        loop {
            let line = self.lines.recv_timeout(LONGEST);
            let line =
                line.unwrap_or_else(|ended| panic!("no line of kind {kind} ({ended}) behind {passed:#?}"));
            if line["kind"] == kind {
                return line;
            }
            passed.push(line);
        }
    }

    /// What the plugin logs of the next event.
    fn next_line(&self) -> Value {
        self.next("outcome")["lines"][0]["text"].clone()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_saved_source_goes_live_a_broken_one_changes_nothing_and_settings_count_too() {
    let (folder, made) = new_plugin("greeter-dev");
    let example = r#"{"type":"user.registered","key":"ann","data":{"user":"ann"}}"#;
    fs::write(folder.path().join("examples.jsonl"), example).unwrap();
    let mut dev = Dev::start(folder.path(), &["greeter-dev", "--publish", "examples.jsonl"]);
    let address = dev.next("host")["address"].as_str().unwrap().to_owned();
    assert_eq!(dev.next("built")["ok"], true);
    let live = dev.next("live");
    assert_eq!(live["plugin"], "greeter-dev");
    assert!(live["after_cargo_ms"].is_u64(), "{live}");
    assert_eq!(dev.next_line(), "hello ann, time 1");

    let source = made.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("info!(", "nothing_of_this_name!(")).unwrap();
    let broken = dev.next("built");
    assert_eq!(broken["ok"], false);
    assert!(
        broken["messages"].to_string().contains("nothing_of_this_name"),
        "{broken}"
    );
    let again = nerve(folder.path())
        .args([
            "--server",
            &address,
            "publish",
            "user.registered",
            r#"{"user":"ann"}"#,
        ])
        .args(["--key", "ann", "--wait", "greeter-dev", "--wait-seconds", "60"])
        .status();
    assert!(again.unwrap().success());
    assert_eq!(
        dev.next_line(),
        "hello ann, time 2",
        "the version before stays live, with its state"
    );

    fs::write(&source, text.replace("hello {user}", "good day {user}")).unwrap();
    assert_eq!(dev.next("built")["ok"], true);
    assert_ne!(dev.next("live")["version"], live["version"]);
    assert_eq!(dev.next_line(), "good day ann, time 3");

    let settings = made.join("greeter-dev.toml");
    fs::write(&settings, "[limits]\ntime_msec = 5\n").unwrap();
    let refused = dev.next("refused");
    assert!(
        refused["reason"].as_str().unwrap().contains("time_msec"),
        "{refused}"
    );
    fs::write(&settings, "[limits]\ntime_ms = 500\n").unwrap();
    dev.next("live");
    assert_eq!(dev.next_line(), "good day ann, time 4");

    let pid = dev.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    dev.next("stopped");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
}

/// A workspace with the crates of these plugins, each with its source.
fn workspace(plugins: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sdk = root.join("sdk").canonicalize().unwrap();
    let manifest = fs::read_to_string(root.join("plugins/Cargo.toml")).unwrap();
    let manifest = manifest.replace("\"../sdk\"", &format!("\"{}\"", sdk.display()));
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("plugins/Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    for (name, source) in plugins {
        said(nerve(folder.path()).args(["plugin", "new", name]));
        fs::write(folder.path().join(name).join("src/lib.rs"), source).unwrap();
    }
    folder
}

/// A plugin that says what each order costs, with these `fields` of it.
fn apples(fields: &str, cost: &str) -> String {
    format!(
        r#"
        //! Sells.
        use nerve_sdk::prelude::*;

        #[derive(Event, Serialize, Deserialize)]
        #[event(type = "basket.bought", key = "user")]
        struct Bought {{ user: String }}

        #[derive(Event, Serialize, Deserialize)]
        #[event(type = "order.made", key = "user")]
        struct Made {{ user: String, {fields} }}

        struct Apples;

        #[plugin(emits(Made))]
        impl Apples {{
            #[on]
            fn bought(ctx: &mut Context<Self>, event: Delivered<Bought>) -> Result<(), Failure> {{
                ctx.emit(&Made {{ user: event.into_data().user, {cost} }})?;
                Ok(())
            }}
        }}
        "#
    )
}

/// A plugin that needs these `fields` of an order, and says it knows of one.
fn books(fields: &str) -> String {
    format!(
        r#"
        //! Keeps account.
        use nerve_sdk::prelude::*;

        #[derive(Event, Serialize, Deserialize)]
        #[event(type = "order.made", key = "user")]
        struct Made {{ user: String, {fields} }}

        struct Books;

        #[plugin()]
        impl Books {{
            #[on]
            fn made(_: &mut Context<Self>, event: Delivered<Made>) -> Result<(), Failure> {{
                info!("an order of {{}}", event.into_data().user);
                Ok(())
            }}
        }}
        "#
    )
}

#[test]
fn a_field_that_changes_in_two_plugins_at_once_comes_in_the_order_that_their_contracts_want() {
    let folder = workspace(&[
        ("apples", apples("cents: u64", "cents: 1")),
        ("books", books("cents: u64")),
    ]);
    let save = |made: String, kept: String| {
        // Together, for the one that is built behind the other would be another build.
        for (name, source) in [("apples", made), ("books", kept)] {
            let (beside, to) = (folder.path().join("target.tmp~"), folder.path().join(name));
            fs::write(&beside, source).unwrap();
            fs::rename(&beside, to.join("src/lib.rs")).unwrap();
        }
    };
    let dev = Dev::start(folder.path(), &["."]);
    let live = || {
        let live = [dev.next("live"), dev.next("live")];
        live.map(|line| (line["plugin"].clone(), line["now_that"].clone()))
    };
    live();

    // The order no longer has a field: the plugin that needs it has to let go of it first, and the other is tried again.
    save(apples("", ""), books(""));
    let refused = dev.next("refused");
    assert_eq!(refused["plugin"], "apples", "{refused}");
    assert_eq!(
        live(),
        [(json!("books"), json!([])), (json!("apples"), json!(["books"]))]
    );

    // A field has another name: neither can go first, until somebody lets one.
    save(apples("euros: u64", "euros: 1"), books("euros: u64"));
    live();
    save(apples("dollars: u64", "dollars: 1"), books("dollars: u64"));
    let stuck = dev.next("stuck");
    assert_eq!(stuck["plugins"], json!(["apples", "books"]));
    fs::write(
        folder.path().join("apples/apples.toml"),
        "[contracts]\ndeploy = \"warn\"\n",
    )
    .unwrap();
    assert_eq!(
        live(),
        [(json!("apples"), json!([])), (json!("books"), json!(["apples"]))]
    );
}

#[test]
fn a_plugin_that_comes_into_the_folder_is_built_and_saved_like_the_others_and_one_that_goes_is_removed() {
    let folder = workspace(&[("apples", apples("cents: u64", "cents: 1"))]);
    let dev = Dev::start(folder.path(), &["."]);
    assert_eq!(dev.next("live")["plugin"], "apples");

    said(nerve(folder.path()).args(["plugin", "new", "books"]));
    assert_eq!(dev.next("live")["plugin"], "books");
    fs::write(folder.path().join("books/src/lib.rs"), books("cents: u64")).unwrap();
    assert_eq!(dev.next("live")["plugin"], "books");

    // One that goes and comes back at once is another folder.
    let (books_made, aside) = (folder.path().join("books"), tempfile::tempdir().unwrap());
    fs::rename(&books_made, aside.path().join("books")).unwrap();
    fs::create_dir_all(books_made.join("src")).unwrap();
    for file in ["Cargo.toml", "src/lib.rs"] {
        fs::copy(aside.path().join("books").join(file), books_made.join(file)).unwrap();
    }
    dev.next("built");
    let source = books("cents: u64").replace("an order of", "one more order of");
    fs::write(books_made.join("src/lib.rs"), source).unwrap();
    assert_eq!(dev.next("live")["plugin"], "books");

    fs::remove_dir_all(books_made).unwrap();
    assert_eq!(dev.next("removed")["plugin"], "books");
    let source = apples("cents: u64", "cents: 2");
    fs::write(folder.path().join("apples/src/lib.rs"), source).unwrap();
    assert_eq!(dev.next("live")["plugin"], "apples");
}
