//! What the keys do.

use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::COLUMNS;
use super::screen::{Detail, Screen};

/// Lines of a page.
const PAGE: i32 = 10;

/// What follows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing more.
    GoOn,
    /// Look at once, for something else is wanted.
    Look,
    /// It ends.
    End,
}

/// A key was pressed.
pub(super) fn press(screen: &mut Screen, key: KeyEvent) -> Then {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if key.code == KeyCode::Char('c') {
            Then::End
        } else {
            Then::GoOn
        };
    }
    if screen.typing {
        type_filter(screen, key.code);
        return Then::GoOn;
    }
    match key.code {
        KeyCode::Char('q') => return Then::End,
        KeyCode::Up | KeyCode::Char('k') => step(screen, -1),
        KeyCode::Down | KeyCode::Char('j') => step(screen, 1),
        KeyCode::PageUp => step(screen, -PAGE),
        KeyCode::PageDown => step(screen, PAGE),
        KeyCode::Home => step(screen, i32::MIN / 2),
        KeyCode::End => step(screen, i32::MAX / 2),
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => go_back(screen),
        KeyCode::Char(' ') => screen.still = !screen.still,
        _ if screen.detail.is_some() => {}
        KeyCode::Enter | KeyCode::Right => return look_at(screen),
        KeyCode::Char('s') => screen.order.column = (screen.order.column + 1) % COLUMNS.len(),
        KeyCode::Char('S') => screen.order.column = (screen.order.column + COLUMNS.len() - 1) % COLUMNS.len(),
        KeyCode::Char('r') => screen.order.reversed = !screen.order.reversed,
        KeyCode::Char('/') => screen.typing = true,
        _ => {}
    }
    Then::GoOn
}

/// From a plugin to all of them, or from some of them to all.
fn go_back(screen: &mut Screen) {
    if screen.detail.take().is_none() {
        screen.filter.clear();
    }
}

/// See all that is known of the plugin that is chosen.
fn look_at(screen: &mut Screen) -> Then {
    let Some(plugin) = screen.selected.clone() else {
        return Then::GoOn;
    };
    screen.detail = Some(Detail {
        plugin,
        ..Detail::default()
    });
    Then::Look
}

fn type_filter(screen: &mut Screen, key: KeyCode) {
    match key {
        KeyCode::Enter => screen.typing = false,
        KeyCode::Esc => {
            screen.typing = false;
            screen.filter.clear();
        }
        KeyCode::Backspace => drop(screen.filter.pop()),
        KeyCode::Char(c) => screen.filter.push(c),
        _ => {}
    }
}

/// Go so many lines down.
fn step(screen: &mut Screen, by: i32) {
    let moved = |at: usize, last: usize| {
        let at = i32::try_from(at).unwrap_or(i32::MAX).saturating_add(by).max(0);
        usize::try_from(at).unwrap_or_default().min(last)
    };
    if let Some(detail) = &mut screen.detail {
        let last = detail.text.lines().count().saturating_sub(1);
        let above = moved(detail.above.into(), last);
        detail.above = u16::try_from(above).unwrap_or(u16::MAX);
        return;
    }
    let names: Vec<String> = screen.shown().iter().map(|plugin| plugin.name.clone()).collect();
    let Some(last) = names.len().checked_sub(1) else {
        return;
    };
    let at = names
        .iter()
        .position(|name| Some(name) == screen.selected.as_ref());
    let at = match at {
        Some(at) => moved(at, last),
        None if by < 0 => last,
        None => 0,
    };
    screen.selected = names.get(at).cloned();
}
