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
        let longest = limits.log_line_bytes;
        let whole = text.len();
        text.truncate(text.floor_char_boundary(longest));
        let is_cut = text.len() < whole;
        // What is written out is longer than it was.
        let mut text = escaped(text);
        self.handled.lines_lost += u32::from(is_cut || text.len() > longest);
        text.truncate(text.floor_char_boundary(longest));
        self.handled.lines.push(LogLine {
            level,
            text: text.into(),
        });
    }
}

/// `text` with every character written out that could play tricks with a terminal or a log: control characters, ends of
/// lines, and marks that turn the direction of writing.
pub(crate) fn escaped(text: String) -> String {
    if !text.contains(is_trick) {
        return text;
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut out, c| {
            if is_trick(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            out
        })
}

fn is_trick(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_trick_a_reader_is_written_out_and_nothing_else() {
        for (text, shown) in [
            ("a\n\u{1b}[31mb", "a\\n\\u{1b}[31mb"),
            ("\r\t\0\u{7f}\u{9b}2J", "\\r\\t\\u{0}\\u{7f}\\u{9b}2J"),
            ("a\u{202e}b\u{2066}c\u{2029}d", "a\\u{202e}b\\u{2066}c\\u{2029}d"),
            (
                "grün, 日本, עברית, 👩\u{200d}🚀",
                "grün, 日本, עברית, 👩\u{200d}🚀",
            ),
        ] {
            assert_eq!(escaped(text.into()), shown);
        }
    }
}
