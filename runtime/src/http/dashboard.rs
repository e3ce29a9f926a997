//! The dashboard at `/`: pages in the binary that use this API and nothing else.
//!
//! They are files as they are served: no step builds them, and they ask nobody but this host. A page can't run a script
//! of another place, nor one that stands in what it shows: the policy that goes with it forbids both.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::routes::{Routes, get};
use crate::access::Needs;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Each file: its path, its type and its content.
macro_rules! files {
    ($($path:literal, $kind:expr, $file:literal;)*) => {
        [$(($path, $kind, include_str!(concat!("dashboard/", $file)))),*]
    };
}

pub(super) const FILES: [(&str, &str, &str); 15] = files! {
    "/", HTML, "index.html";
    "/dashboard/style.css", CSS, "style.css";
    "/dashboard/app.js", SCRIPT, "app.js";
    "/dashboard/api.js", SCRIPT, "api.js";
    "/dashboard/dom.js", SCRIPT, "dom.js";
    "/dashboard/drawing.js", SCRIPT, "drawing.js";
    "/dashboard/pages/map.js", SCRIPT, "pages/map.js";
    "/dashboard/pages/plugins.js", SCRIPT, "pages/plugins.js";
    "/dashboard/pages/plugin.js", SCRIPT, "pages/plugin.js";
    "/dashboard/pages/events.js", SCRIPT, "pages/events.js";
    "/dashboard/pages/trace.js", SCRIPT, "pages/trace.js";
    "/dashboard/pages/dead.js", SCRIPT, "pages/dead.js";
    "/dashboard/pages/doctor.js", SCRIPT, "pages/doctor.js";
    "/dashboard/pages/host.js", SCRIPT, "pages/host.js";
    "/dashboard/pages/sign_in.js", SCRIPT, "pages/sign_in.js";
};

/// The routes of the dashboard: its files hold nothing of the host, and what they show they ask for as anybody does.
pub(super) fn routes() -> Routes {
    FILES
        .into_iter()
        .fold(Routes::new(), |routes, (path, kind, content)| {
            routes.route(
                path,
                get(Needs::Nothing, move || async move { file(kind, content) }),
            )
        })
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the host has other pages.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (
        headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
        content,
    )
        .into_response()
}
