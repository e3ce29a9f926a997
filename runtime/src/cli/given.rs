//! What several commands are given, and how it is refused: with how to write it.

use std::net::SocketAddr;

/// The offset of an event: `17`, or `@17` as it stands in traces.
pub(super) fn offset(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('@').unwrap_or(text);
    number
        .parse()
        .map_err(|_| "write an offset such as 17, as `nerve events` shows it".to_owned())
}

/// The address of a host, as a client writes it.
pub(super) fn server(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("write the whole address, such as http://127.0.0.1:7117".to_owned()),
    }
}

/// Where a host listens.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an address with its port, such as 127.0.0.1:7117".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_refused() {
        assert_eq!((offset("17"), offset("@17")), (Ok(17), Ok(17)));
        assert!(offset("@").is_err() && offset("minus").is_err() && offset("-1").is_err());
        assert!(server("http://[::1]:7").is_ok() && server("https://host").is_ok());
        assert!(server("127.0.0.1:7117").is_err() && server("http://").is_err() && server("").is_err());
        assert!(listen("[::1]:0").is_ok() && listen("localhost").is_err() && listen("127.0.0.1").is_err());
    }
}
