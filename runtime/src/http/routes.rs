//! Routes, each with what one must be allowed to do for it: there is no way to add one without.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Request};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use futures_util::StreamExt;

use super::problem::Problem;
use crate::access::{Access, AccessError, Caller, Needs};
use crate::host::Host;

/// Routes of the API.
pub(super) struct Routes(Router<Host>);

/// The methods of one route.
pub(super) struct Methods(MethodRouter<Host>);

/// Who asks, as the guard found: it stands among the extensions of every request.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) access: Arc<Access>,
    pub(super) caller: Result<Caller, AccessError>,
    /// The name of this host's cookie.
    pub(super) cookie: Arc<str>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self(Router::new())
    }

    pub(super) fn route(self, path: &str, methods: Methods) -> Self {
        Self(self.0.route(path, methods.0))
    }

    pub(super) fn merge(self, others: Self) -> Self {
        Self(self.0.merge(others.0))
    }

    pub(super) fn into_router(self) -> Router<Host> {
        self.0
    }
}

/// A route with this method, which needs this and is answered so.
pub(super) fn get<H: Handler<T, Host>, T: 'static>(needs: Needs, handler: H) -> Methods {
    Methods(MethodRouter::new()).on(MethodFilter::GET, needs, handler)
}

/// A route with this method, which needs this and is answered so.
pub(super) fn post<H: Handler<T, Host>, T: 'static>(needs: Needs, handler: H) -> Methods {
    Methods(MethodRouter::new()).on(MethodFilter::POST, needs, handler)
}

impl Methods {
    pub(super) fn post<H: Handler<T, Host>, T: 'static>(self, needs: Needs, handler: H) -> Self {
        self.on(MethodFilter::POST, needs, handler)
    }

    pub(super) fn get<H: Handler<T, Host>, T: 'static>(self, needs: Needs, handler: H) -> Self {
        self.on(MethodFilter::GET, needs, handler)
    }

    pub(super) fn put<H: Handler<T, Host>, T: 'static>(self, needs: Needs, handler: H) -> Self {
        self.on(MethodFilter::PUT, needs, handler)
    }

    pub(super) fn delete<H: Handler<T, Host>, T: 'static>(self, needs: Needs, handler: H) -> Self {
        self.on(MethodFilter::DELETE, needs, handler)
    }

    fn on<H: Handler<T, Host>, T: 'static>(self, method: MethodFilter, needs: Needs, handler: H) -> Self {
        Self(self.0.on(method, Guarded { needs, handler }))
    }
}

/// A handler that is asked only by those who may.
#[derive(Clone)]
struct Guarded<H> {
    needs: Needs,
    handler: H,
}

impl<H: Handler<T, Host>, T: 'static> Handler<T, Host> for Guarded<H> {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, host: Host) -> Self::Future {
        let admitted = request.extensions().get::<Admitted>().cloned();
        Box::pin(async move {
            if self.needs == Needs::Nothing {
                return self.handler.call(request, host).await;
            }
            // Where nobody looked who asks, nobody is let in.
            let Some(Admitted { access, caller, .. }) = admitted else {
                return refusal(AccessError::Unreadable).into_response();
            };
            let caller = match caller {
                Ok(caller) if caller.may(self.needs) => caller,
                Ok(caller) => return lacking(&caller, self.needs.scope()).into_response(),
                Err(refused) => return refusal(refused).into_response(),
            };
            request.extensions_mut().insert(caller.clone());
            // Who does something to plugins is in the record of it.
            let host = if self.needs == Needs::Operate {
                host.asked_by(caller.name())
            } else {
                host
            };
            let response = self.handler.call(request, host).await;
            if response.body().size_hint().exact().is_some() {
                return response;
            }
            response.map(|body| while_admitted(body, access, caller))
        })
    }
}

/// A body that is made while it is sent, such as a stream of events: it ends before the first part that its reader, whose token
/// is revoked meanwhile, may not see.
fn while_admitted(body: Body, access: Arc<Access>, caller: Caller) -> Body {
    let parts = body.into_data_stream();
    Body::from_stream(parts.take_while(move |_| std::future::ready(access.still_admits(&caller))))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// Who asks, on a route that needs somebody.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| refusal(AccessError::NoToken))
    }
}

/// Why somebody is not let in.
pub(super) fn refusal(refused: AccessError) -> Problem {
    let detail = refused.to_string();
    let problem = |code, challenge| Problem {
        challenge: Some(challenge),
        ..Problem::new(StatusCode::UNAUTHORIZED, code, detail.clone())
    };
    match refused {
        AccessError::NoToken => problem("token-required", "Bearer realm=\"nerve\"".to_owned()).hint(
            "send it as `Authorization: Bearer nrv_…`; commands take it from NERVE_TOKEN or --token-file, and \
             `nerve token create NAME --scope SCOPE` makes one",
        ),
        AccessError::Unknown => {
            problem("token-refused", "Bearer realm=\"nerve\", error=\"invalid_token\"".to_owned())
                .hint("`nerve token list` on the host's machine lists the tokens; `nerve token create` makes one")
        }
        AccessError::Unreadable => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "tokens-unreadable", detail)
            .hint("what the host logs says why; `nerve token list` on its machine does as well"),
    }
}

/// The scope that somebody's token lacks.
pub(super) fn lacking(caller: &Caller, scope: &str) -> Problem {
    let detail = format!(
        "this needs the scope {scope}, which the token of {} does not have",
        caller.name()
    );
    Problem {
        challenge: Some(format!(
            "Bearer realm=\"nerve\", error=\"insufficient_scope\", scope=\"{scope}\""
        )),
        ..Problem::new(StatusCode::FORBIDDEN, "scope-missing", detail)
    }
    .hint(format!(
        "use a token that has it: `nerve token create NAME --scope {scope}` makes one"
    ))
}
