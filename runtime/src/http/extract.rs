//! What a resource takes from a request's path and query. What can't be read is a problem like any other.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of the path.
pub(super) struct Path<T>(pub(super) T);

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let axum::extract::Path(path) =
            read.map_err(|bad| Problem::query(format!("{}: {}", parts.uri.path(), bad.body_text())))?;
        Ok(Self(path))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let axum::extract::Query(query) = read.map_err(|bad| Problem::query(bad.body_text()))?;
        Ok(Self(query))
    }
}

/// Which part of a list by name is asked for: all of it where nothing is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    after: Option<String>,
    limit: Option<usize>,
}

impl Part {
    /// That part of `all`, which ascend by `name`, and the name behind which the next one begins, where there is one.
    pub(super) fn of<'a, T>(&self, all: &'a [T], name: impl Fn(&T) -> &str) -> (&'a [T], Option<String>) {
        let after = self.after.as_deref();
        let rest = &all[all.partition_point(|one| after.is_some_and(|after| name(one) <= after))..];
        let limit = self.limit.map_or(usize::MAX, |limit| limit.clamp(1, 1000));
        let (page, more) = rest.split_at(rest.len().min(limit));
        let next = page.last().filter(|_| !more.is_empty());
        (page, next.map(|last| name(last).to_owned()))
    }
}
