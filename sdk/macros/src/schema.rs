//! `#[derive(Schema)]`: the JSON Schema of a type, written from its fields.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Data, DeriveInput, Field, Fields, Token, Variant};

use crate::attribute::Shape;

/// Statements that append to `out: &mut String`, at `depth: u32`.
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
            fn schema(out: &mut ::std::string::String, depth: u32) {
                let _ = depth;
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
    quote! {
        if depth < ::nerve_sdk::private::MAX_DEPTH {
            <#ty as ::nerve_sdk::Schema>::schema(out, depth + 1);
        } else {
            out.push_str("{}");
        }
    }
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
                if !#first { out.push(','); }
                ::nerve_sdk::private::string(out, #name);
                out.push_str(":{}");
            });
        } else {
            properties.extend(quote!(::nerve_sdk::private::field::<#ty>(out, #first, #name, depth);));
            if !own.default && !shape.default {
                required.extend(quote! {
                    if <#ty as ::nerve_sdk::Schema>::REQUIRED {
                        if any { out.push(','); }
                        any = true;
                        ::nerve_sdk::private::string(out, #name);
                    }
                });
            }
        }
        first = false;
    }
    let required = if required.is_empty() {
        text("}}")
    } else {
        quote! {
            out.push_str(r#"},"required":["#);
            let mut any = false;
            #required
            let _ = any;
            out.push_str("]}");
        }
    };
    quote! {
        out.push_str(r#"{"type":"object","properties":{"#);
        #properties
        #required
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
                if #at > 0 { out.push(','); }
                ::nerve_sdk::private::string(out, #name);
            }
        });
        return quote! {
            out.push_str(r#"{"enum":["#);
            #(#texts)*
            out.push_str("]}");
        };
    }
    let alternatives = named.iter().enumerate().map(|(at, (variant, name, own))| {
        let comma = (at > 0).then(|| quote!(out.push(',');));
        if matches!(variant.fields, Fields::Unit) {
            return quote! {
                #comma
                out.push_str(r#"{"const":"#);
                ::nerve_sdk::private::string(out, #name);
                out.push('}');
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
            ::nerve_sdk::private::string(out, #name);
            out.push(':');
            { #inner }
            out.push_str(r#"},"required":["#);
            ::nerve_sdk::private::string(out, #name);
            out.push_str("]}");
        }
    });
    quote! {
        out.push_str(r#"{"oneOf":["#);
        #(#alternatives)*
        out.push_str("]}");
    }
}
