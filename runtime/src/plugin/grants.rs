//! What a plugin asks for against what it was granted: denied by default.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::log::record::Asks;

/// The capability to call somebody outside.
pub const HTTP: &str = "http";

/// Longest host of a scope, in bytes.
const LONGEST_HOST: usize = 253;

/// Where a plugin may call, and how: `GET,POST api.example.com:443`. Without methods all are meant; the port `*`
/// means every port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpScope {
    /// Upper-case methods; empty means all.
    methods: Vec<Box<str>>,
    /// Lower-case name or address; IPv6 addresses without brackets.
    host: Box<str>,
    /// `None` means every port.
    port: Option<u16>,
}

/// Why asks or grants were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    /// There is no such capability.
    #[error(
        "there is no capability {0:?}: the only one is {HTTP:?}; everything else is given to all, or to nobody"
    )]
    Capability(String),
    /// A scope is malformed.
    #[error("{0:?} is no scope of {HTTP:?}: write METHODS HOST:PORT, such as `GET,POST api.example.com:443`")]
    Scope(String),
}

impl FromStr for HttpScope {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let bad = || BadGrant::Scope(text.chars().take(300).collect());
        let (methods, place) = match text.split_once(' ') {
            Some((methods, place)) => (methods.split(',').collect(), place),
            None => (Vec::new(), text),
        };
        let is_method = |method: &&str| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
        let port = match port {
            "*" => None,
            number => Some(number.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?),
        };
        let host = host_of(host).ok_or_else(bad)?;
        if !methods.iter().all(is_method) {
            return Err(bad());
        }
        Ok(Self {
            methods: methods.into_iter().map(Into::into).collect(),
            host: host.into(),
            port,
        })
    }
}

/// A host as scopes and calls are compared by: lower case, IPv6 addresses without brackets; `None` where it is none.
pub fn host_of(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare {
        return address
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|address| address.to_string());
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let whole = !text.is_empty() && text.len() <= LONGEST_HOST && text.bytes().all(known);
    whole.then(|| text.to_ascii_lowercase())
}

impl fmt::Display for HttpScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        let brackets = self.host.contains(':');
        let (open, close) = if brackets { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:", self.host)?;
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

impl HttpScope {
    /// Whether a call is within it.
    pub fn allows(&self, method: &str, host: &str, port: u16) -> bool {
        *self.host == *host
            && self.port.is_none_or(|own| own == port)
            && (self.methods.is_empty() || self.methods.iter().any(|own| **own == *method))
    }

    /// Whether all that `asked` asks for is within it or the others of `granted`.
    fn is_covered(asked: &Self, granted: &[Self]) -> bool {
        let fits = |own: &&Self| own.host == asked.host && (own.port.is_none() || own.port == asked.port);
        if asked.methods.is_empty() {
            return granted.iter().filter(fits).any(|own| own.methods.is_empty());
        }
        let is_allowed = |method| {
            let mut fitting = granted.iter().filter(fits);
            fitting.any(|own| own.methods.is_empty() || own.methods.contains(method))
        };
        asked.methods.iter().all(is_allowed)
    }
}

/// What is granted: by the operator's settings, and by what an operator approved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    /// Where the plugin may call; `None` where the capability is not granted at all.
    http: Option<Vec<HttpScope>>,
}

impl Grants {
    /// The grants in the table `[grants]`.
    pub fn parse(table: &BTreeMap<String, Vec<String>>) -> Result<Self, BadGrant> {
        let mut grants = Self::default();
        for (capability, scopes) in table {
            grants.add(capability, scopes)?;
        }
        Ok(grants)
    }

    /// These and what was approved.
    pub fn with(&self, approved: &Asks) -> Result<Self, BadGrant> {
        let mut grants = self.clone();
        for (capability, scopes) in approved {
            grants.add(capability, scopes)?;
        }
        Ok(grants)
    }

    fn add(&mut self, capability: &str, scopes: &[String]) -> Result<(), BadGrant> {
        if capability != HTTP {
            return Err(BadGrant::Capability(capability.chars().take(80).collect()));
        }
        let scopes: Vec<HttpScope> = scopes.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        self.http.get_or_insert_default().extend(scopes);
        Ok(())
    }

    /// What of `asks` is not granted. A capability that is asked for without a scope is granted with any scope, or
    /// by an empty one: it is then for the operator to say where.
    pub fn missing(&self, asks: &Asks) -> Result<Asks, BadGrant> {
        let mut missing = Asks::new();
        for (capability, scopes) in asks {
            if capability != HTTP {
                return Err(BadGrant::Capability(capability.chars().take(80).collect()));
            }
            let granted = self.http.as_deref();
            let mut left = Vec::new();
            for text in scopes {
                let asked: HttpScope = text.parse()?;
                if !HttpScope::is_covered(&asked, granted.unwrap_or_default()) {
                    left.push(text.clone());
                }
            }
            if granted.is_none() || !left.is_empty() {
                missing.push((capability.clone(), left));
            }
        }
        Ok(missing)
    }

    /// Whether a call is granted.
    pub fn allow_call(&self, method: &str, host: &str, port: u16) -> bool {
        let mut scopes = self.http.iter().flatten();
        scopes.any(|scope| scope.allows(method, host, port))
    }

    /// What is granted, in the words of the settings.
    pub fn shown(&self) -> Asks {
        let scopes = |scopes: &Vec<HttpScope>| scopes.iter().map(ToString::to_string).collect();
        self.http
            .iter()
            .map(|http| (HTTP.to_owned(), scopes(http)))
            .collect()
    }
}

/// Asks in words: `http GET api.example.com:443`.
pub fn in_words(asks: &[(String, Vec<String>)]) -> String {
    let words = asks.iter().map(|(capability, scopes)| match &scopes[..] {
        [] => capability.clone(),
        scopes => format!("{capability} {}", scopes.join("; ")),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(scopes: &[&str]) -> Asks {
        vec![(HTTP.into(), scopes.iter().map(ToString::to_string).collect())]
    }

    #[test]
    fn invariant_09_what_is_not_granted_is_missing() {
        for (granted, asked, missing) in [
            (None, &[][..], Some(&[][..])),
            (None, &["GET a:443"], Some(&["GET a:443"])),
            (Some(&[][..]), &[], None),
            (Some(&[]), &["GET a:443"], Some(&["GET a:443"])),
            (Some(&["GET a:443"]), &["GET a:443"], None),
            (Some(&["a:443"]), &["GET A:443"], None),
            (Some(&["GET a:443"]), &["a:443"], Some(&["a:443"])),
            (Some(&["GET a:443", "POST a:*"]), &["GET,POST a:443"], None),
            (
                Some(&["GET a:443", "POST a:80"]),
                &["GET,POST a:443"],
                Some(&["GET,POST a:443"]),
            ),
            (Some(&["GET a:443"]), &["GET a:*"], Some(&["GET a:*"])),
            (
                Some(&["GET a:443"]),
                &["GET b.a:443", "GET a:443"],
                Some(&["GET b.a:443"]),
            ),
            (Some(&["GET [::1]:80"]), &["GET [0::1]:80"], None),
        ] {
            let grants = granted.map_or_else(Grants::default, |scopes: &[&str]| {
                Grants::default().with(&asks(scopes)).unwrap()
            });
            let found = grants.missing(&asks(asked)).unwrap();
            let wanted = missing.map(|scopes: &[&str]| asks(scopes)).unwrap_or_default();
            assert_eq!(found, wanted, "{granted:?} against {asked:?}");
        }
        assert_eq!(Grants::default().missing(&Asks::new()), Ok(Asks::new()));
    }

    #[test]
    fn a_call_is_allowed_where_method_host_and_port_are_granted() {
        let grants = Grants::default()
            .with(&asks(&["GET,PUT a.b:443", "c:*"]))
            .unwrap();
        for (method, host, port, allowed) in [
            ("GET", "a.b", 443, true),
            ("PUT", "a.b", 443, true),
            ("POST", "a.b", 443, false),
            ("GET", "a.b", 80, false),
            ("GET", "x.a.b", 443, false),
            ("DELETE", "c", 1, true),
        ] {
            assert_eq!(
                grants.allow_call(method, host, port),
                allowed,
                "{method} {host}:{port}"
            );
        }
        assert!(!Grants::default().allow_call("GET", "a.b", 443));
    }

    #[test]
    fn what_is_no_grant_is_refused_in_words() {
        for text in [
            "",
            "a",
            "a:0",
            "a:70000",
            "get a:1",
            "GET  a:1",
            "GET, a:1",
            "*:443",
            "http://a:1",
            "[x]:1",
            "a b:1",
        ] {
            let refused = text.parse::<HttpScope>().unwrap_err().to_string();
            assert!(refused.contains("GET,POST api.example.com:443"), "{refused}");
        }
        let refused = Grants::default()
            .missing(&vec![("files".into(), vec![])])
            .unwrap_err();
        assert!(
            refused.to_string().contains("no capability \"files\""),
            "{refused}"
        );
        let shown = "GET,POST [::1]:*".parse::<HttpScope>().unwrap().to_string();
        assert_eq!(shown, "GET,POST [::1]:*");
    }
}
