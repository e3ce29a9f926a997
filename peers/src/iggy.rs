//! Apache Iggy 0.8, where somebody gives its server: a pipeline of batches, each stage of it with a connection of its
//! own, at the server's default durability and at its strictest.
//!
//! The offset of a batch is stored once what it emitted is acknowledged, so after a crash between them it is handled
//! again.

#[cfg(feature = "iggy")]
mod pipeline;

use std::path::Path;

/// What to say of it where there is no server.
pub const LEFT_OUT: &str =
    "Apache Iggy is left out: no package has its server; give iggy-server of version 0.8 with --iggy PATH";

/// What to say where there is one, but no client.
pub const NOT_BUILT: &str = "this program has no client of Iggy: build it with --features iggy";

/// What a server has promised once it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Messages are in its memory.
    Default,
    /// Messages are written and synced.
    Strictest,
}

/// Start a server, warm it up, and measure.
#[cfg(feature = "iggy")]
pub async fn run(
    program: &Path,
    folder: &Path,
    durability: Durability,
    events: usize,
) -> anyhow::Result<f64> {
    use crate::{server::Server, work};

    let server = Server::start(
        program,
        folder,
        "Iggy TCP server has started on",
        |command, folder, port| {
            // What the caller's shell says to its own Iggy, or to its log, is not for this one.
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("IGGY_") || name == "RUST_LOG" {
                    command.env_remove(name);
                }
            }
            command.envs(settings(durability, folder, port));
            Ok(())
        },
    )?;
    let events = work::events(events);
    for warm_up in 0..work::WARM_UPS {
        pipeline::measure(server.port(), &format!("warm{warm_up}"), &events).await?;
    }
    pipeline::measure(server.port(), "run", &events).await
}

/// The client of Iggy is compiled only where it is wanted.
#[cfg(not(feature = "iggy"))]
#[expect(clippy::unused_async, reason = "as the one that measures")]
pub async fn run(_: &Path, _: &Path, _: Durability, _: usize) -> anyhow::Result<f64> {
    anyhow::bail!(NOT_BUILT)
}

/// The server's settings, which are variables of its environment: TCP on loopback and nothing else, data in `folder`.
#[cfg(feature = "iggy")]
fn settings(durability: Durability, folder: &Path, port: u16) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("IGGY_TCP_ADDRESS", format!("127.0.0.1:{port}")),
        ("IGGY_HTTP_ENABLED", "false".into()),
        ("IGGY_QUIC_ENABLED", "false".into()),
        ("IGGY_WEBSOCKET_ENABLED", "false".into()),
        ("IGGY_SYSTEM_PATH", folder.join("data").display().to_string()),
        ("IGGY_ROOT_USERNAME", pipeline::USER.into()),
        ("IGGY_ROOT_PASSWORD", pipeline::PASSWORD.into()),
    ];
    if durability == Durability::Strictest {
        // A message that waits for others would be acknowledged from memory, and synced with them later.
        settings.extend([
            ("IGGY_SYSTEM_PARTITION_ENFORCE_FSYNC", "true".into()),
            ("IGGY_SYSTEM_PARTITION_MESSAGES_REQUIRED_TO_SAVE", "1".into()),
            ("IGGY_SYSTEM_STATE_ENFORCE_FSYNC", "true".into()),
        ]);
    }
    settings
}
