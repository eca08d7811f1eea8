//! Where a webhook may lead.
//!
//! Whoever may set a target could otherwise have the server call into its own network: a metadata
//! service, a database, the router. So the address that is really dialled is checked, on every
//! connection, and a name of which any answer is refused is refused whole: an answer that flips
//! between a public and a private address never gets through. The tables are lists of what is
//! special; of IPv6 only what is global unicast is allowed at all. No IO here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;

/// What the operator lets webhooks reach besides the public internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Private networks, this machine included, and ports below 1024 other than 80 and 443.
    pub allow_private: bool,
    /// This machine: right while Duly itself listens on loopback only.
    pub allow_loopback: bool,
}

/// What a special range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This machine.
    Loopback,
    /// Somebody's own network.
    Private,
    /// Never the address of a shop.
    Never,
}

/// Special ranges of IPv4; the first that holds an address decides.
const IPV4: &[(Ipv4Addr, u32, Kind)] = &[
    // Metadata services that live inside ranges an operator may open, or in public space.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Kind::Never),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Kind::Never),
    (Ipv4Addr::UNSPECIFIED, 8, Kind::Never),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Kind::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Kind::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Kind::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Kind::Never),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Kind::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Kind::Never),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Kind::Never),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Kind::Never),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Kind::Never),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Kind::Never),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Kind::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Kind::Never),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Kind::Never),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Kind::Never),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Kind::Never),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Kind::Never),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Kind::Never),
];

/// Special ranges of IPv6, in the same way; what is in none of them must be in [`GLOBAL`].
const IPV6: &[(Ipv6Addr, u32, Kind)] = &[
    (Ipv6Addr::LOCALHOST, 128, Kind::Loopback),
    // A metadata service inside the unique local range.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Kind::Never),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Kind::Private),
    // Teredo, ORCHID and other protocol assignments; 6to4; documentation.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Kind::Never),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Kind::Never),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Kind::Never),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Kind::Never),
];

/// Global unicast: `2000::/3`.
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

impl Guard {
    /// May any of these answers for one name be dialled? All, or none.
    pub(super) fn check(self, addresses: &[IpAddr], port: u16) -> Result<(), &'static str> {
        self.check_port(port)?;
        addresses.iter().try_for_each(|&address| self.check_address(address))
    }

    fn check_port(self, port: u16) -> Result<(), &'static str> {
        match port {
            0 => Err("refused_port: there is no port 0"),
            80 | 443 | 1024.. => Ok(()),
            _ if self.allow_private => Ok(()),
            _ => Err("refused_port: below 1024 only 80 and 443, unless allow_private is set"),
        }
    }

    fn check_address(self, address: IpAddr) -> Result<(), &'static str> {
        match kind(address) {
            None => Ok(()),
            Some(Kind::Loopback) if self.allow_loopback || self.allow_private => Ok(()),
            Some(Kind::Loopback) => {
                Err("refused_address: it leads to this machine, which allow_private would permit")
            }
            Some(Kind::Private) if self.allow_private => Ok(()),
            Some(Kind::Private) => Err(
                "refused_address: it leads to a private network, which allow_private would permit",
            ),
            Some(Kind::Never) => Err("refused_address: it leads to a special-purpose address"),
        }
    }
}

/// What is special about an address; nothing, if it is a public one.
fn kind(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let within = |range: Ipv4Addr, length: u32| {
                (bits ^ u32::from(range)).checked_shr(32 - length).is_none_or(|differ| differ == 0)
            };
            IPV4.iter().find(|(range, length, _)| within(*range, *length)).map(|entry| entry.2)
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let within = |range: Ipv6Addr, length: u32| {
                (bits ^ u128::from(range))
                    .checked_shr(128 - length)
                    .is_none_or(|differ| differ == 0)
            };
            let special = IPV6.iter().find(|(range, length, _)| within(*range, *length));
            match special {
                Some(entry) => Some(entry.2),
                None if within(GLOBAL.0, GLOBAL.1) => None,
                None => Some(Kind::Never),
            }
        }
    }
}

/// Where a URL leads, before any name is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    /// `https` and not `http`.
    pub(super) tls: bool,
    /// A name or a literal address, without brackets.
    pub(super) host: String,
    /// As written, or the scheme's own.
    pub(super) port: u16,
}

impl Destination {
    /// How it is called in the `Host` header: the port only where it is not the scheme's own.
    pub(super) fn host_header(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{open}{}{close}{port}", self.host)
    }

    /// Reads a URL. The error does not repeat it.
    pub(super) fn of(url: &Uri) -> Result<Destination, &'static str> {
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("bad_url: a URL begins with http:// or https://"),
        };
        let authority = url.authority().ok_or("bad_url: the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("bad_url: a URL with a user name is refused");
        }
        let host = authority.host();
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(literal) if literal.parse::<Ipv6Addr>().is_ok() => literal,
            Some(_) => return Err("bad_url: the host in brackets is no IPv6 address"),
            None => host,
        };
        if host.is_empty() {
            return Err("bad_url: the URL has no host");
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => {
                digits.parse().map_err(|_| "bad_url: the port is not a number up to 65535")?
            }
            _ if tls => 443,
            _ => 80,
        };
        Ok(Destination { tls, host: host.to_owned(), port })
    }
}
