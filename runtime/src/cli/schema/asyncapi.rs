//! An `AsyncAPI` 3.0 document: a channel for each event type, an operation for each plugin that sends or receives it.

use serde_json::{Map, Value, json};

use super::export::schema_of;

/// The document of `types`, as `/v1/schemas` lists them.
pub(super) fn document(types: &[Value]) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for one in types {
        let Some(name) = one["type"].as_str() else {
            continue;
        };
        let mut message = json!({ "name": name, "contentType": "application/json" });
        if let Some(schema) = schema_of(one) {
            message["payload"] = json!({
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": schema,
            });
        }
        messages.insert(name.to_owned(), message);
        let channel = json!({
            "address": name,
            "messages": { name: { "$ref": format!("#/components/messages/{name}") } },
        });
        channels.insert(name.to_owned(), channel);
        for (side, action) in [("producers", "send"), ("consumers", "receive")] {
            for plugin in one[side].as_array().into_iter().flatten() {
                let Some(plugin) = plugin["plugin"].as_str() else {
                    continue;
                };
                let operation = json!({
                    "action": action,
                    "channel": { "$ref": format!("#/channels/{name}") },
                    "messages": [{ "$ref": format!("#/channels/{name}/messages/{name}") }],
                    "tags": [{ "name": plugin }],
                });
                operations.insert(format!("{plugin}.{action}.{name}"), operation);
            }
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of a nerve host",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Event types that live plugins name or an operator set, and the plugins that send and receive them.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in `value`.
    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, out));
            }
            Value::Array(all) => all.iter().for_each(|value| references(value, out)),
            _ => {}
        }
    }

    #[test]
    fn every_type_is_a_channel_and_every_plugin_an_operation_of_it() {
        let schema = json!({"type": "object"});
        let types = [
            json!({"type": "order.placed", "set": null, "producers": [{"plugin": "carts", "schema": schema}],
                "consumers": [{"plugin": "orders", "schema": {"type": "object", "required": ["cents"]}}]}),
            json!({"type": "user.registered", "set": {"type": "object", "title": "set"}, "producers": [],
                "consumers": [{"plugin": "profiles", "schema": null}]}),
        ];
        let made = document(&types);
        assert_eq!(made["asyncapi"], "3.0.0");
        assert_eq!(made["operations"]["carts.send.order.placed"]["action"], "send");
        assert_eq!(
            made["operations"]["orders.receive.order.placed"]["action"],
            "receive"
        );
        assert_eq!(made["operations"].as_object().unwrap().len(), 3);
        let payload = |name: &str| made["components"]["messages"][name]["payload"]["schema"].clone();
        assert_eq!(payload("order.placed"), schema, "the producer's is the type's");
        assert_eq!(payload("user.registered")["title"], "set");
        let mut all = Vec::new();
        references(&made, &mut all);
        assert_eq!(all.len(), 2 + 2 * 3);
        for reference in all {
            assert!(made.pointer(&reference[1..]).is_some(), "{reference} is there");
        }
        for name in made["operations"].as_object().unwrap().keys() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(name.chars().all(is_plain), "{name} is a key that AsyncAPI allows");
        }
    }
}
