//! Which fields a reply has: decided by its length, the state of the socket and the kernel.

use crate::kernel::{Kernel, KernelVersion};
use crate::state::{State, TcpOptions};
use crate::wire::{Bytes, Place};

/// A set of traits of one reply.
///
/// A row of the table names the situations in which the kernel fills its field. It also names what
/// has to be true beside the length of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits(u32);

impl Traits {
    pub(crate) const NONE: Self = Self(0);

    // The situation of the socket: exactly one of these is set.
    const LISTENING: Self = Self(1 << 0);
    /// A SYN was sent, and no connection came of it, or none yet.
    const CONNECTING: Self = Self(1 << 1);
    /// The states in which data can wait to be sent.
    const SENDING: Self = Self(1 << 2);
    const OTHER_LIVE: Self = Self(1 << 3);
    /// CLOSE after a connection: the last counters are still there.
    const ENDED: Self = Self(1 << 4);
    /// CLOSE without a connection: never connected, or disconnected. To disconnect resets the
    /// counters and leaves garbage in other members.
    pub(crate) const BLANK: Self = Self(1 << 5);
    /// gVisor, in any state: it fills eight members and sets the rest to 0.
    const GVISOR: Self = Self(1 << 6);

    // What the version or another member decides.
    /// `fastopen_client_fail` exists. It took bits of padding, so the length did not change.
    pub(crate) const FASTOPEN_BITS: Self = Self(1 << 8);
    /// The kernel still has forward acknowledgement.
    pub(crate) const FACK: Self = Self(1 << 9);
    /// The bytes at 228 are `snd_wnd`, not the padding at the end of Alibaba's 4.19.
    pub(crate) const PEER_WINDOW: Self = Self(1 << 10);
    /// The layout of the word at 276 is known.
    pub(crate) const LAST_WORD: Self = Self(1 << 11);
    /// The word at 276 has the layout of Linux 7.0.
    pub(crate) const LAST_WORD_7_0: Self = Self(1 << 12);
    /// The kernel reports the queue of LISTEN sockets.
    pub(crate) const ACCEPT_QUEUE: Self = Self(1 << 13);
    /// Never set: no kernel fills the member.
    pub(crate) const IMPOSSIBLE: Self = Self(1 << 14);
    /// Window scaling was negotiated.
    pub(crate) const WINDOW_SCALE: Self = Self(1 << 16);
    /// The connection has a round-trip sample.
    pub(crate) const RTT_SAMPLE: Self = Self(1 << 17);

    /// The traits that differ between the replies of one kernel.
    const OF_THE_CONNECTION: Self = Self::WINDOW_SCALE.or(Self::RTT_SAMPLE);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

/// The situations in which the kernel fills a field, as the table names them.
pub(crate) mod filled {
    use super::Traits;

    pub(crate) const IN_LISTEN: Traits = Traits::LISTENING;
    /// In the states in which data can wait to be sent.
    pub(crate) const WHILE_SENDING: Traits = Traits::SENDING;
    /// From the handshake on, also after the connection ended.
    pub(crate) const ONCE_CONNECTED: Traits =
        Traits::SENDING.or(Traits::OTHER_LIVE).or(Traits::ENDED);
    /// From the first SYN on, also after the connection ended.
    pub(crate) const ONCE_TRIED: Traits = ONCE_CONNECTED.or(Traits::CONNECTING);
    pub(crate) const UNLESS_LISTEN: Traits = ONCE_TRIED.or(Traits::BLANK);
    pub(crate) const ALWAYS: Traits = UNLESS_LISTEN.or(Traits::LISTENING);
    /// gVisor, in any state.
    pub(crate) const GVISOR: Traits = Traits::GVISOR;
}

/// What a row requires of a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The length of a reply that has the field.
    pub(crate) proof: usize,
    /// Situations in which the kernel fills it.
    pub(crate) filled: Traits,
    /// What else has to be true.
    pub(crate) needs: Traits,
}

/// What one reply proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    len: usize,
    traits: Traits,
}

impl Evidence {
    #[inline]
    pub(crate) fn of<const BIG: bool>(bytes: &Bytes, len: usize, kernel: &Kernel) -> Self {
        const STATE: Place = Place::whole::<u8>(0);
        const OPTIONS: Place = Place::whole::<u8>(5);
        const RTT: Place = Place::whole::<u32>(68);
        // `segs_out` and `segs_in` at once.
        const SEGMENTS: Place = Place::whole::<u64>(136);
        const LAST_WORD: Place = Place::whole::<u32>(276);
        let sampled = len >= RTT.end() && RTT.load::<BIG>(bytes) != 0;
        let situation = if is_gvisor(kernel, len) {
            Traits::GVISOR
        } else {
            let tried = len >= SEGMENTS.end() && SEGMENTS.load::<BIG>(bytes) != 0;
            situation(State::from(STATE.load::<BIG>(bytes) as u8), tried, sampled)
        };
        let new_word = len >= LAST_WORD.end()
            && match kernel.version() {
                Some(version) => version >= KernelVersion::new(7, 0),
                // 6.18 and 6.19 cannot negotiate AccECN and always write 0 here.
                None => LAST_WORD.load::<BIG>(bytes) != 0,
            };
        let old_word = kernel.is_at_least(KernelVersion::new(6, 18))
            && kernel.is_below(KernelVersion::new(7, 0));
        let traits = situation
            .or(Traits::WINDOW_SCALE.when(OPTIONS.load::<BIG>(bytes) & 4 != 0))
            .or(Traits::RTT_SAMPLE.when(sampled))
            .or(Traits::FASTOPEN_BITS.when(has_fastopen_bits(kernel, len)))
            .or(Traits::FACK.when(len <= 192 && kernel.is_below(KernelVersion::new(4, 15))))
            .or(Traits::PEER_WINDOW.when(!is_alibaba_4_19(kernel, len)))
            .or(Traits::LAST_WORD.when(new_word || old_word))
            .or(Traits::LAST_WORD_7_0.when(new_word))
            .or(Traits::ACCEPT_QUEUE
                .when(!kernel.is_below(KernelVersion::new(2, 6).with_patch(24))));
        Self { len, traits }
    }

    /// Whether the field has a value. Its own bits may still say that there is nothing to report.
    #[inline(always)]
    pub(crate) fn shows<const WHOLE: bool>(&self, rule: &Rule) -> bool {
        (WHOLE || self.len >= rule.proof)
            && self.traits.has_any(rule.filled)
            && self.traits.has_all(rule.needs)
    }

    /// Whether this kernel reports the field, in one state or another.
    pub(crate) fn supports(&self, rule: &Rule) -> bool {
        let emulated = self.traits.has_all(Traits::GVISOR);
        self.len >= rule.proof
            && (!emulated || rule.filled.has_all(Traits::GVISOR))
            && self.traits.or(Traits::OF_THE_CONNECTION).has_all(rule.needs)
    }

    pub(crate) fn has(&self, traits: Traits) -> bool {
        self.traits.has_all(traits)
    }
}

/// The situation of a socket that a Linux kernel describes.
fn situation(state: State, tried: bool, sampled: bool) -> Traits {
    match state {
        State::Listen => Traits::LISTENING,
        State::SynSent => Traits::CONNECTING,
        State::Established
        | State::CloseWait
        | State::FinWait1
        | State::Closing
        | State::LastAck => Traits::SENDING,
        State::SynRecv | State::FinWait2 | State::TimeWait => Traits::OTHER_LIVE,
        // `tcp_disconnect()` resets the smoothed RTT, the end of a connection does not.
        State::Close if sampled => Traits::ENDED,
        // Refused or timed out; `tcp_disconnect()` resets the segments too.
        State::Close if tried => Traits::CONNECTING,
        State::Close | State::Unknown(_) => Traits::BLANK,
    }
}

fn is_gvisor(kernel: &Kernel, len: usize) -> bool {
    // Before it named itself, gVisor said it was 4.4.0. The structure of the real 4.4 ends at 144.
    kernel.is_gvisor()
        || (kernel.version() == Some(KernelVersion::new(4, 4)) && matches!(len, 192 | 224))
}

fn has_fastopen_bits(kernel: &Kernel, len: usize) -> bool {
    // 480274787d7e (5.5) took padding of byte 7, and stable 5.4.280 did too. 240 bytes are 6.2.
    const BACKPORT: KernelVersion = KernelVersion::new(5, 4).with_patch(280);
    len >= 240 || (len >= 232 && kernel.is_at_least(BACKPORT))
}

fn is_alibaba_4_19(kernel: &Kernel, len: usize) -> bool {
    // It backported `rcv_ooopack` only: the members end at 228, and sizeof rounds up to 232.
    kernel.version().is_some_and(|v| (v.major, v.minor) == (4, 19)) && len < 240
}

/// The bits of `options` that this kernel certainly maintains.
pub(crate) fn maintained_options(kernel: &Kernel, len: usize) -> u8 {
    if len >= 280 || kernel.is_at_least(KernelVersion::new(6, 16)) {
        TcpOptions::SINCE_6_16
    } else if kernel.is_at_least(KernelVersion::new(6, 7)) {
        TcpOptions::SINCE_6_7
    } else if len >= 136 || kernel.is_at_least(KernelVersion::new(3, 7)) {
        // 136 bytes are Linux 4.1, or RHEL 7's 3.10.
        TcpOptions::SINCE_3_7
    } else {
        TcpOptions::SINCE_2_4
    }
}
