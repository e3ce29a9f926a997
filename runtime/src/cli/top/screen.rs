//! What is on the screen, and how it is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::columns::{COLUMNS, Column, fitting};
use super::figures::{PluginView, View};
use super::text;

/// What is on the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The host.
    pub(super) server: String,
    /// How it fares; none before the second look.
    pub(super) view: Option<View>,
    /// Why the last look failed, where it did.
    pub(super) trouble: Option<String>,
    /// Whether colours are wanted.
    pub(super) colours: bool,
    /// What comes first.
    pub(super) order: Order,
    /// Only plugins whose name contains this.
    pub(super) filter: String,
    /// Whether the filter is being written.
    pub(super) typing: bool,
    /// The plugin that is looked at.
    pub(super) selected: Option<String>,
    /// What is known of it, where all of that is wanted.
    pub(super) detail: Option<Detail>,
    /// Whether nothing moves.
    pub(super) still: bool,
}

/// What comes first.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By this column.
    pub(super) column: usize,
    /// The other way round.
    pub(super) reversed: bool,
}

/// All that is known of one plugin.
#[derive(Debug, Default)]
pub(super) struct Detail {
    /// The plugin.
    pub(super) plugin: String,
    /// As `nerve plugin show` shows it; empty before the answer.
    pub(super) text: String,
    /// Lines above the first one that is seen.
    pub(super) above: u16,
}

impl Screen {
    /// The plugins that are shown, in their order.
    pub(super) fn shown(&self) -> Vec<&PluginView> {
        let all = self.view.iter().flat_map(|view| &view.plugins);
        let mut shown: Vec<&PluginView> = all.filter(|plugin| plugin.name.contains(&self.filter)).collect();
        let column = &COLUMNS[self.order.column];
        shown.sort_by(|a, b| column.order(a, b));
        if self.order.reversed {
            shown.reverse();
        }
        shown
    }

    /// Draw it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        // Where there is little room, it is for the plugins.
        let height = frame.area().height;
        let (head, foot) = (
            if height > 7 { 3 } else { u16::from(height > 3) },
            u16::from(height > 4),
        );
        let parts = Layout::vertical([
            Constraint::Length(head),
            Constraint::Min(0),
            Constraint::Length(foot),
        ]);
        let [head, body, foot] = parts.areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        match &self.detail {
            Some(detail) => {
                let text = if detail.text.is_empty() {
                    "…"
                } else {
                    detail.text.as_str()
                };
                frame.render_widget(Paragraph::new(text).scroll((detail.above, 0)), body);
            }
            None => self.draw_plugins(frame, body),
        }
        frame.render_widget(Paragraph::new(self.foot()), foot);
    }

    fn head(&self) -> Vec<Line<'_>> {
        let mut first = vec![Span::styled(
            format!("nerve {}", self.server),
            Style::new().add_modifier(Modifier::BOLD),
        )];
        if let Some(trouble) = &self.trouble {
            first.push(Span::styled(format!("  {trouble}"), self.coloured(Color::Red)));
        } else if self.still {
            first.push(Span::raw("  stands still"));
        }
        let mut lines = vec![Line::from(first)];
        match &self.view {
            Some(view) => lines.extend(text::host(&view.host).map(Line::from)),
            None => lines.push(Line::from("looking …")),
        }
        lines
    }

    fn foot(&self) -> Line<'_> {
        if self.typing {
            return Line::from(format!("only names with: {}▏  enter done  esc all", self.filter));
        }
        let only = match &*self.filter {
            "" => String::new(),
            filter => format!("  only {filter:?}"),
        };
        let keys = if self.detail.is_some() {
            "q end  esc back  ↑↓ move"
        } else {
            "q end  ↑↓ choose  enter all of it  s sort  r reverse  / filter  space still"
        };
        Line::from(format!("{keys}{only}"))
    }

    fn draw_plugins(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns: Vec<(usize, &Column)> = fitting(area.width)
            .into_iter()
            .map(|at| (at, &COLUMNS[at]))
            .collect();
        let head = columns.iter().map(|(at, column)| {
            let arrow = if self.order.reversed { "▲" } else { "▼" };
            Cell::from(if *at == self.order.column {
                format!("{}{arrow}", column.title)
            } else {
                column.title.to_owned()
            })
        });
        let shown = self.shown();
        let rows = shown.iter().map(|plugin| {
            let cells: Vec<String> = columns.iter().map(|(_, column)| (column.cell)(plugin)).collect();
            Row::new(cells).style(self.of_a_plugin(plugin))
        });
        let widths = columns.iter().map(|(at, column)| match at {
            // Names take what is left.
            0 => Constraint::Min(column.width.min(area.width)),
            _ => Constraint::Length(column.width),
        });
        let table = Table::new(rows, widths)
            .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let selected = self.selected.as_deref();
        let at = shown.iter().position(|plugin| Some(&*plugin.name) == selected);
        frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
    }

    fn of_a_plugin(&self, plugin: &PluginView) -> Style {
        match &*plugin.status {
            "live" if plugin.failed_per_second > 0.0 => self.coloured(Color::Yellow),
            "live" => Style::new(),
            "removed" => self.coloured(Color::DarkGray),
            _ => self.coloured(Color::Red),
        }
    }

    fn coloured(&self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
