//! `#[derive(Schema)]`: the JSON Schema of a type, written from its fields.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Data, DeriveInput, Field, Fields, Token, Variant};

use crate::attribute::Shape;

/// Statements that append to `out: &mut SchemaText`.
type Writes = TokenStream;

pub(crate) fn derive(item: &DeriveInput) -> TokenStream {
    let name = &item.ident;
    let shape = Shape::of(&item.attrs);
    let writes = match &item.data {
        _ if shape.opaque => anything(),
        Data::Struct(data) => fields(&data.fields, &shape),
        Data::Enum(data) => variants(&data.variants, &shape),
        Data::Union(_) => {
            return syn::Error::new_spanned(name, "a union has no JSON Schema: write a struct or an enum")
                .into_compile_error();
        }
    };
    let mut generics = item.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(::nerve_sdk::Schema));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impl_generics ::nerve_sdk::Schema for #name #type_generics #where_clause {
            fn schema(out: &mut ::nerve_sdk::SchemaText) {
                #writes
            }
        }
    }
}

fn text(text: &str) -> Writes {
    quote!(out.push_str(#text);)
}

fn anything() -> Writes {
    text("{}")
}

fn nested(field: &Field) -> Writes {
    let ty = &field.ty;
    if Shape::of(&field.attrs).opaque {
        return anything();
    }
    quote!(out.nested::<#ty>();)
}

fn fields(fields: &Fields, shape: &Shape) -> Writes {
    match fields {
        Fields::Named(named) if shape.transparent => named
            .named
            .iter()
            .find(|f| !Shape::of(&f.attrs).skip)
            .map_or_else(anything, nested),
        Fields::Named(named) => object(&named.named, shape),
        Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => nested(&unnamed.unnamed[0]),
        Fields::Unnamed(_) => text(r#"{"type":"array"}"#),
        Fields::Unit => text(r#"{"type":"null"}"#),
    }
}

fn object(fields: &Punctuated<Field, Token![,]>, shape: &Shape) -> Writes {
    let mut properties = TokenStream::new();
    let mut required = TokenStream::new();
    let mut first = true;
    for field in fields {
        let own = Shape::of(&field.attrs);
        let Some(ident) = field.ident.as_ref().filter(|_| !own.skip) else {
            continue;
        };
        let ty = &field.ty;
        let name = own.name(ident, shape.rename_all.as_deref(), false);
        if own.opaque {
            properties.extend(quote! {
                if !#first { out.push_str(","); }
                out.string(#name);
                out.push_str(":{}");
            });
        } else {
            properties.extend(quote!(out.field::<#ty>(#first, #name);));
            let (emitted, consumed) = (!own.skip_if, !own.default && !shape.default);
            required.extend(quote!(out.required::<#ty>(&mut any, #name, #emitted, #consumed);));
        }
        first = false;
    }
    let required = (!required.is_empty()).then(|| {
        quote! {
            out.push_str(r#","required":["#);
            let mut any = false;
            #required
            let _ = any;
            out.push_str("]");
        }
    });
    let closed = shape.closed;
    quote! {
        out.push_str(r#"{"type":"object","properties":{"#);
        #properties
        out.push_str("}");
        #required
        out.end_object(#closed);
    }
}

fn variants(variants: &Punctuated<Variant, Token![,]>, shape: &Shape) -> Writes {
    let named: Vec<_> = variants
        .iter()
        .map(|v| (v, Shape::of(&v.attrs)))
        .filter(|(_, own)| !own.skip)
        .map(|(v, own)| (v, own.name(&v.ident, shape.rename_all.as_deref(), true), own))
        .collect();
    if named.iter().all(|(v, _, _)| matches!(v.fields, Fields::Unit)) {
        let texts = named.iter().enumerate().map(|(at, (_, name, _))| {
            quote! {
                if #at > 0 { out.push_str(","); }
                out.string(#name);
            }
        });
        return quote! {
            out.push_str(r#"{"enum":["#);
            #(#texts)*
            out.push_str("]}");
        };
    }
    let alternatives = named.iter().enumerate().map(|(at, (variant, name, own))| {
        let comma = (at > 0).then(|| quote!(out.push_str(",");));
        if matches!(variant.fields, Fields::Unit) {
            return quote! {
                #comma
                out.push_str(r#"{"const":"#);
                out.string(#name);
                out.push_str("}");
            };
        }
        let inner = if own.opaque {
            anything()
        } else {
            fields(&variant.fields, own)
        };
        quote! {
            #comma
            out.push_str(r#"{"type":"object","properties":{"#);
            out.string(#name);
            out.push_str(":");
            { #inner }
            out.push_str(r#"},"required":["#);
            out.string(#name);
            // Serde takes exactly one variant; so no data is two of them.
            out.push_str(r#"],"additionalProperties":false}"#);
        }
    });
    quote! {
        out.push_str(r#"{"oneOf":["#);
        #(#alternatives)*
        out.push_str("]}");
    }
}
