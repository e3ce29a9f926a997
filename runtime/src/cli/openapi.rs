//! `nerve openapi`.

use super::Done;
use super::output::Printer;
use crate::http::openapi::DOCUMENT;

pub(super) fn run(printer: &Printer) -> Done {
    printer.print(&serde_json::from_str(DOCUMENT)?, || {
        DOCUMENT.trim_end().to_owned()
    });
    Ok(())
}
