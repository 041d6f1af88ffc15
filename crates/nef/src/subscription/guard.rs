//! Which addresses messages may be sent to: an AF must not have the core ask what only the core can reach (SSRF).
//!
//! Whoever connects asks the guard for the addresses of the host and connects to one of those, never to the name again: a name
//! server that says something else the second time changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// What is allowed beyond addresses that are anybody's on the Internet.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Ranges that are allowed all the same.
    pub allowed: Vec<AddressRange>,
    /// Whether `http://` and `mqtt://` may be used.
    pub allow_clear: bool,
}

/// Why a host is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It has an address that is not allowed.
    #[error(
        "{host}: has the address {address}, which is private or special; allow it with delivery.allow_addresses"
    )]
    Refused {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// It has no address now.
    #[error("{host}: has no address: {why}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the system says.
        why: String,
    },
}

impl GuardError {
    /// The stable name of the error.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "address_refused",
            Self::Unresolved { .. } => "sink_unresolved",
        }
    }
}

impl Guard {
    /// Whether an address may be connected to.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|range| range.has(address))
    }

    /// Those that a host has been found to have, if **all** may be connected to: a host that has one which may not is not
    /// trusted with the others.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn pass(
        &self,
        host: &str,
        found: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, GuardError> {
        let found: Vec<SocketAddr> = found.into_iter().collect();
        if let Some(refused) = found.iter().find(|at| !self.allows(at.ip())) {
            return Err(GuardError::Refused {
                host: host.to_owned(),
                address: refused.ip(),
            });
        }
        match found.is_empty() {
            false => Ok(found),
            true => Err(GuardError::Unresolved {
                host: host.to_owned(),
                why: "none found".to_owned(),
            }),
        }
    }

    /// Looks a host up, and checks what it has. Waits for the name server.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, GuardError> {
        let found = (bare(host), port).to_socket_addrs();
        let found = found.map_err(|error| GuardError::Unresolved {
            host: host.to_owned(),
            why: error.to_string(),
        })?;
        self.pass(host, found)
    }
}

/// A host of a URI without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Addresses that begin alike: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix_len: u8,
}

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be an address, or an address and a prefix length (10.0.0.0/8)";
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse::<u8>().map_err(|_| RULE)?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| RULE)?;
        let len_max = if first.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(len_max);
        match prefix_len <= len_max {
            true => Ok(Self { first, prefix_len }),
            false => Err(RULE),
        }
    }
}

impl AddressRange {
    /// Whether an address is in it.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let (first, address, width) = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits().into(), address.to_bits().into(), 32_u32)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let shift = width - u32::from(self.prefix_len);
        let head = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
        head(first) == head(address)
    }
}

/// Whether an address is one that anybody on the Internet could reach, and no other in disguise.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// IANA's special-purpose registry (RFC 6890) and multicast, the other way round.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        (0 | 10 | 127, ..) => true,             // this network, private, loopback
        (100, 64..=127, _) => true,             // shared (carrier-grade NAT)
        (169, 254, _) => true,                  // link-local, with the clouds' metadata
        (172, 16..=31, _) => true,              // private
        (192, 0, 0 | 2) => true,                // protocol assignments, documentation
        (192, 88, 99) => true,                  // 6to4 relays
        (192, 168, _) => true,                  // private
        (198, 18 | 19, _) => true,              // benchmarks
        (198, 51, 100) | (203, 0, 113) => true, // documentation
        (224.., ..) => true,                    // multicast, reserved, broadcast
        _ => false,
    };
    !is_special
}

/// Global unicast is 2000::/3; what carries an IPv4 address within is refused, as that could be any.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = match (a, b) {
        (0x2001, 0x0000..=0x01ff) => true, // protocol assignments, Teredo
        (0x2001, 0x0db8) => true,          // documentation
        (0x2002, _) => true,               // 6to4
        (0x3fff, 0x0000..=0x0fff) => true, // documentation
        _ => false,
    };
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_the_core_can_reach_are_refused_however_written() {
        let guard = Guard::default();
        for refused in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!guard.allows(refused.parse().unwrap()), "{refused}");
        }
        for allowed in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2600::1",
            "2a00::1",
        ] {
            assert!(guard.allows(allowed.parse().unwrap()), "{allowed}");
        }
    }

    #[test]
    fn ranges_that_are_allowed_are_and_one_bad_address_spoils_a_host() {
        let guard = Guard {
            allowed: vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()],
            allow_clear: false,
        };
        assert!(guard.allows("10.1.255.1".parse().unwrap()));
        assert!(guard.allows("::1".parse().unwrap()));
        assert!(!guard.allows("10.2.0.1".parse().unwrap()));
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 443);
        assert!(guard.pass("h", [at("8.8.8.8"), at("10.1.0.1")]).is_ok());
        let mixed = guard.pass("h", [at("8.8.8.8"), at("10.2.0.1")]);
        assert_eq!(mixed.unwrap_err().name(), "address_refused");
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "", "/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
        let all: AddressRange = "0.0.0.0/0".parse().unwrap();
        assert!(all.has("1.2.3.4".parse().unwrap()) && !all.has("::1".parse().unwrap()));
    }
}
