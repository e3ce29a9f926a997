//! From dropping a component the host never saw to its first settled event, as a new plugin and in the place of a version
//! that runs on a host like that of `nerve dev`: the second is what `nerve dev` adds to cargo's time.

use std::time::{Duration, Instant};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::{Host, HostOptions};
use crate::log::record::Hash;
use crate::plugin::engine::Code;

impl Bench<'_> {
    pub(super) async fn drop_in(&mut self) -> Result<(), BenchError> {
        let size = self.guest.bytes() / 1000;
        let dropped = format!("dropped component of {size} kB serves, compile included");
        let saved = format!(
            "saved component of {size} kB serves in the place of another under nerve dev, behind cargo, compile included"
        );
        for (name, code) in [(dropped, Code::Optimized), (saved, Code::Quick)] {
            if !self.begins(&name) {
                continue;
            }
            let mut runs = Vec::new();
            for _ in 0..=self.options.runs {
                runs.push(self.millis_to_serve(code).await?);
            }
            runs.remove(0);
            self.found(Figure::of(name, Unit::Millis, runs));
        }
        Ok(())
    }

    /// Milliseconds until a component serves on a new host with such code: as a new plugin, or, where the code is that of
    /// `nerve dev`, in the place of another version.
    async fn millis_to_serve(&self, code: Code) -> Result<f64, BenchError> {
        // A new data folder every time, so that nothing is in the cache.
        let folder = self.folder()?;
        let options = HostOptions {
            code,
            ..HostOptions::default()
        };
        let host = self.host_with(folder.path(), options)?;
        let plugins = folder.path().join("plugins");
        let mut begun = Instant::now();
        let plugin = self.guest.install(&host, &plugins, 1).await?.remove(0);
        serves(&host, &plugin, 0).await?;
        if code == Code::Quick {
            // Another component for a section that nobody reads: it is compiled anew.
            let saved = [self.guest.component(), &[0, 2, 1, b'x']].concat();
            begun = Instant::now();
            guests::drop_file(&plugins, &format!("{plugin}.wasm"), &saved)?;
            guests::runs(&host, &plugin, Hash::of(&saved)).await?;
            serves(&host, &plugin, 1).await?;
        }
        let taken = begun.elapsed();
        host.stop().await?;
        Ok(taken.as_secs_f64() * 1e3)
    }
}

/// Publish event number `number` and wait until `plugin` has settled it.
async fn serves(host: &Host, plugin: &str, number: usize) -> Result<(), BenchError> {
    let event = guests::events(host.acceptor(), "drop", number, 1);
    let published = host
        .publish(&event)
        .map_err(|refused| BenchError::Guest(refused.to_string()))?;
    let settled = host.settled(plugin, published[0].offset, Duration::from_secs(30));
    settled
        .await
        .map_err(|cause| BenchError::Guest(cause.to_string()))?;
    Ok(())
}
