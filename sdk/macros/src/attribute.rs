//! Collecting mistakes, and the parts of serde's attributes that change a schema.

use syn::{Attribute, LitStr};

/// All the mistakes found in one item.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn at(&mut self, spanned: impl quote::ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(spanned, message));
    }

    pub(crate) fn note(&mut self, result: syn::Result<()>) {
        if let Err(error) = result {
            self.push(error);
        }
    }

    pub(crate) fn into_tokens(self) -> proc_macro2::TokenStream {
        self.0.map(syn::Error::into_compile_error).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What serde's attributes on a type, variant or field say about its shape.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for one attribute of serde"
)]
pub(crate) struct Shape {
    /// `rename = ".."`, as read by the deserializer where the two differ.
    pub(crate) rename: Option<String>,
    /// `rename_all = ".."`.
    pub(crate) rename_all: Option<String>,
    /// `default`, or `alias`: the field may be missing where it is read.
    pub(crate) default: bool,
    /// `skip_serializing_if`: the field may be missing where it is written.
    pub(crate) skip_if: bool,
    /// `deny_unknown_fields`.
    pub(crate) closed: bool,
    /// `skip`: the field is not part of the data.
    pub(crate) skip: bool,
    /// `transparent`.
    pub(crate) transparent: bool,
    /// An attribute that changes the shape in a way not followed here.
    pub(crate) opaque: bool,
}

impl Shape {
    pub(crate) fn of(attributes: &[Attribute]) -> Self {
        let mut shape = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
            // Serde itself reports what it can't parse.
            let parsed = attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match name.as_str() {
                    "rename" | "rename_all" if meta.input.peek(syn::Token![=]) => {
                        let text = meta.value()?.parse::<LitStr>()?.value();
                        *(if name == "rename" {
                            &mut shape.rename
                        } else {
                            &mut shape.rename_all
                        }) = Some(text);
                        return Ok(());
                    }
                    "default" | "alias" => shape.default = true,
                    "skip_serializing_if" => shape.skip_if = true,
                    "deny_unknown_fields" => shape.closed = true,
                    "skip" => shape.skip = true,
                    "transparent" => shape.transparent = true,
                    "bound" | "crate" | "expecting" => {}
                    _ => shape.opaque = true,
                }
                skip_value(meta.input)
            });
            shape.opaque |= parsed.is_err();
        }
        shape
    }

    /// The name in the data of what is called `ident`, under the type's `rename_all`.
    pub(crate) fn name(&self, ident: &syn::Ident, rename_all: Option<&str>, variant: bool) -> String {
        use syn::ext::IdentExt;
        if let Some(name) = &self.rename {
            return name.clone();
        }
        let name = ident.unraw().to_string();
        let words = words(&name, variant);
        let join = |separator: &str, case: fn(&str) -> String| {
            words
                .iter()
                .map(|word| case(word))
                .collect::<Vec<_>>()
                .join(separator)
        };
        match rename_all {
            Some("lowercase") => name.to_lowercase(),
            Some("UPPERCASE") => name.to_uppercase(),
            Some("PascalCase") => join("", capital),
            Some("camelCase") => {
                let pascal = join("", capital);
                let mut chars = pascal.chars();
                chars
                    .next()
                    .map(|c| c.to_lowercase().chain(chars).collect())
                    .unwrap_or_default()
            }
            Some("snake_case") => join("_", str::to_lowercase),
            Some("SCREAMING_SNAKE_CASE") => join("_", str::to_uppercase),
            Some("kebab-case") => join("-", str::to_lowercase),
            Some("SCREAMING-KEBAB-CASE") => join("-", str::to_uppercase),
            _ => name,
        }
    }
}

fn skip_value(input: syn::parse::ParseStream<'_>) -> syn::Result<()> {
    if input.peek(syn::Token![=]) {
        input.parse::<syn::Token![=]>()?;
        input.parse::<syn::Expr>()?;
    } else if input.peek(syn::token::Paren) {
        let inner;
        syn::parenthesized!(inner in input);
        inner.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

/// The words of a variant's name (`OrderPlaced`) or a field's (`order_placed`).
fn words(name: &str, variant: bool) -> Vec<String> {
    if !variant {
        return name.split('_').map(str::to_owned).collect();
    }
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
