//! From dropping a component the host never saw to its first settled event, as a new plugin and in the place of a version
//! that runs: the second is what `nerve dev` does once cargo has built.

use std::time::{Duration, Instant};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::Host;
use crate::log::record::Hash;

impl Bench<'_> {
    pub(super) async fn drop_in(&mut self) -> Result<(), BenchError> {
        let size = self.guest.bytes() / 1000;
        let names = [
            format!("dropped component of {size} kB serves, compile included"),
            format!(
                "saved component of {size} kB serves in the place of another, behind cargo, compile included"
            ),
        ];
        let wanted = names.each_ref().map(|name| self.begins(name));
        if wanted == [false, false] {
            return Ok(());
        }
        let mut runs = [vec![], vec![]];
        for _ in 0..=self.options.runs {
            // A new data folder every time, so that nothing is in the cache.
            let folder = self.folder()?;
            let host = self.host(folder.path())?;
            let plugins = folder.path().join("plugins");
            let begun = Instant::now();
            let plugin = self.guest.install(&host, &plugins, 1).await?.remove(0);
            serves(&host, &plugin, 0).await?;
            runs[0].push(begun.elapsed().as_secs_f64() * 1e3);

            // Another component for a section that nobody reads: it is compiled anew.
            let saved = [self.guest.component(), &[0, 2, 1, b'x']].concat();
            let begun = Instant::now();
            guests::drop_file(&plugins, &plugin, &saved)?;
            guests::runs(&host, &plugin, Hash::of(&saved)).await?;
            serves(&host, &plugin, 1).await?;
            runs[1].push(begun.elapsed().as_secs_f64() * 1e3);
            host.stop().await?;
        }
        for ((name, mut runs), _) in names
            .into_iter()
            .zip(runs)
            .zip(wanted)
            .filter(|(_, wanted)| *wanted)
        {
            runs.remove(0);
            self.found(Figure::of(name, Unit::Millis, runs));
        }
        Ok(())
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
