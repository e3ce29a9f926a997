//! From dropping a component the host never saw to its first settled event.

use std::time::{Duration, Instant};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};

impl Bench<'_> {
    pub(super) async fn drop_in(&mut self) -> Result<(), BenchError> {
        let name = format!(
            "dropped component of {} kB serves, compile included",
            self.guest.bytes() / 1000
        );
        if !self.begins(&name) {
            return Ok(());
        }
        let mut runs = Vec::new();
        for _ in 0..=self.options.runs {
            // A new data folder every time, so that nothing is in the cache.
            let folder = self.folder()?;
            let host = self.host(folder.path())?;
            let begun = Instant::now();
            let names = self
                .guest
                .install(&host, &folder.path().join("plugins"), 1)
                .await?;
            let event = guests::events(host.acceptor(), "drop", 0, 1);
            let published = host
                .publish(&event)
                .map_err(|refused| BenchError::Guest(refused.to_string()))?;
            host.settled(&names[0], published[0].offset, Duration::from_secs(30))
                .await
                .map_err(|cause| BenchError::Guest(cause.to_string()))?;
            runs.push(begun.elapsed().as_secs_f64() * 1e3);
            host.stop().await?;
        }
        runs.remove(0);
        self.found(Figure::of(name, Unit::Millis, runs));
        Ok(())
    }
}
