//! MessagePack, as the log keeps it: structs are maps with the names of their fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of `value`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(128);
    value
        .serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The value in `bytes`; the text of an error names the field where one is at fault.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
