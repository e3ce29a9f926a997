//! The grammar of event types, patterns and plugin names, checked while the plugin is compiled.

use syn::LitStr;

const MAX_BYTES: usize = 256;

/// Whether `token` may stand between the dots of a type.
fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Check an exact type, such as `order.placed`.
pub(crate) fn check_type(text: &LitStr) -> syn::Result<()> {
    let value = text.value();
    if value.len() <= MAX_BYTES && value.split('.').all(is_token) {
        return Ok(());
    }
    Err(syn::Error::new(
        text.span(),
        format!(
            "{value:?} is not an event type: write at most {MAX_BYTES} bytes of tokens of `a-z A-Z 0-9 _ -` \
             joined by dots, such as \"order.placed\""
        ),
    ))
}

/// Check a pattern, such as `order.*` or `order.>`.
pub(crate) fn check_pattern(text: &LitStr) -> syn::Result<()> {
    let value = text.value();
    let count = value.split('.').count();
    let well_formed = value
        .split('.')
        .enumerate()
        .all(|(at, token)| is_token(token) || token == "*" || (token == ">" && at + 1 == count));
    if well_formed && value.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(syn::Error::new(
        text.span(),
        format!(
            "{value:?} is not a pattern of event types: write an exact type, `*` for one token (\"order.*\"), \
             or `>` at the end for the rest (\"order.>\")"
        ),
    ))
}

/// Whether `name` may be a plugin's name.
pub(crate) fn is_plugin_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
