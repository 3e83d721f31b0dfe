//! A range of IP addresses that begin alike. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All IP addresses that begin with the same bits, such as `10.0.0.0/8` or `2001:db8::/32`.
///
/// `::ffff:192.0.2.0/120` is the same as `192.0.2.0/24`. Later bits of the address do not count.
///
/// ```
/// use tcpinfo::diag::IpPrefix;
///
/// let prefix: IpPrefix = "10.1.2.3/8".parse()?;
/// assert_eq!(prefix.to_string(), "10.0.0.0/8");
/// assert!(prefix.contains([10, 9, 8, 7].into()));
/// assert!("10.0.0.0/33".parse::<IpPrefix>().is_err());
/// # Ok::<(), tcpinfo::diag::InvalidPrefix>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    /// In canonical form, with zeros after the prefix.
    ip: IpAddr,
    len: u8,
}

impl IpPrefix {
    /// The addresses whose first `len` bits are those of `ip`.
    ///
    /// # Errors
    ///
    /// `len` is above 32 for IPv4, or above 128 for IPv6.
    pub fn new(ip: IpAddr, len: u8) -> Result<Self, InvalidPrefix> {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        if len > bits {
            return Err(InvalidPrefix(format!("prefix of {len} bits of an address of {bits}")));
        }
        Ok(match ip {
            IpAddr::V4(ip) => Self { ip: cut_v4(ip, len).into(), len },
            IpAddr::V6(ip) => match (ip.to_ipv4_mapped(), len.checked_sub(96)) {
                (Some(ip), Some(len)) => Self { ip: cut_v4(ip, len).into(), len },
                _ => Self { ip: cut_v6(ip, len).into(), len },
            },
        })
    }

    /// The first address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// How many bits the addresses have in common.
    #[allow(clippy::len_without_is_empty, reason = "no prefix is empty")]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether this address begins so. IPv4 counts in either notation, and only in IPv4 prefixes.
    pub fn contains(self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(prefix), IpAddr::V4(ip)) => cut_v4(ip, self.len) == prefix,
            (IpAddr::V6(prefix), IpAddr::V6(ip)) => cut_v6(ip, self.len) == prefix,
            _ => false,
        }
    }

    /// Whether `::ffff:0:0/96`, where IPv6 keeps IPv4 addresses, is a part of this IPv6 prefix.
    pub(super) fn covers_mapped(self) -> bool {
        let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        self.len < 96 && self.ip == cut_v6(mapped, self.len)
    }
}

fn cut_v4(ip: Ipv4Addr, len: u8) -> Ipv4Addr {
    let later = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    Ipv4Addr::from_bits(ip.to_bits() & !later)
}

fn cut_v6(ip: Ipv6Addr, len: u8) -> Ipv6Addr {
    let later = u128::MAX.checked_shr(len.into()).unwrap_or(0);
    Ipv6Addr::from_bits(ip.to_bits() & !later)
}

/// This one address.
impl From<IpAddr> for IpPrefix {
    fn from(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, len: if ip.is_ipv4() { 32 } else { 128 } }
    }
}

/// This one address.
impl From<Ipv4Addr> for IpPrefix {
    fn from(ip: Ipv4Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

/// This one address.
impl From<Ipv6Addr> for IpPrefix {
    fn from(ip: Ipv6Addr) -> Self {
        IpAddr::from(ip).into()
    }
}

/// `address/length`, or one address.
impl FromStr for IpPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let invalid = || InvalidPrefix(format!("{text:?} is no address and no prefix of one"));
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        len.map_or(Ok(ip.into()), |len| Self::new(ip, len))
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

/// Why there is no such [`IpPrefix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPrefix(String);

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPrefix {}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpPrefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn texts_are_canonical() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8:ffff::1/33", "2001:db8:8000::/33"),
            ("::1", "::1/128"),
            ("1::/0", "::/0"),
            ("::ffff:192.0.2.255/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1/95", "::fffe:0:0/95"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(prefix(text).to_string(), expected);
            assert_eq!(prefix(expected), prefix(text));
        }
    }

    #[test]
    fn no_bad_text_is_a_prefix() {
        for text in ["", "/", "/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/256", "a/8", "::/1/2"] {
            let error = text.parse::<IpPrefix>().expect_err("no prefix").to_string();
            assert_eq!(error, format!("{text:?} is no address and no prefix of one"));
        }
        let error = |text: &str| text.parse::<IpPrefix>().expect_err("too long").to_string();
        assert_eq!(error("10.0.0.0/33"), "prefix of 33 bits of an address of 32");
        assert_eq!(error("::/129"), "prefix of 129 bits of an address of 128");
    }

    #[test]
    fn only_addresses_of_the_same_family_are_within() {
        let within = |text: &str, ip: &str| prefix(text).contains(ip.parse().expect("an address"));
        assert!(within("10.0.0.0/8", "10.255.0.1") && within("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(!within("10.0.0.0/8", "11.0.0.0") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "::1") && !within("::/0", "::ffff:10.0.0.1"));
        assert!(within("10.0.0.1", "10.0.0.1") && !within("::1", "::2"));
    }

    #[test]
    fn short_prefixes_cover_the_mapped_addresses() {
        for (text, covers) in
            [("::/0", true), ("::/80", true), ("::/81", false), ("::fffe:0:0/95", true)]
        {
            assert_eq!(prefix(text).covers_mapped(), covers, "{text}");
        }
        assert!(!prefix("0.0.0.0/0").covers_mapped() && !prefix("2000::/3").covers_mapped());
    }
}
