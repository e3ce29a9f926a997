//! `#[derive(Event)]`: the type, key and subject of an event type, and its schema.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, LitStr};

use crate::attribute::{Mistakes, Shape};
use crate::{event_type, schema};

const SHAPE: &str = "write `#[event(type = \"order.placed\", key = \"order\")]`, where `key` names a field";

#[derive(Default)]
struct Arguments {
    ty: Option<LitStr>,
    key: Option<LitStr>,
    subject: Option<LitStr>,
    upcasts: Option<syn::Type>,
}

pub(crate) fn derive(item: &DeriveInput) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let arguments = arguments(item, &mut mistakes);
    let name = &item.ident;

    if let Some(parameter) = item.generics.params.first() {
        mistakes.at(
            parameter,
            "an event type has no parameters: write the type it stands for",
        );
    }
    if !matches!(&item.data, Data::Struct(data) if matches!(data.fields, Fields::Named(_) | Fields::Unit)) {
        mistakes.at(
            name,
            "an event type is a struct with named fields: put an enum into one of its fields",
        );
    }
    let ty = arguments
        .ty
        .unwrap_or_else(|| LitStr::new("missing", name.span()));
    let key = field(item, arguments.key.as_ref(), "key", &mut mistakes);
    let subject = field(item, arguments.subject.as_ref(), "subject", &mut mistakes);

    let schema = if mistakes.is_empty() {
        schema::derive(item)
    } else {
        TokenStream::new()
    };
    let fields = fields_read(item);
    let upcasts = arguments.upcasts.map(|old| upcasts(&old));
    let mistakes_found = !mistakes.is_empty();
    let mistakes = mistakes.into_tokens();
    if mistakes_found {
        return mistakes;
    }
    quote! {
        #schema
        #[automatically_derived]
        impl ::nerve_sdk::Event for #name {
            const TYPE: &'static str = #ty;

            fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                #key
            }

            fn subject(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                #subject
            }

            fn fields() -> &'static [::nerve_sdk::private::Field] {
                const { &[#fields] }
            }

            #upcasts
        }
    }
}

/// What an event type does that also reads the older type `old`.
fn upcasts(old: &syn::Type) -> TokenStream {
    let event = quote!(<#old as ::nerve_sdk::Event>);
    quote! {
        fn takes(event_type: &str) -> bool {
            event_type == Self::TYPE || #event::takes(event_type)
        }

        fn read(event: &::nerve_sdk::RawEvent) -> ::core::result::Result<Self, ::std::string::String> {
            if #event::takes(event.event_type()) {
                return #event::read(event).map(<Self as ::nerve_sdk::Upcasts<#old>>::upcast);
            }
            ::nerve_sdk::private::read::<Self>(event.data())
        }

        fn declare_older(manifest: &mut ::nerve_sdk::Manifest) {
            ::nerve_sdk::private::declare_consumed::<#old>(manifest);
        }
    }
}

/// The fields by name, each with a function that reads it alone: for naming the one at fault.
fn fields_read(item: &DeriveInput) -> TokenStream {
    let Data::Struct(data) = &item.data else {
        return TokenStream::new();
    };
    let whole = Shape::of(&item.attrs);
    let fields = data.fields.iter().filter_map(|field| {
        let own = Shape::of(&field.attrs);
        if own.skip || own.opaque || whole.opaque || whole.transparent {
            return None;
        }
        let name = own.name(field.ident.as_ref()?, whole.rename_all.as_deref(), false);
        let ty = &field.ty;
        Some(quote!((#name, ::nerve_sdk::private::reads::<#ty>),))
    });
    fields.collect()
}

fn arguments(item: &DeriveInput, mistakes: &mut Mistakes) -> Arguments {
    let mut arguments = Arguments::default();
    let mut seen = false;
    for attribute in item.attrs.iter().filter(|a| a.path().is_ident("event")) {
        seen = true;
        let parsed = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("upcasts") {
                if arguments.upcasts.is_some() {
                    return Err(meta.error(
                        "this is given twice: name the newest older type, which may upcast others itself",
                    ));
                }
                arguments.upcasts = Some(meta.value()?.parse()?);
                return Ok(());
            }
            let slot = if meta.path.is_ident("type") {
                &mut arguments.ty
            } else if meta.path.is_ident("key") {
                &mut arguments.key
            } else if meta.path.is_ident("subject") {
                &mut arguments.subject
            } else {
                return Err(meta.error(format!(
                    "`event` knows `type`, `key`, `subject` and `upcasts`: {SHAPE}"
                )));
            };
            if slot.is_some() {
                return Err(meta.error("this is given twice: remove one"));
            }
            *slot = Some(meta.value()?.parse()?);
            Ok(())
        });
        mistakes.note(parsed);
    }
    match &arguments.ty {
        Some(ty) => mistakes.note(event_type::check_type(ty)),
        None if seen && !mistakes.is_empty() => {}
        None => mistakes.at(&item.ident, format!("the event has no type: {SHAPE}")),
    }
    arguments
}

fn field(item: &DeriveInput, name: Option<&LitStr>, what: &str, mistakes: &mut Mistakes) -> TokenStream {
    let Some(name) = name else {
        return quote!(::core::option::Option::None);
    };
    let Data::Struct(data) = &item.data else {
        return TokenStream::new();
    };
    let fields: Vec<_> = data.fields.iter().filter_map(|f| f.ident.as_ref()).collect();
    let Some(ident) = fields.iter().find(|ident| ident.to_string() == name.value()) else {
        let known: Vec<_> = fields
            .iter()
            .map(|ident| format!("{:?}", ident.to_string()))
            .collect();
        mistakes.at(
            name,
            format!(
                "`{what}` names no field of `{}`: write one of {}, or leave `{what}` out",
                item.ident,
                known.join(", ")
            ),
        );
        return TokenStream::new();
    };
    let ident = syn::Ident::new(&ident.to_string(), name.span());
    quote!(::nerve_sdk::EventKey::event_key(&self.#ident))
}
