//! `nerve run`: run a host until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nerve_eventlog::{Durability, Options, SystemClock};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, fail};
use super::output::Printer;
use super::{DEFAULT_SERVER, Done};
use crate::access::{self, Access, TokensError};
use crate::host::{Host, HostOptions, Keep, Retention};
use crate::http::{Entrance, Tls};
use crate::ingest::SourceRate;
use crate::log::record::Mode;
use crate::otlp::OtlpOptions;
use crate::plugin::compiler::child::THIS_PROGRAM;
use crate::plugin::stack::Stack;

/// Threads that plugins may run on at a time. Threads are made when plugins have work, and end when they rest.
const MOST_THREADS: usize = 4096;

/// Run a host
#[derive(clap::Args)]
pub(super) struct Run {
    /// Folder of the log and everything that belongs to it
    #[arg(long, default_value = "data", env = "NERVE_DATA")]
    data: PathBuf,
    /// Watched folder of plugins
    #[arg(long, default_value = "plugins", env = "NERVE_PLUGINS")]
    plugins: PathBuf,
    /// Address to listen on, beyond loopback only where tokens were made; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7117", env = "NERVE_LISTEN", value_parser = super::given::listen)]
    listen: SocketAddr,
    /// Take requests without a token also beyond loopback, while no token was made: whoever reaches the address may do
    /// everything
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    allow_anonymous: bool,
    /// PEM file of the certificate, and of those between it and its root: the host takes connections over TLS; a new file counts
    /// from the next connection on
    #[arg(long)]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's key
    #[arg(long)]
    tls_key: Option<PathBuf>,
    /// What an acknowledgement survives: fsync (a power cut), os (the end of the process) or memory (nothing)
    #[arg(long, default_value = "fsync", env = "NERVE_DURABILITY")]
    durability: Durability,
    /// MiB of the newest records that are kept in memory
    #[arg(long, default_value_t = 256)]
    hot_mib: usize,
    /// MiB of the disk that are held back for settling what is in when the disk is full, at most an eighth of the
    /// disk; with 0 a full disk stops the host
    #[arg(long, default_value_t = 128)]
    reserve_mib: u64,
    /// KiB of stack that a plugin may use, 64 to 1024
    #[arg(long, default_value = "512")]
    stack_kib: Stack,
    /// Events per second that one source may publish [default: any number]
    #[arg(long)]
    source_rate: Option<u32>,
    /// Events that one source may publish at once after a pause [default: those of one second]
    #[arg(long)]
    source_burst: Option<u32>,
    /// Days after which the oldest records are dropped, in whole segments [default: never]
    #[arg(long)]
    retain_days: Option<u64>,
    /// MiB of the log beyond which the oldest records are dropped, in whole segments [default: any number is kept]
    #[arg(long)]
    retain_mib: Option<u64>,
    /// What becomes of events from outside that break their type's schema: enforce (they are refused), warn or off
    #[arg(long, default_value = "enforce", env = "NERVE_CONTRACTS")]
    contracts: Mode,
    /// Days after which the cursor and the state of a removed plugin are given up
    #[arg(long, default_value_t = 30)]
    keep_removed_days: u64,
    /// Days after which a version that is not live any more is given up, unless a rollback or a dead letter needs it
    #[arg(long, default_value_t = 30)]
    keep_versions_days: u64,
}

impl Run {
    pub(super) fn run(self, printer: &Printer) -> Done {
        start_tracing("info");
        runtime()?.block_on(self.serve(printer))
    }

    async fn serve(self, printer: &Printer) -> Done {
        let tokens = self.check_access()?;
        let tls = self.tls()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        if self.source_burst.is_some() && self.source_rate.is_none() {
            let message = "--source-burst says how many events may come at once, and --source-rate how many a second, which is missing";
            return Err(fail(Exit::Usage, message));
        }
        for folder in [&self.data, &self.plugins] {
            std::fs::create_dir_all(folder).with_context(|| {
                format!(
                    "{} can't be made or used; name another folder with --data or --plugins",
                    folder.display()
                )
            })?;
        }
        // The address first: who can't have it should not wait for the log.
        let (listener, address) = listen(self.listen).await?;
        let options = HostOptions {
            data: Some(self.data.clone()),
            plugins: Some(self.plugins.clone()),
            compiler: Some(THIS_PROGRAM.into()),
            stack: self.stack_kib,
            log: Options {
                durability: self.durability,
                hot_bytes: self.hot_mib << 20,
                reserve_bytes: self.reserve_mib << 20,
                ..Options::default()
            },
            source_rate: self.source_rate.map(|per_second| SourceRate {
                per_second,
                burst: self.source_burst.unwrap_or(per_second),
            }),
            retention: Retention {
                log: Keep {
                    time: self.retain_days.map(days),
                    bytes: self.retain_mib.map(|mib| mib.saturating_mul(1 << 20)),
                },
                removed: days(self.keep_removed_days),
                versions: days(self.keep_versions_days),
            },
            contracts: self.contracts,
            otlp: OtlpOptions::from_env().map_err(|bad| fail(Exit::Usage, bad.to_string()))?,
            ..HostOptions::default()
        };
        let opened = tokio::task::spawn_blocking(move || Host::open(options)).await?;
        let host = opened.with_context(|| format!("the host can't start on {}", self.data.display()))?;
        let pid = std::process::id();
        std::fs::write(self.data.join("pid"), format!("{pid}\n"))
            .with_context(|| format!("{} can't be written to", self.data.display()))?;
        // Written beside and renamed, so that nobody reads half an address.
        let beside = self.data.join(".address");
        std::fs::write(&beside, format!("{scheme}://{address}\n"))
            .and_then(|()| std::fs::rename(&beside, self.data.join("address")))
            .with_context(|| format!("{} can't be written to", self.data.display()))?;
        // Who is told that it is ready may stop it at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.tell(printer, &host, &format!("{scheme}://{address}"), tokens);
        tell_systemd(sd_notify::NotifyState::Ready);

        let stopping = host.clone();
        let asked = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = stopping.poisoned() => {}
            }
            tell_systemd(sd_notify::NotifyState::Stopping);
            stopping.announce_stop();
        };
        let anonymous = self.listen.ip().is_loopback() || self.allow_anonymous;
        let entrance = Entrance {
            access: Access::by_tokens(&self.data, anonymous, Arc::new(SystemClock)),
            tls,
        };
        crate::http::serve(host.clone(), listener, entrance, asked)
            .await
            .context("the HTTP server failed")?;
        host.stop()
            .await
            .context("the host did not stop cleanly; start it again to recover")?;
        printer.say("stopped: everything is settled and on disk");
        Ok(())
    }

    /// Refuse to start where everybody could use the host who reaches it; answers how many tokens there are, where any was made.
    fn check_access(&self) -> anyhow::Result<Option<usize>> {
        let made = match access::read(&self.data) {
            Err(TokensError::NoFolder(_)) => None,
            made => made?,
        };
        if made.is_some() || self.listen.ip().is_loopback() || self.allow_anonymous {
            return Ok(made.map(|made| made.len()));
        }
        let message = format!(
            "{} is not a loopback address, and no token was made for this host, so that whoever reaches it could do \
             everything: make one with `nerve token create NAME --scope read --scope operate --scope publish --data {}`, \
             listen on 127.0.0.1, or insist with --allow-anonymous",
            self.listen,
            self.data.display()
        );
        Err(fail(Exit::Denied, message))
    }

    /// What it shows who connects, where that is configured.
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (cert, _) => {
                let (is, misses) = match cert {
                    Some(_) => ("tls-cert", "tls-key"),
                    None => ("tls-key", "tls-cert"),
                };
                let message = format!("--{is} alone makes no TLS: name the other file with --{misses}");
                return Err(fail(Exit::Usage, message));
            }
        };
        let opened = Tls::open(cert, key);
        opened.map(Some).map_err(|bad| fail(Exit::Usage, bad.to_string()))
    }

    fn tell(&self, printer: &Printer, host: &Host, address: &str, tokens: Option<usize>) {
        let (bounds, status) = (host.log().bounds(), host.log_status());
        let value = json!({
            "address": address,
            "data": self.data,
            "plugins": self.plugins,
            "durability": self.durability.to_string(),
            "last": bounds.last.0,
            "tokens": tokens,
            "recovered": status.recovered,
        });
        printer.print(&value, || {
            let recovered = status
                .recovered
                .as_deref()
                .map(|what| format!("\n  recovered   {what}"))
                .unwrap_or_default();
            let access = match tokens {
                Some(count) => format!("\n  access      with a token; there are {count}"),
                None if self.listen.ip().is_loopback() => String::new(),
                None => "\n  access      everybody who reaches this address may do everything".to_owned(),
            };
            let server = if address == DEFAULT_SERVER {
                String::new()
            } else {
                format!(" --server {address}")
            };
            format!(
                "nerve listens on {address}\n  data        {} ({} records, durability {})\n  \
                 plugins     {} (drop NAME.wasm here){access}{recovered}\n\
                 next: nerve{server} publish user.registered '{{\"user\":\"ann\"}}' --key ann\n      \
                 nerve{server} plugin list\n      nerve{server} events --follow",
                self.data.display(),
                bounds.last,
                self.durability,
                self.plugins.display()
            )
        });
    }
}

/// Tell systemd, where it runs this process and wants to know.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(cause) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd can't be told how the host is: {cause}");
    }
}

/// Let the host tell what goes on, from this level on where `NERVE_LOG` sets no other.
pub(super) fn start_tracing(level: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NERVE_LOG").unwrap_or_else(|_| level.into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

/// Let this process open as many files as it may: the limit that programs begin with is made for those that wait with `select`.
fn take_all_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // What it begins with serves as well.
    setrlimit(Resource::Nofile, all).ok();
}

/// What a host runs on.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    take_all_files();
    // Where there are too few files for its signals, the runtime panics.
    let files = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    for file in files {
        drop(file.context("the process may open too few files")?);
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MOST_THREADS)
        .build()
        .context("no threads for the host")
}

/// Refuse to listen where others could ask, for a host that is there for one developer.
pub(super) fn check_loopback(listen: SocketAddr) -> Done {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "{listen} is not a loopback address, and this host is there for you alone: listen on 127.0.0.1 or [::1], or use \
         `nerve run`"
    );
    Err(fail(Exit::Denied, message))
}

/// Listen, and say where.
pub(super) async fn listen(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("{listen} can't be listened on; stop what has it, or name another with --listen")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 3600))
}
