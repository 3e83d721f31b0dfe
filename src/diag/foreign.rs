//! Replies of a machine with the other byte order, rewritten into this one's. Pure.
//!
//! So what decodes native replies, many thousands at a time, does not know of other ones.

use crate::netlink::NLA_TYPE_MASK;

use super::abi::{
    INET_DIAG_BBRINFO, INET_DIAG_CGROUP_ID, INET_DIAG_DCTCPINFO, INET_DIAG_MARK,
    INET_DIAG_SKMEMINFO, INET_DIAG_ULP_INFO, INET_DIAG_VEGASINFO, InetDiagMsg,
};
use super::ulp::{
    INET_ULP_INFO_MPTCP, INET_ULP_INFO_TLS, MPTCP_SUBFLOW_ATTR_FLAGS, MPTCP_SUBFLOW_ATTR_TOKEN_LOC,
    MPTCP_SUBFLOW_ATTR_TOKEN_REM,
};

/// The reply with its numbers in this machine's byte order, but for `INET_DIAG_INFO`: of bit-fields
/// the decoder alone knows where they lie.
pub(super) fn to_native(reply: &[u8]) -> Vec<u8> {
    let mut bytes = reply.to_vec();
    // Ports and addresses have the network's order everywhere.
    if let Some((msg, attributes)) = bytes.split_at_mut_checked(InetDiagMsg::LEN) {
        swap(&mut msg[40..], 4);
        each(attributes, &mut |kind, content| match kind {
            INET_DIAG_VEGASINFO | INET_DIAG_SKMEMINFO | INET_DIAG_MARK | INET_DIAG_BBRINFO => {
                swap(content, 4);
            }
            INET_DIAG_DCTCPINFO => {
                let (halves, words) = content.split_at_mut(content.len().min(4));
                swap(halves, 2);
                swap(words, 4);
            }
            INET_DIAG_CGROUP_ID => swap(content, 8),
            INET_DIAG_ULP_INFO => each(content, &mut upper_layer),
            _ => {}
        });
    }
    bytes
}

fn upper_layer(kind: u16, content: &mut [u8]) {
    match kind {
        INET_ULP_INFO_TLS => each(content, &mut |_, content| swap(content, 2)),
        INET_ULP_INFO_MPTCP => each(content, &mut |kind, content| match kind {
            MPTCP_SUBFLOW_ATTR_TOKEN_REM
            | MPTCP_SUBFLOW_ATTR_TOKEN_LOC
            | MPTCP_SUBFLOW_ATTR_FLAGS => swap(content, 4),
            _ => {}
        }),
        _ => {}
    }
}

/// Numbers of so many bytes each; what is left at the end is none.
fn swap(bytes: &mut [u8], size: usize) {
    bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
}

/// The attributes one after the other, with their headers rewritten, up to one that is cut off.
fn each(mut rest: &mut [u8], content: &mut dyn FnMut(u16, &mut [u8])) {
    while rest.len() >= 4 {
        swap(&mut rest[..4], 2);
        let len = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & NLA_TYPE_MASK;
        let Some(inside) = rest.get_mut(4..len) else { return };
        content(kind, inside);
        let end = len.next_multiple_of(4).min(rest.len());
        rest = &mut rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use crate::diag::Socket;
    use crate::kernel::Kernel;

    /// A reply with every attribute that is decoded, in this byte order or in the other one.
    fn reply(is_native: bool) -> Vec<u8> {
        let order = |number: &[u8]| {
            let mut bytes = number.to_vec();
            if !is_native {
                bytes.reverse();
            }
            bytes
        };
        let half = |number: u16| order(&number.to_ne_bytes());
        let word = |number: u32| order(&number.to_ne_bytes());
        let words = |numbers: &[u32]| numbers.iter().flat_map(|number| word(*number)).collect();
        let attribute = |kind: u16, content: Vec<u8>| {
            let mut bytes = [half(4 + content.len() as u16), half(kind), content].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut info = vec![0; 104];
        info[0] = 1;
        info[68..72].copy_from_slice(&word(1234));
        let tls = [attribute(1, half(0x0304)), attribute(2, half(52)), attribute(6, vec![])];
        let mptcp = [attribute(1, word(7)), attribute(2, word(8)), attribute(10, vec![9])];
        let upper = [
            attribute(1, b"tls\0".to_vec()),
            attribute(2 | 0x8000, tls.concat()),
            attribute(3 | 0x8000, mptcp.concat()),
        ];
        let msg = [
            vec![2, 1, 0, 0, 1, 187, 0xee, 0x14, 127, 0, 0, 1],
            vec![0; 12],
            vec![192, 0, 2, 7],
            vec![0; 12],
            words(&[3, 0x0102_0304, 0x0506_0708, 0, 10, 11, 1000, 77]),
        ];
        let dctcp = [half(1), half(2), words(&[3, 4, 5])].concat();
        let attributes = [
            attribute(2, info),
            attribute(4, b"dctcp\0".to_vec()),
            attribute(9, dctcp),
            attribute(7, words(&[1, 2, 3, 4, 5, 6, 7, 8, 9])),
            attribute(8, vec![3]),
            attribute(15, word(0xabcd)),
            attribute(21, order(&0x0102_0304_0506_0708_u64.to_ne_bytes())),
            attribute(19, upper.concat()),
        ];
        [msg.concat(), attributes.concat()].concat()
    }

    #[test]
    fn both_byte_orders_say_the_same_at_every_length() {
        let kernel = Kernel::from_release("6.12.0");
        let (native, foreign) = (reply(true), reply(false));
        let whole = Socket::decode(&native, &kernel).expect("it is whole");
        let rtt = whole.info.as_ref().and_then(|info| info.rtt);
        assert_eq!(rtt, Some(std::time::Duration::from_micros(1234)));
        assert!(whole.upper_layer.is_some() && whole.congestion.is_some(), "{whole:?}");
        assert_eq!((whole.cgroup, whole.mark), (Some(0x0102_0304_0506_0708), Some(0xabcd)));
        for len in 0..=native.len() {
            let decoded = Socket::decode_foreign(&foreign[..len], &kernel);
            assert_eq!(decoded, Socket::decode(&native[..len], &kernel), "{len}");
        }
    }
}
