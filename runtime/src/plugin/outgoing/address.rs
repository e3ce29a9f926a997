//! Which addresses may be called: public ones, and those that the operator lists.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// A range of addresses: `127.0.0.1`, or `10.1.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    address: IpAddr,
    bits: u32,
}

/// A text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no range: write 127.0.0.1, ::1 or 10.1.0.0/16")]
pub struct BadRange(String);

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(text.chars().take(80).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all {
            return Err(bad());
        }
        Ok(Self { address, bits })
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl Range {
    const fn v4(a: u8, b: u8, c: u8, bits: u32) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
            bits,
        }
    }

    const fn v6(a: u16, b: u16, c: u16, d: u16, bits: u32) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
            bits,
        }
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_head(
                u128::from(own.to_bits()) << 96,
                u128::from(other.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_head(own.to_bits(), other.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same_head(one: u128, other: u128, bits: u32) -> bool {
    bits == 0 || (one ^ other) >> (128 - bits) == 0
}

/// IPv4 ranges that no public server has (IANA's special-purpose registry, multicast and reserved ones).
const NOT_PUBLIC_V4: [Range; 15] = [
    Range::v4(0, 0, 0, 8),
    Range::v4(10, 0, 0, 8),
    Range::v4(100, 64, 0, 10),
    Range::v4(127, 0, 0, 8),
    Range::v4(169, 254, 0, 16),
    Range::v4(172, 16, 0, 12),
    Range::v4(192, 0, 0, 24),
    Range::v4(192, 0, 2, 24),
    Range::v4(192, 88, 99, 24),
    Range::v4(192, 168, 0, 16),
    Range::v4(198, 18, 0, 15),
    Range::v4(198, 51, 100, 24),
    Range::v4(203, 0, 113, 24),
    Range::v4(224, 0, 0, 4),
    Range::v4(240, 0, 0, 4),
];

/// The IPv6 addresses that are given out to the public; every other one is not.
const PUBLIC_V6: Range = Range::v6(0x2000, 0, 0, 0, 3);

/// What of these is special all the same: protocol assignments with Teredo and ORCHID, documentation, 6to4.
const NOT_PUBLIC_V6: [Range; 4] = [
    Range::v6(0x2001, 0, 0, 0, 23),
    Range::v6(0x2001, 0xdb8, 0, 0, 32),
    Range::v6(0x2002, 0, 0, 0, 16),
    Range::v6(0x3fff, 0, 0, 0, 20),
];

/// The prefix under which NAT64 hides an IPv4 address.
const NAT64: Range = Range::v6(0x64, 0xff9b, 0, 0, 96);

/// The address that is reached in the end: an IPv4 address may be written into an IPv6 one.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    if NAT64.holds(address) {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

/// Whether a plugin may be connected to `address`.
fn is_allowed(address: IpAddr, listed: &[Range]) -> bool {
    let reached = reached(address);
    if listed
        .iter()
        .any(|range| range.holds(reached) || range.holds(address))
    {
        return true;
    }
    match reached {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|range| range.holds(reached)),
        IpAddr::V6(_) => PUBLIC_V6.holds(reached) && !NOT_PUBLIC_V6.iter().any(|range| range.holds(reached)),
    }
}

/// A name leads to an address that must not be called.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which is no public address and is not listed in `http.addresses`")]
pub(super) struct NotPublic {
    host: String,
    address: IpAddr,
}

/// Looks a name up once, and gives its addresses only where each may be called. The connection is made to these,
/// without a second look-up, so that a name can't lead elsewhere in between.
pub(super) struct Checked<R> {
    pub(super) lookup: R,
    pub(super) listed: Vec<Range>,
}

impl<R> fmt::Debug for Checked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

impl<R: Resolver> Resolver for Checked<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.lookup.resolve(uri, config, timeout)?;
        let refused = found
            .iter()
            .map(SocketAddr::ip)
            .find(|address| !is_allowed(*address, &self.listed));
        match refused {
            None => Ok(found),
            Some(address) => Err(ureq::Error::Other(Box::new(NotPublic {
                host: uri.host().unwrap_or_default().to_owned(),
                address,
            }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(address: &str, listed: &[&str]) -> bool {
        let listed: Vec<Range> = listed.iter().map(|range| range.parse().unwrap()).collect();
        is_allowed(address.parse().unwrap(), &listed)
    }

    #[test]
    fn only_public_addresses_may_be_called() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allowed(address, &[]), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(allowed(address, &[]), "{address}");
        }
    }

    #[test]
    fn what_is_listed_may_be_called_and_its_neighbours_may_not() {
        for (address, listed, may) in [
            ("127.0.0.1", &["127.0.0.1"][..], true),
            ("127.0.0.2", &["127.0.0.1"], false),
            ("::ffff:127.0.0.1", &["127.0.0.1"], true),
            ("10.1.2.3", &["10.1.0.0/16"], true),
            ("10.2.2.3", &["10.1.0.0/16"], false),
            ("10.2.2.3", &["192.168.0.0/16", "0.0.0.0/0"], true),
            ("::1", &["0.0.0.0/0"], false),
            ("fd00::5", &["fd00::/8"], true),
        ] {
            assert_eq!(allowed(address, listed), may, "{address} with {listed:?}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0/8", "1.2.3.4/x"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
