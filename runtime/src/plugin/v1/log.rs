//! `log`: lines for the outcome, escaped and within limits.

use super::nerve::plugin::log as wit;
use crate::delivery::handler::LogLine;
use crate::log::record::Level;
use crate::plugin::guest::Guest;

impl wit::Host for Guest {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
        let level = match level {
            wit::Level::Trace => Level::Trace,
            wit::Level::Debug => Level::Debug,
            wit::Level::Info => Level::Info,
            wit::Level::Warn => Level::Warn,
            wit::Level::Error => Level::Error,
        };
        self.log_line(level, message);
        Ok(())
    }
}

impl Guest {
    /// A line for the outcome, escaped and within limits.
    pub(in crate::plugin) fn log_line(&mut self, level: Level, mut text: String) {
        let limits = &self.settings.limits;
        if self.handled.lines.len() >= limits.log_lines {
            self.handled.lines_lost += 1;
            return;
        }
        if text.len() > limits.log_line_bytes {
            text.truncate(text.floor_char_boundary(limits.log_line_bytes));
            self.handled.lines_lost += 1;
        }
        self.handled.lines.push(LogLine {
            level,
            text: escaped(text).into(),
        });
    }
}

/// `text` with control characters written out, so that a line can't play tricks with a terminal or a log.
fn escaped(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut out, c| {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(escaped("a\n\u{1b}[31mb".into()), "a\\n\\u{1b}[31mb");
        assert_eq!(escaped("grün".into()), "grün");
    }
}
