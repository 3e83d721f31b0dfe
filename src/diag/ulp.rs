//! The protocol inside the kernel that uses a TCP socket: `INET_DIAG_ULP_INFO`. Pure.

use crate::netlink::{Attributes, MalformedReply, word};

use super::abi::{INET_DIAG_ULP_INFO, c_string};

// Attributes of `INET_DIAG_ULP_INFO`.
const INET_ULP_INFO_NAME: u16 = 1;
pub(super) const INET_ULP_INFO_TLS: u16 = 2;
pub(super) const INET_ULP_INFO_MPTCP: u16 = 3;

// Attributes of `INET_ULP_INFO_TLS`.
const TLS_INFO_VERSION: u16 = 1;
const TLS_INFO_CIPHER: u16 = 2;
const TLS_INFO_TXCONF: u16 = 3;
const TLS_INFO_RXCONF: u16 = 4;

// Attributes of `INET_ULP_INFO_MPTCP`.
pub(super) const MPTCP_SUBFLOW_ATTR_TOKEN_REM: u16 = 1;
pub(super) const MPTCP_SUBFLOW_ATTR_TOKEN_LOC: u16 = 2;
pub(super) const MPTCP_SUBFLOW_ATTR_FLAGS: u16 = 8;
const MPTCP_SUBFLOW_ATTR_ID_REM: u16 = 9;
const MPTCP_SUBFLOW_ATTR_ID_LOC: u16 = 10;

/// The upper layer protocol of a socket: what the kernel runs between TCP and the program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct UpperLayer {
    /// Its name: `tls`, `mptcp`, `espintcp`, `smc`.
    pub name: String,
    /// TLS in the kernel. Absent if it is another protocol, and to a caller without `CAP_NET_ADMIN`
    /// before Linux 6.15.
    pub tls: Option<KernelTls>,
    /// The subflow of a Multipath TCP connection. Absent if it is another protocol, and to a caller
    /// without `CAP_NET_ADMIN` before Linux 6.15.
    pub mptcp: Option<MptcpSubflow>,
}

/// TLS of a socket whose records the kernel or the network card encrypts.
///
/// Every field is absent as long as the program has not passed on the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KernelTls {
    /// The protocol's version as records write it: `0x0303` is TLS 1.2, `0x0304` is TLS 1.3.
    pub version: Option<u16>,
    /// The kernel's number of the cipher: 51 AES-GCM-128, 52 AES-GCM-256, 53 AES-CCM-128, 54
    /// ChaCha20-Poly1305, 55 SM4-GCM, 56 SM4-CCM, 57 ARIA-GCM-128, 58 ARIA-GCM-256.
    pub cipher: Option<u16>,
    /// Who encrypts: 1 the program, 2 the kernel, 3 the network card, 4 the network card with the
    /// whole of TCP.
    pub transmit: Option<u16>,
    /// Who decrypts, the same numbers.
    pub receive: Option<u16>,
}

/// A TCP connection that is one path of a Multipath TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MptcpSubflow {
    /// The other side's token of the connection. 0 if this subflow began the connection here.
    pub remote_token: Option<u32>,
    /// This side's token of the connection: subflows with the same token belong together.
    pub local_token: Option<u32>,
    /// Flags: bits `MPTCP_SUBFLOW_FLAG_*` of `linux/mptcp.h`.
    pub flags: Option<u32>,
    /// The other side's number of its address.
    pub remote_id: Option<u8>,
    /// This side's number of its address.
    pub local_id: Option<u8>,
}

impl UpperLayer {
    /// Decodes the attribute. `None` if it has no name.
    pub(super) fn decode(content: &[u8]) -> Result<Option<Self>, MalformedReply> {
        let (mut name, mut tls, mut mptcp) = (None, None, None);
        for attribute in Attributes(content) {
            match attribute? {
                (INET_ULP_INFO_NAME, content) => name = Some(c_string(content).into_owned()),
                (INET_ULP_INFO_TLS, content) => tls = Some(KernelTls::decode(content)?),
                (INET_ULP_INFO_MPTCP, content) => mptcp = Some(MptcpSubflow::decode(content)?),
                _ => {}
            }
        }
        Ok(name.map(|name| Self { name, tls, mptcp }))
    }
}

impl KernelTls {
    fn decode(content: &[u8]) -> Result<Self, MalformedReply> {
        let mut tls = Self::default();
        for attribute in Attributes(content) {
            let (kind, content) = attribute?;
            let field = match kind {
                TLS_INFO_VERSION => &mut tls.version,
                TLS_INFO_CIPHER => &mut tls.cipher,
                TLS_INFO_TXCONF => &mut tls.transmit,
                TLS_INFO_RXCONF => &mut tls.receive,
                _ => continue,
            };
            *field = Some(u16::from_ne_bytes(first(content)?));
        }
        Ok(tls)
    }
}

impl MptcpSubflow {
    fn decode(content: &[u8]) -> Result<Self, MalformedReply> {
        let mut subflow = Self::default();
        for attribute in Attributes(content) {
            let (kind, content) = attribute?;
            let number = || first::<4>(content).map(|bytes| Some(word(&bytes, 0)));
            let id = || first(content).map(|[id]| Some(id));
            match kind {
                MPTCP_SUBFLOW_ATTR_TOKEN_REM => subflow.remote_token = number()?,
                MPTCP_SUBFLOW_ATTR_TOKEN_LOC => subflow.local_token = number()?,
                MPTCP_SUBFLOW_ATTR_FLAGS => subflow.flags = number()?,
                MPTCP_SUBFLOW_ATTR_ID_REM => subflow.remote_id = id()?,
                MPTCP_SUBFLOW_ATTR_ID_LOC => subflow.local_id = id()?,
                _ => {}
            }
        }
        Ok(subflow)
    }
}

/// The first bytes of an attribute within this one.
fn first<const N: usize>(content: &[u8]) -> Result<[u8; N], MalformedReply> {
    let malformed = MalformedReply::Content { kind: INET_DIAG_ULP_INFO, len: content.len() };
    content.first_chunk().copied().ok_or(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + content.len()).expect("a short attribute");
        let mut bytes = [&len.to_ne_bytes(), &kind.to_ne_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn kernel_tls_names_version_cipher_and_who_encrypts() {
        const NLA_F_NESTED: u16 = 0x8000;
        let numbers = [(1, 0x0304_u16), (2, 52), (3, 2), (4, 3), (99, 7)];
        let numbers = numbers.map(|(kind, number)| attribute(kind, &number.to_ne_bytes())).concat();
        let no_padding = attribute(6, &[]);
        let nest = attribute(2 | NLA_F_NESTED, &[numbers, no_padding].concat());
        let content = [attribute(1, b"tls\0"), nest].concat();
        let told = UpperLayer::decode(&content).expect("well-formed").expect("it has a name");
        let tls = KernelTls {
            version: Some(0x0304),
            cipher: Some(52),
            transmit: Some(2),
            receive: Some(3),
        };
        assert_eq!(told, UpperLayer { name: "tls".to_owned(), tls: Some(tls), mptcp: None });
    }

    #[test]
    fn without_privilege_there_is_only_a_name() {
        let told = UpperLayer::decode(&attribute(1, b"mptcp\0"));
        let expected = UpperLayer { name: "mptcp".to_owned(), tls: None, mptcp: None };
        assert_eq!(told, Ok(Some(expected)));
        assert_eq!(UpperLayer::decode(&[]), Ok(None));
    }

    #[test]
    fn a_short_number_is_an_error() {
        for (nest, kind, len) in [(2, 1, 1), (3, 2, 3), (3, 9, 0)] {
            let content = attribute(nest, &attribute(kind, &[0; 4][..len]));
            let error = MalformedReply::Content { kind: 19, len };
            assert_eq!(UpperLayer::decode(&content), Err(error));
        }
        let error = MalformedReply::Attribute { len: 3, room: 3 };
        assert_eq!(UpperLayer::decode(&attribute(2, &[1, 2, 3])), Err(error));
    }
}
