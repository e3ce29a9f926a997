//! The terminal: keys and looks come in, and the screen is drawn. A thread of its own asks the host, so that a slow one holds up no
//! key.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use ratatui::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::{Hide, Show};
use ratatui_crossterm::crossterm::event::{self, Event, KeyEventKind};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::figures::View;
use super::keys::{Then, press};
use super::sample::Sample;
use super::screen::Screen;
use crate::cli::Done;
use crate::cli::api::{Api, ApiError, escaped};
use crate::cli::plugin;

/// How long keys are waited for before it is seen whether the host has answered.
const MOMENT: Duration = Duration::from_millis(50);

/// What a look came to.
struct News {
    sample: Result<Sample, ApiError>,
    /// The plugin that was asked for, and what was said of it.
    detail: Option<(String, Result<String, ApiError>)>,
}

/// Watch the host, until somebody wants no more.
pub(super) fn run(api: &Api, interval: Duration) -> Done {
    // Where nobody answers, it is said as by any other command.
    let first = super::look(api)?;
    let wanted = Arc::new(Mutex::new(None));
    let (news, come) = channel();
    let (at_once, asked) = channel();
    let asking = (api.clone(), wanted.clone());
    std::thread::Builder::new()
        .name("looks".into())
        .spawn(move || look_again(&asking.0, interval, &asking.1, &news, &asked))
        .context("no thread to ask the host")?;
    let screen = Screen {
        server: api.server().to_owned(),
        colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        ..Screen::default()
    };
    let mut window = Window::open().context("the terminal can't be used")?;
    watch(&mut window.terminal, screen, first, &wanted, &come, &at_once)
}

/// The terminal, taken over until this is dropped.
struct Window {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Window {
    fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is given back, whatever happens.
        let window = Self {
            terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?,
        };
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(window)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Where this fails, nobody sees it either.
        execute!(io::stdout(), LeaveAlternateScreen, Show).ok();
        disable_raw_mode().ok();
    }
}

fn watch(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    mut screen: Screen,
    mut before: Sample,
    wanted: &Mutex<Option<String>>,
    come: &Receiver<News>,
    at_once: &Sender<()>,
) -> Done {
    loop {
        come_in(&mut screen, &mut before, come);
        terminal.draw(|frame| screen.draw(frame))?;
        if !event::poll(MOMENT)? {
            continue;
        }
        // A window of another size is drawn anew.
        let Event::Key(key) = event::read()? else {
            continue;
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let then = press(&mut screen, key);
        *wanted.lock() = screen.detail.as_ref().map(|detail| detail.plugin.clone());
        match then {
            Then::End => return Ok(()),
            // It ends with this thread.
            Then::Look => drop(at_once.send(())),
            Then::GoOn => {}
        }
    }
}

/// Take in what the host has answered.
fn come_in(screen: &mut Screen, before: &mut Sample, come: &Receiver<News>) {
    for News { sample, detail } in come.try_iter() {
        match sample {
            Err(trouble) => screen.trouble = Some(trouble.to_string()),
            Ok(now) => {
                screen.trouble = None;
                if !screen.still {
                    screen.view = Some(View::of(before, &now));
                }
                *before = now;
            }
        }
        if let (Some(shown), Some((plugin, said))) = (&mut screen.detail, detail)
            && shown.plugin == plugin
            && (!screen.still || shown.text.is_empty())
        {
            shown.text = said.unwrap_or_else(|cause| cause.to_string());
        }
    }
}

/// Ask the host again and again, until nobody listens.
fn look_again(
    api: &Api,
    interval: Duration,
    wanted: &Mutex<Option<String>>,
    news: &Sender<News>,
    at_once: &Receiver<()>,
) {
    loop {
        if at_once.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let plugin = wanted.lock().clone();
        let detail = plugin.map(|name| {
            let said = api.get(&format!("/v1/plugins/{}", escaped(&name)));
            (name, said.map(|plugin| plugin::show(&plugin)))
        });
        let sample = super::look(api);
        if news.send(News { sample, detail }).is_err() {
            return;
        }
    }
}
