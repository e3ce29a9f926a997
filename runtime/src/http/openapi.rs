//! `GET /openapi.json`: what the whole API takes and answers, as an `OpenAPI` 3.1 document.
//!
//! It is kept by hand beside the router; the tests hold it against the routes, their methods and their parameters.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document.
pub const DOCUMENT: &str = include_str!("openapi/document.json");

pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
