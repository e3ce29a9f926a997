//! `/v1/session`: who one is to this host, and a browser's way to be somebody without keeping the token: a cookie that scripts
//! can't read, and that no other site's page sends.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::problem::Problem;
use super::routes::Admitted;
use crate::access::{Caller, Scope};

/// What of a cookie is the same for all.
const ATTRIBUTES: &str = "; Path=/v1; HttpOnly; SameSite=Strict";

pub(super) async fn show(caller: Caller) -> Json<Value> {
    Json(shown(&caller))
}

/// Open a session for who shows a token. Who needs none gets none.
pub(super) async fn open(
    caller: Caller,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let opened = admitted.access.open_session(&caller).map_err(|cause| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("no session can be opened: {cause}"),
        )
    })?;
    let mut response = Json(shown(&caller)).into_response();
    if let Some(secret) = opened {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        let secure = if origin.is_some_and(|origin| origin.starts_with(b"https://")) {
            "; Secure"
        } else {
            ""
        };
        set(
            &mut response,
            &format!("{}={}{ATTRIBUTES}{secure}", admitted.cookie, secret.text()),
        );
    }
    Ok(response)
}

/// Close the session that is shown.
pub(super) async fn close(Extension(admitted): Extension<Admitted>, headers: HeaderMap) -> Response {
    if let Some(session) = cookie(&headers, &admitted.cookie) {
        admitted.access.close_session(session);
    }
    let mut response = Json(json!({ "closed": true })).into_response();
    set(
        &mut response,
        &format!("{}={ATTRIBUTES}; Max-Age=0", admitted.cookie),
    );
    response
}

/// The value of the cookie `name`.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn set(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

fn shown(caller: &Caller) -> Value {
    let scopes = caller
        .scopes()
        .map(|scopes| scopes.iter().map(Scope::to_string).collect::<Vec<_>>());
    json!({ "name": caller.name(), "scopes": scopes })
}
