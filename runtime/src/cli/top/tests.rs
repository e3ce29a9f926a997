//! The screen, from the recorded answers of a host.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::figures::View;
use super::keys::{Then, press};
use super::sample::Sample;
use super::screen::Screen;
use super::text;

/// A shop with a plugin that fails, and one that is paused: before 30 orders, and two seconds later.
fn view() -> View {
    let begun = Instant::now();
    let log = json!({ "durability": "fsync" });
    let read = |text, after| Sample::read(text, &log, begun + Duration::from_secs(after));
    View::of(
        &read(include_str!("tests/before.txt"), 0),
        &read(include_str!("tests/after.txt"), 2),
    )
}

fn screen() -> Screen {
    Screen {
        server: "http://127.0.0.1:7117".to_owned(),
        view: Some(view()),
        ..Screen::default()
    }
}

fn drawn(screen: &Screen, width: u16, height: u16) -> (String, TestBackend) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    (text, terminal.backend().clone())
}

/// Hold what is drawn against what is written down; with `NERVE_BLESS=1` it is written anew.
fn compare(name: &str, text: &str) {
    let file = format!("{}/src/cli/top/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("NERVE_BLESS").is_some() {
        std::fs::write(&file, format!("{}\n", text.trim_end())).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.trim_end(), known.trim_end(), "{file}");
}

fn key(screen: &mut Screen, code: KeyCode) -> Then {
    press(screen, KeyEvent::new(code, KeyModifiers::NONE))
}

fn names(screen: &Screen) -> Vec<&str> {
    screen.shown().iter().map(|plugin| &*plugin.name).collect()
}

#[test]
fn the_screen_shows_the_host_and_each_plugin() {
    let (text, _) = drawn(&screen(), 110, 9);
    compare("wide", &text);
}

#[test]
fn a_small_window_keeps_what_matters_most() {
    let (text, _) = drawn(&screen(), 50, 6);
    compare("small", &text);
    for (width, height) in [(1, 1), (3, 2), (20, 3), (200, 2), (2, 60)] {
        let mut screen = screen();
        drawn(&screen, width, height);
        key(&mut screen, KeyCode::Down);
        key(&mut screen, KeyCode::Enter);
        drawn(&screen, width, height);
    }
}

#[test]
fn what_is_printed_has_every_column() {
    compare("printed", &text::page(&view()));
    let value: Value = serde_json::to_value(view()).unwrap();
    assert_eq!(value["host"]["published_per_second"], 31.0);
    let trap = &value["plugins"][3];
    assert_eq!(
        (&trap["name"], &trap["failed_per_second"], &trap["dead_letters"]),
        (&json!("trap"), &json!(4.0), &json!(5.0))
    );
    assert_eq!(value["plugins"][2]["paused"], "operator");
}

#[test]
fn plugins_are_sorted_and_filtered_by_keys() {
    let mut screen = screen();
    assert_eq!(names(&screen), ["carts", "orders", "payments", "trap"]);
    key(&mut screen, KeyCode::Char('r'));
    assert_eq!(names(&screen), ["trap", "payments", "orders", "carts"]);
    key(&mut screen, KeyCode::Char('r'));
    key(&mut screen, KeyCode::Char('s'));
    assert_eq!(names(&screen)[0], "payments", "what does not run comes first");
    key(&mut screen, KeyCode::Char('S'));
    key(&mut screen, KeyCode::Char('S'));
    assert_eq!(names(&screen)[0], "trap", "by dead letters");
    for c in "/par".chars() {
        key(&mut screen, KeyCode::Char(c));
    }
    assert_eq!((names(&screen).len(), screen.typing), (0, true));
    for _ in 0..2 {
        key(&mut screen, KeyCode::Backspace);
    }
    key(&mut screen, KeyCode::Char('q'));
    assert!(names(&screen).is_empty(), "a letter of the name, and not the end");
    key(&mut screen, KeyCode::Backspace);
    key(&mut screen, KeyCode::Enter);
    assert_eq!((names(&screen), screen.typing), (vec!["trap", "payments"], false));
    key(&mut screen, KeyCode::Esc);
    assert_eq!(names(&screen).len(), 4);
}

#[test]
fn a_plugin_is_chosen_and_looked_at_and_the_end_is_one_key_away() {
    let mut screen = screen();
    assert_eq!(key(&mut screen, KeyCode::Enter), Then::GoOn, "none is chosen");
    for (code, chosen) in [
        (KeyCode::Down, "carts"),
        (KeyCode::Down, "orders"),
        (KeyCode::End, "trap"),
        (KeyCode::Down, "trap"),
        (KeyCode::PageUp, "carts"),
    ] {
        key(&mut screen, code);
        assert_eq!(screen.selected.as_deref(), Some(chosen), "{code:?}");
    }
    assert_eq!(key(&mut screen, KeyCode::Enter), Then::Look);
    screen.detail.as_mut().unwrap().text = "name  carts\nlag   7\nend".to_owned();
    key(&mut screen, KeyCode::Down);
    let (text, _) = drawn(&screen, 60, 9);
    assert!(
        text.contains("lag   7") && !text.contains("name  carts") && text.contains("esc back"),
        "{text}"
    );
    key(&mut screen, KeyCode::PageDown);
    assert_eq!(
        screen.detail.as_ref().unwrap().above,
        2,
        "the last line stays to be seen"
    );
    key(&mut screen, KeyCode::Esc);
    assert!(screen.detail.is_none() && screen.selected.is_some());
    assert_eq!(key(&mut screen, KeyCode::Char('q')), Then::End);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut screen, interrupt), Then::End);
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted_and_what_is_chosen_is_seen_all_the_same() {
    let mut screen = screen();
    key(&mut screen, KeyCode::Down);
    for colours in [true, false] {
        screen.colours = colours;
        let (_, backend) = drawn(&screen, 110, 9);
        let cells = || backend.buffer().content().iter();
        assert_eq!(cells().any(|cell| cell.fg != Color::Reset), colours);
        assert!(cells().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    }
}

#[test]
fn a_host_that_goes_away_is_told_of_beside_what_was_last_known() {
    let mut screen = screen();
    screen.trouble = Some("no host answers".to_owned());
    let (text, _) = drawn(&screen, 110, 9);
    assert!(
        text.contains("no host answers") && text.contains("payments"),
        "{text}"
    );
    screen.view = None;
    assert!(drawn(&screen, 110, 9).0.contains("looking …"));
}
