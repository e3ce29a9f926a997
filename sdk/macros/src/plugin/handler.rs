//! One handler: a function marked with `#[on]`, and what it takes.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{FnArg, GenericArgument, Ident, ImplItemFn, LitStr, Meta, PathArguments, Token, Type};

use crate::attribute::Mistakes;
use crate::event_type;

const TYPED: &str =
    "fn handle(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure>";
const RAW: &str = "fn handle(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure>";

/// What a handler takes.
pub(super) enum Takes {
    /// Events of one type, parsed.
    Type(Box<Type>),
    /// Events of all types that match, as they are.
    Patterns(Vec<LitStr>),
}

pub(super) struct Handler {
    pub(super) name: Ident,
    pub(super) takes: Takes,
}

impl Handler {
    /// Read and remove the `#[on]` of `function`; `None` where it has none, or a wrong one.
    pub(super) fn take(function: &mut ImplItemFn, mistakes: &mut Mistakes) -> Option<Self> {
        let at = function.attrs.iter().position(|a| a.path().is_ident("on"))?;
        let on = function.attrs.remove(at);
        if let Some(twice) = function.attrs.iter().find(|a| a.path().is_ident("on")) {
            mistakes.at(
                twice,
                "a handler has one `#[on]`: list several patterns in one, `#[on(\"a.*\", \"b.>\")]`",
            );
            function.attrs.retain(|a| !a.path().is_ident("on"));
            return None;
        }
        let patterns = match &on.meta {
            Meta::Path(_) => Vec::new(),
            _ => match on.parse_args_with(Punctuated::<LitStr, Token![,]>::parse_terminated) {
                Ok(patterns) if !patterns.is_empty() => patterns.into_iter().collect(),
                _ => {
                    mistakes.at(
                        &on,
                        "write `#[on]`, or patterns in quotes: `#[on(\"order.*\", \"user.>\")]`",
                    );
                    return None;
                }
            },
        };
        for pattern in &patterns {
            mistakes.note(event_type::check_pattern(pattern));
        }
        let wanted = if patterns.is_empty() { TYPED } else { RAW };
        let signature = &function.sig;
        if let Some(asyncness) = &signature.asyncness {
            mistakes.at(
                asyncness,
                "a handler is not async: the host calls it and waits for its answer",
            );
        }
        let inputs: Vec<_> = signature.inputs.iter().collect();
        let [FnArg::Typed(_), FnArg::Typed(event)] = inputs.as_slice() else {
            let message = match inputs.first() {
                Some(FnArg::Receiver(_)) => {
                    "a handler has no `self`: what it keeps belongs into `ctx.state()`"
                }
                _ => "a handler takes a context and an event",
            };
            mistakes.at(&signature.ident, format!("{message}; write `{wanted}`"));
            return None;
        };
        let event = event.ty.as_ref();
        let takes = match (delivered(event), patterns.is_empty()) {
            (Some(ty), true) => Takes::Type(Box::new(ty.clone())),
            (None, false) if is_raw(event) => Takes::Patterns(patterns),
            (None, true) => {
                let hint = if is_raw(event) {
                    " or name the events it takes: `#[on(\"order.*\")]`"
                } else {
                    ""
                };
                mistakes.at(
                    event,
                    format!("`#[on]` can't tell the event type: write `{TYPED}`{hint}"),
                );
                return None;
            }
            (_, false) => {
                mistakes.at(
                    event,
                    format!(
                        "`#[on(\"..\")]` takes events of any type, so it gets the raw one: write `{RAW}`"
                    ),
                );
                return None;
            }
        };
        Some(Self {
            name: signature.ident.clone(),
            takes,
        })
    }
}

/// The `T` of `Delivered<T>`.
fn delivered(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|segment| segment.ident == "Delivered")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn is_raw(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "RawEvent"))
}

/// Two handlers of one event type can't both be called.
pub(super) fn refuse_twins(handlers: &[Handler], mistakes: &mut Mistakes) {
    let mut seen: Vec<(String, &Ident)> = Vec::new();
    for handler in handlers {
        let Takes::Type(ty) = &handler.takes else { continue };
        let text = ty.to_token_stream().to_string();
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == text) {
            mistakes.at(
                &handler.name,
                format!("`{first}` handles `{text}` already: an event goes to one handler, so call one from the other"),
            );
        }
        seen.push((text, &handler.name));
    }
}
