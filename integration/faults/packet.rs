//! IPv4 packets with TCP in them, as far as a path looks into them.

/// One packet, from its IPv4 header on.
#[derive(Clone)]
pub(crate) struct Packet(Vec<u8>);

/// What the headers say of one segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
    pub(crate) is_syn: bool,
    pub(crate) is_reset: bool,
    /// As it stands in the header, before any scaling.
    pub(crate) window: u16,
    pub(crate) ecn: Ecn,
}

/// The two bits that an ECN path changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ecn {
    None,
    Ect1,
    Ect0,
    Ce,
}

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ADDRESSES: std::ops::Range<usize> = 12..20;
const IP_CHECKSUM: std::ops::Range<usize> = 10..12;

impl Packet {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// `None` for anything but TCP over IPv4: a new interface says other things too.
    pub(crate) fn segment(&self) -> Option<Segment> {
        let first = self.0.first()?;
        let (version, header) = (first >> 4, usize::from(first & 0xf) * 4);
        if version != 4 || *self.0.get(9)? != TCP {
            return None;
        }
        let tcp = self.0.get(header..)?;
        let (fixed, _) = tcp.split_first_chunk::<20>()?;
        let flags = fixed[13];
        Some(Segment {
            sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            len: (tcp.len() - usize::from(fixed[12] >> 4) * 4) as u32,
            is_syn: flags & 2 != 0,
            is_reset: flags & 4 != 0,
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            ecn: [Ecn::None, Ecn::Ect1, Ecn::Ect0, Ecn::Ce][usize::from(self.0[1] & 3)],
        })
    }

    /// The same with a congestion mark.
    pub(crate) fn mark(&mut self) {
        self.0[1] |= 3;
        self.0[IP_CHECKSUM].fill(0);
        let header = usize::from(self.0[0] & 0xf) * 4;
        let sum = checksum(&self.0[..header]);
        self.0[IP_CHECKSUM].copy_from_slice(&sum);
    }

    /// "Fragmentation needed" for it, RFC 1191, to whoever sent it.
    pub(crate) fn too_big_for(&self, mtu: u16) -> Self {
        let quoted = &self.0[..28];
        let mut icmp = vec![3, 4, 0, 0, 0, 0];
        icmp.extend(mtu.to_be_bytes());
        icmp.extend(quoted);
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum);

        let len = (20 + icmp.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, ICMP, 0, 0]);
        let (source, destination) = self.0[ADDRESSES].split_at(4);
        packet.extend([destination, source].concat());
        let sum = checksum(&packet);
        packet[IP_CHECKSUM].copy_from_slice(&sum);
        packet.extend(icmp);
        Self(packet)
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
