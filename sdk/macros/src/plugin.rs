//! `#[plugin]`: an `impl` block becomes a plugin.

mod arguments;
mod handler;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ImplItem, ItemImpl};

use crate::attribute::Mistakes;
use arguments::{Arguments, Emitted};
use handler::{Handler, Takes};

const SHAPE: &str = "write `struct Greeter;` and `#[plugin] impl Greeter { #[on] fn ..(ctx, event) .. }`";

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let Ok(mut block) = syn::parse2::<ItemImpl>(item.clone()) else {
        let first = item.clone().into_iter().next();
        mistakes.at(
            first,
            format!("`#[plugin]` stands above an `impl` block: {SHAPE}"),
        );
        let mistakes = mistakes.into_tokens();
        return quote!(#item #mistakes);
    };
    if let Some((_, path, _)) = &block.trait_ {
        mistakes.at(
            path,
            format!("a plugin's `impl` block implements no trait: {SHAPE}"),
        );
    }
    if let Some(parameter) = block.generics.params.first() {
        mistakes.at(parameter, format!("a plugin has no parameters: {SHAPE}"));
    }
    let arguments = Arguments::parse(arguments, &mut mistakes);
    let mut handlers = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item
            && let Some(handler) = Handler::take(function, &mut mistakes)
        {
            handlers.push(handler);
        }
    }
    if handlers.is_empty() && mistakes.is_empty() {
        mistakes.at(
            &block.self_ty,
            "the plugin handles nothing: mark a function with `#[on]`, such as `#[on] fn greet(ctx: &mut \
             Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure>`",
        );
    }
    handler::refuse_twins(&handlers, &mut mistakes);
    let generated = if mistakes.is_empty() {
        generate(&block, &arguments, &handlers)
    } else {
        TokenStream::new()
    };
    let mistakes = mistakes.into_tokens();
    quote!(#block #generated #mistakes)
}

fn generate(block: &ItemImpl, arguments: &Arguments, handlers: &[Handler]) -> TokenStream {
    let this = &block.self_ty;
    let (name, version) = (&arguments.name, &arguments.version);
    let readable = &arguments.readable;
    let asks = arguments.asks.iter().map(|ask| {
        let (capability, scope) = (ask.capability.to_string(), &ask.scope);
        quote!(::nerve_sdk::private::ask(&mut manifest, #capability, &[#(#scope),*]);)
    });

    let consumed = handlers.iter().map(|handler| match &handler.takes {
        Takes::Type(ty) => quote!(::nerve_sdk::private::declare_consumed::<#ty>(&mut manifest);),
        Takes::Patterns(patterns) => {
            quote!(#(manifest.subscriptions.push(::std::string::String::from(#patterns));)*)
        }
    });
    let emitted = arguments.emits.iter().map(|emitted| match emitted {
        Emitted::Type(ty) => quote!(::nerve_sdk::private::declare_emitted::<#ty>(&mut manifest);),
        Emitted::Text(text) => quote!(manifest.emits.push(::std::string::String::from(#text));),
    });
    let emits = arguments.emits.iter().filter_map(|emitted| match emitted {
        Emitted::Type(ty) => Some(quote!(impl ::nerve_sdk::EmittedBy<#this> for #ty {})),
        Emitted::Text(_) => None,
    });

    let exact = handlers.iter().filter_map(|handler| {
        let (Takes::Type(ty), function) = (&handler.takes, &handler.name) else {
            return None;
        };
        Some(quote! {
            if ::nerve_sdk::private::has_type(&event, <#ty as ::nerve_sdk::Event>::TYPE) {
                return <#this>::#function(&mut context, ::nerve_sdk::Delivered::<#ty>::parse(event)?);
            }
        })
    });
    // An older type that somebody handles as it is goes there, and only else to who upcasts it.
    let older = handlers.iter().filter_map(|handler| {
        let (Takes::Type(ty), function) = (&handler.takes, &handler.name) else {
            return None;
        };
        Some(quote! {
            event_type if <#ty as ::nerve_sdk::Event>::takes(event_type) => {
                <#this>::#function(&mut context, ::nerve_sdk::Delivered::<#ty>::parse(event)?)
            }
        })
    });
    let patterns = handlers.iter().filter_map(|handler| {
        let (Takes::Patterns(patterns), function) = (&handler.takes, &handler.name) else {
            return None;
        };
        Some(quote! {
            event_type if #(::nerve_sdk::private::matches(#patterns, event_type))||* => {
                <#this>::#function(&mut context, event)
            }
        })
    });

    quote! {
        impl ::nerve_sdk::Plugin for #this {
            const NAME: &'static str = #name;

            fn manifest() -> ::nerve_sdk::Manifest {
                let mut manifest = ::nerve_sdk::private::manifest(#name, #version);
                #(#consumed)*
                #(#emitted)*
                #(manifest.readable.push(::std::string::String::from(#readable));)*
                #(#asks)*
                manifest
            }

            fn dispatch(event: ::nerve_sdk::RawEvent) -> ::core::result::Result<(), ::nerve_sdk::Failure> {
                let mut context = ::nerve_sdk::private::context::<#this>();
                #(#exact)*
                match event.event_type() {
                    #(#older)*
                    #(#patterns)*
                    _ => ::core::result::Result::Err(::nerve_sdk::private::no_handler(&event)),
                }
            }
        }
        #(#emits)*

        ::nerve_sdk::export!(#this);
    }
}
