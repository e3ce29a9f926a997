//! What stands in the parentheses of `#[plugin(..)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Token, Type};

use crate::attribute::Mistakes;
use crate::event_type;

const KNOWN: &str = "`plugin` knows `name = \"..\"`, `version = \"..\"`, `emits(MailSent, \"some.type\")`, \
                     `readable(\"prefix/\")` and `asks(http(\"GET api.example.com:443\"))`";

/// One entry of `emits(..)`.
pub(super) enum Emitted {
    /// An event type.
    Type(Box<Type>),
    /// A type known by its text only.
    Text(LitStr),
}

impl Parse for Emitted {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            return input.parse().map(Self::Text);
        }
        input.parse().map(|ty| Self::Type(Box::new(ty)))
    }
}

/// One entry of `asks(..)`: a capability, and what of it.
pub(super) struct Ask {
    pub(super) capability: Ident,
    pub(super) scope: Vec<LitStr>,
}

impl Parse for Ask {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let capability: Ident = input.parse()?;
        if capability != "http" {
            return Err(syn::Error::new(
                capability.span(),
                "the only capability to ask for is `http`: write `asks(http(\"GET api.example.com:443\"))`",
            ));
        }
        let mut scope = Vec::new();
        if input.peek(syn::token::Paren) {
            let list;
            syn::parenthesized!(list in input);
            scope.extend(Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?);
        }
        Ok(Self { capability, scope })
    }
}

pub(super) struct Arguments {
    pub(super) name: LitStr,
    pub(super) version: LitStr,
    pub(super) emits: Vec<Emitted>,
    pub(super) readable: Vec<LitStr>,
    pub(super) asks: Vec<Ask>,
}

impl Arguments {
    pub(super) fn parse(tokens: TokenStream, mistakes: &mut Mistakes) -> Self {
        let (mut name, mut version) = (None, None);
        let (mut emits, mut readable, mut asks) = (Vec::new(), Vec::new(), Vec::new());
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("emits") {
                let list;
                syn::parenthesized!(list in meta.input);
                emits.extend(Punctuated::<Emitted, Token![,]>::parse_terminated(&list)?);
            } else if meta.path.is_ident("readable") {
                let list;
                syn::parenthesized!(list in meta.input);
                readable.extend(Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?);
            } else if meta.path.is_ident("asks") {
                let list;
                syn::parenthesized!(list in meta.input);
                asks.extend(Punctuated::<Ask, Token![,]>::parse_terminated(&list)?);
            } else {
                return Err(meta.error(KNOWN));
            }
            Ok(())
        });
        mistakes.note(parser.parse2(tokens));

        let name = name.unwrap_or_else(|| of_package("CARGO_PKG_NAME"));
        let version = version.unwrap_or_else(|| of_package("CARGO_PKG_VERSION"));
        if !event_type::is_plugin_name(&name.value()) {
            mistakes.push(syn::Error::new(
                name.span(),
                format!(
                    "{:?} is not a plugin's name: write `#[plugin(name = \"..\")]` with at most 64 of `a-z 0-9 -`, \
                     a letter first",
                    name.value()
                ),
            ));
        }
        if version.value().len() > 64 {
            mistakes.at(
                &version,
                "the version text is longer than 64 bytes: write a shorter one",
            );
        }
        for emitted in &emits {
            if let Emitted::Text(text) = emitted {
                mistakes.note(event_type::check_type(text));
            }
        }
        Self {
            name,
            version,
            emits,
            readable,
            asks,
        }
    }
}

fn of_package(variable: &str) -> LitStr {
    LitStr::new(&std::env::var(variable).unwrap_or_default(), Span::call_site())
}
