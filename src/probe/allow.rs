//! Whom the hub may ask: what the operator allows, held against every address that a name has.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::Target;

/// One host, host and port, or net.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A name, whatever addresses it has.
    Name(String, Option<u16>),
    /// Addresses.
    Net(IpNet, Option<u16>),
}

/// Hosts that may be asked: none, unless the operator says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow(Vec<Entry>);

/// Whom a probe may ask.
#[derive(Debug, Clone)]
pub enum Permit {
    /// Anyone: a person said so, at a terminal or in a file of the operator's.
    Anyone,
    /// Only who is listed.
    Listed(Arc<Allow>),
}

impl Allow {
    /// Reads hosts, `host:port` and nets, comma separated.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether every one of these addresses of the target may be connected to.
    #[must_use]
    pub fn covers(&self, target: &Target, addresses: &[SocketAddr]) -> bool {
        !addresses.is_empty()
            && addresses
                .iter()
                .all(|address| self.covers_one(target, *address))
    }

    /// Whether the target is listed by its name, so that its addresses needn't be.
    #[must_use]
    pub fn names(&self, target: &Target) -> bool {
        let host = target.host.trim_end_matches('.');
        self.0.iter().any(|entry| match entry {
            Entry::Name(name, port) => name == host && port.is_none_or(|port| port == target.port),
            Entry::Net(..) => false,
        })
    }

    fn covers_one(&self, target: &Target, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let listed = self.0.iter().any(|entry| match entry {
            Entry::Net(net, port) => {
                net.contains(&ip) && port.is_none_or(|port| port == address.port())
            }
            Entry::Name(..) => false,
        });
        listed || (self.names(target) && !is_special(ip))
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match entry {
                Entry::Name(name, None) => f.write_str(name)?,
                Entry::Name(name, Some(port)) => write!(f, "{name}:{port}")?,
                Entry::Net(net, None) => write!(f, "{net}")?,
                Entry::Net(net, Some(port)) => match net.addr() {
                    IpAddr::V4(ip) => write!(f, "{ip}:{port}")?,
                    IpAddr::V6(ip) => write!(f, "[{ip}]:{port}")?,
                },
            }
        }
        Ok(())
    }
}

fn entry(text: &str) -> Result<Entry, String> {
    let wrong = || {
        format!(
            "{text:?} must be a host, host:port, an address or a net, such as mcp.example, mcp.example:8443 or 10.0.0.0/8"
        )
    };
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok(Entry::Net(net.trunc(), None));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Entry::Net(ip.to_canonical().into(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Entry::Net(
            address.ip().to_canonical().into(),
            Some(address.port()),
        ));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) || port == Some(0) {
        return Err(wrong());
    }
    Ok(Entry::Name(name, port))
}

/// Addresses that no name brings in: they lead to this machine's own neighbourhood, where a cloud keeps its secrets, or
/// to nobody in particular. A net that is listed may.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_unspecified()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
                || ip == Ipv4Addr::new(100, 100, 100, 200)
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allow: &str, url: &str, addresses: &[&str]) -> bool {
        let target = Target::parse(url).unwrap();
        let addresses: Vec<SocketAddr> = addresses
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), target.port))
            .collect();
        Allow::parse(allow).unwrap().covers(&target, &addresses)
    }

    #[test]
    fn every_address_must_be_covered() {
        assert!(!covers("", "http://a/", &["10.0.0.1"]));
        assert!(covers("10.0.0.0/8", "http://a/", &["10.0.0.1"]));
        assert!(!covers(
            "10.0.0.0/8",
            "http://a/",
            &["10.0.0.1", "11.0.0.1"]
        ));
        assert!(!covers("10.0.0.0/8", "http://a/", &[]));
        assert!(covers("127.0.0.1", "http://a/", &["::ffff:127.0.0.1"]));
        assert!(covers("[::1]:80", "http://[::1]/", &["::1"]));
        assert!(!covers("[::1]:81", "http://[::1]/", &["::1"]));
        assert!(!covers(
            "127.0.0.1:81",
            "http://127.0.0.1:82/",
            &["127.0.0.1"]
        ));
    }

    #[test]
    fn a_name_covers_its_addresses_but_not_special_ones() {
        assert!(covers(
            "A.example.",
            "http://a.example/",
            &["10.0.0.1", "::1"]
        ));
        assert!(covers("a.example:80", "http://a.example/", &["10.0.0.1"]));
        assert!(!covers("a.example:443", "http://a.example/", &["10.0.0.1"]));
        assert!(!covers("a.example", "http://b.a.example/", &["10.0.0.1"]));
        for special in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
        ] {
            assert!(
                !covers("a.example", "http://a.example/", &[special]),
                "{special}"
            );
        }
        assert!(covers(
            "a.example,169.254.0.0/16",
            "http://a.example/",
            &["169.254.169.254"]
        ));
    }

    #[test]
    fn lists_are_shown_as_they_can_be_given() {
        let shown = "mcp.example,mcp.example:8443,10.0.0.0/8,127.0.0.1/32,[::1]:80";
        assert_eq!(Allow::parse(shown).unwrap().to_string(), shown);
        for bad in ["http://a", "a/b", "a:b", "a:0", "10.0.0.0/40", "*"] {
            assert!(Allow::parse(bad).is_err(), "{bad}");
        }
    }
}
