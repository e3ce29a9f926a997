//! `nerve top`: how the plugins of a running host fare, live. It asks the API alone: the figures that Prometheus gets, and, for the
//! plugin that is looked at, the plugin.

mod columns;
mod figures;
mod keys;
mod live;
mod sample;
mod screen;
mod text;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::figures::View;
use self::sample::Sample;
use super::Done;
use super::api::{Api, ApiError};
use super::output::{Printer, line};

/// Watch how plugins fare; without a terminal, or with --output json, print it
#[derive(clap::Args)]
pub(super) struct Top {
    /// Seconds from one look to the next, from 0.1 on
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<f64>,
    /// Print it so many times, and end [default: once, or without end where --interval is given]
    #[arg(long)]
    count: Option<u64>,
}

/// From one look to the next, where nobody says.
const INTERVAL: Duration = Duration::from_secs(1);

impl Top {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let interval = self.interval.map_or(INTERVAL, Duration::from_secs_f64);
        let sees = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        if sees && !printer.is_json() && self.count.is_none() {
            return live::run(api, interval);
        }
        let once = u64::from(self.interval.is_none());
        // 0 is without end.
        let count = self.count.unwrap_or(once);
        let mut before = look(api)?;
        let mut times = 0;
        while count == 0 || times < count {
            std::thread::park_timeout(interval);
            let now = look(api)?;
            let view = View::of(&before, &now);
            if printer.is_json() {
                line(&serde_json::to_string(&view)?);
            } else {
                line(text::page(&view).trim_end());
            }
            before = now;
            times += 1;
        }
        Ok(())
    }
}

/// What the host says of itself now.
fn look(api: &Api) -> Result<Sample, ApiError> {
    let mut figures = Vec::new();
    api.fetch("/metrics", &mut figures)?;
    let log: Value = api.get("/v1/log")?;
    let figures = String::from_utf8_lossy(&figures);
    Ok(Sample::read(&figures, &log, Instant::now()))
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "write seconds from 0.1 to 3600".to_owned())
}
