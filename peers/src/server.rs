//! A server that runs for one measurement: on loopback, in a folder of its own, stopped by its process id when it is
//! dropped, however the measurement ended.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

/// How long a server may take until it is ready.
const LONGEST_START: Duration = Duration::from_secs(20);

/// Lines of a server that are shown when it does not start.
const LINES: usize = 10;

/// A running server.
pub struct Server {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Server {
    /// Start `program` as `prepare` tells it to, which gets its folder, made in `beside`, and its port; it is ready once
    /// it prints a line that contains `ready`, to standard output or error.
    pub fn start(
        program: &Path,
        beside: &Path,
        ready: &str,
        prepare: impl FnOnce(&mut Command, &Path, u16) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("peers-")
            .tempdir_in(beside)
            .with_context(|| format!("a folder in {}", beside.display()))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new(program);
        prepare(&mut command, folder.path(), port)?;
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} can't be started", program.display()))?;
        let mut server = Self { child, folder, port };
        server
            .wait(ready)
            .with_context(|| format!("{} did not start", program.display()))?;
        Ok(server)
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Wait for the line that says that the server is ready, and go on reading what it prints.
    fn wait(&mut self, ready: &str) -> anyhow::Result<()> {
        let (sender, lines) = mpsc::channel();
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        read_lines(out, sender.clone());
        read_lines(err, sender);
        let mut last = VecDeque::new();
        loop {
            let why = match lines.recv_timeout(LONGEST_START) {
                Ok(line) if line.contains(ready) => return Ok(()),
                Ok(line) => {
                    last.push_back(line);
                    if last.len() > LINES {
                        last.pop_front();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => "it ended",
                Err(RecvTimeoutError::Timeout) => "it is not ready",
            };
            let said = Vec::from(last).join("\n    ");
            bail!("{why}; the last it said:\n    {said}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The folder goes with it: nothing is lost by ending it at once, and waiting lets nobody write into it any more.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
        debug_assert!(self.folder.path().exists(), "the folder outlives the server");
    }
}

/// Send the lines to whoever still listens, and read on so that the server is never held up.
fn read_lines(from: Option<impl Read + Send + 'static>, to: mpsc::Sender<String>) {
    let Some(from) = from else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.send(line).ok();
        }
    });
}

/// What the program says to `--version`, without what it was built with.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let said = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("{} can't be run", program.display()))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = said.lines().next().unwrap_or_default();
    Ok(line.split(" sha=").next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, beside: &Path) -> anyhow::Result<Server> {
        Server::start(Path::new("/bin/sh"), beside, "ready", |command, _, port| {
            command.args(["-c", script, "sh", &port.to_string()]);
            Ok(())
        })
    }

    #[test]
    fn a_dropped_server_has_ended_and_its_folder_is_gone() {
        let beside = tempfile::tempdir().unwrap();
        let server = shell("echo $$; echo ready on $1; exec tail -f /dev/null", beside.path()).unwrap();
        let process = format!("/proc/{}", server.child.id());
        assert!(Path::new(&process).exists());
        drop(server);
        assert!(!Path::new(&process).exists(), "it was ended, and waited for");
        assert_eq!(std::fs::read_dir(beside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_server_that_ends_at_once_is_shown_with_what_it_said() {
        let beside = tempfile::tempdir().unwrap();
        let refused = shell("echo the port is taken >&2; exit 1", beside.path())
            .err()
            .unwrap();
        let said = format!("{refused:#}");
        assert!(
            said.contains("it ended") && said.contains("the port is taken"),
            "{said}"
        );
        assert_eq!(std::fs::read_dir(beside.path()).unwrap().count(), 0);
    }
}
