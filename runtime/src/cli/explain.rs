//! `nerve explain`: what the code of a failure means, and what to do. The page about errors is what it reads from.

use serde_json::json;

use super::Done;
use super::exit::{Exit, fail};
use super::output::Printer;

/// The page, with a section for each code.
const PAGE: &str = include_str!("../../../docs/errors.md");

/// What stands before a code in the page.
const HEAD: &str = "### `";

/// Say what the code of a failure means, and what to do about it
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The code, such as busy [default: list them]
    code: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let Some(code) = &self.code else {
            let codes: Vec<&str> = sections().map(|(code, _)| code).collect();
            printer.print(&json!({ "codes": codes }), || codes.join("\n"));
            return Ok(());
        };
        let Some((code, text)) = sections().find(|(known, _)| known == code) else {
            let alike = sections().map(|(known, _)| (strsim::jaro_winkler(code, known), known));
            let (_, nearest) = alike.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
            let message = format!(
                "{code:?} is no code of a failure; did you mean {nearest:?}? `nerve explain` lists them"
            );
            return Err(fail(Exit::NotFound, message));
        };
        printer.print(&json!({ "code": code, "text": text }), || text.to_owned());
        Ok(())
    }
}

/// Each code and what is said of it.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split(HEAD).skip(1).filter_map(|section| {
        let (code, text) = section.split_once("`\n")?;
        let text = text.split("\n## ").next().unwrap_or(text);
        Some((code, text.trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_that_the_api_and_the_commands_have_is_explained_and_no_other() {
        let api = include_str!("../../../docs/http-api.md");
        let table = api
            .lines()
            .skip_while(|line| !line.starts_with("| Status | Codes |"))
            .skip(2);
        let mut codes = BTreeSet::new();
        for row in table.take_while(|line| line.starts_with('|')) {
            let cell = row.split('|').nth(2).unwrap_or_default();
            // What stands in brackets is about the code before it.
            let bare: String = cell
                .split('(')
                .map(|part| part.split(')').next_back().unwrap_or_default())
                .collect();
            codes.extend(
                bare.split('`')
                    .skip(1)
                    .step_by(2)
                    .filter(|code| code.starts_with(char::is_lowercase))
                    .map(str::to_owned),
            );
        }
        assert!(codes.len() > 40, "{codes:?}");
        let exits = [
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Denied,
            Exit::Unreachable,
            Exit::Damaged,
            Exit::Limit,
            Exit::Unsettled,
        ];
        codes.extend(exits.map(Exit::word));
        let explained: BTreeSet<String> = sections().map(|(code, _)| code.to_owned()).collect();
        assert_eq!(explained, codes);
    }
}
