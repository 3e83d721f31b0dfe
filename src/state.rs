//! Enumerations and flags of the kernel. They are open: an unknown number is kept.

use std::fmt;

/// An open enum over one byte: each variant with its number and its text.
macro_rules! open_enum {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $(#[doc = $doc:literal] $variant:ident = $number:literal => $text:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $doc] $variant,)+
            /// A number that this version of the crate does not know.
            Unknown(u8),
        }

        impl $name {
            /// The text for people, JSON and attributes, in snake case. `None` for an unknown
            /// number.
            pub const fn text(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($text),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The kernel's number.
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Unknown(number) => number,
                }
            }
        }

        impl From<u8> for $name {
            #[inline]
            fn from(number: u8) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => Self::Unknown(number),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.text() {
                    Some(text) => f.write_str(text),
                    None => write!(f, "unknown_{}", self.number()),
                }
            }
        }
    };
}

open_enum! {
    /// State of a connection, RFC 9293 section 3.3.2.
    ///
    /// The texts are the values of OpenTelemetry's `network.connection.state`. A socket that a
    /// program still holds never shows `TimeWait`: the kernel moves that state to a structure of
    /// its own, and the descriptor shows `Close`. The kernel's numbers 12 and 13 exist inside
    /// `sock_diag` only.
    pub enum State {
        /// Data can flow both ways.
        Established = 1 => "established",
        /// A SYN was sent, no answer yet.
        SynSent = 2 => "syn_sent",
        /// A SYN was received and answered.
        SynRecv = 3 => "syn_received",
        /// Closed here, our FIN is not acknowledged yet.
        FinWait1 = 4 => "fin_wait_1",
        /// Closed here, waiting for the peer's FIN.
        FinWait2 = 5 => "fin_wait_2",
        /// Both closed, waiting out late segments.
        TimeWait = 6 => "time_wait",
        /// Never connected, disconnected, or ended. An ended connection keeps its last counters.
        Close = 7 => "closed",
        /// The peer closed, this side did not yet.
        CloseWait = 8 => "close_wait",
        /// Both closed, our FIN is not acknowledged yet.
        LastAck = 9 => "last_ack",
        /// Accepts connections.
        Listen = 10 => "listen",
        /// Both closed at the same time.
        Closing = 11 => "closing",
    }
}

open_enum! {
    /// State of congestion control and loss recovery, the kernel's `enum tcp_ca_state`.
    pub enum CaState {
        /// Nothing unusual.
        Open = 0 => "open",
        /// Duplicate ACKs or SACKs: reordering or the beginning of loss.
        Disorder = 1 => "disorder",
        /// The window was reduced for ECN or local congestion.
        Cwr = 2 => "cwr",
        /// Fast retransmit.
        Recovery = 3 => "recovery",
        /// A retransmission timeout, of a SYN too.
        Loss = 4 => "loss",
    }
}

open_enum! {
    /// Why client-side TCP Fast Open did not carry data, `enum tcp_fastopen_client_fail`.
    pub enum FastOpenClientFail {
        /// It did not fail, or was not tried.
        Unspecified = 0 => "unspecified",
        /// No cookie was cached for the server.
        CookieUnavailable = 1 => "cookie_unavailable",
        /// The SYN-ACK did not acknowledge the data in the SYN.
        DataNotAcked = 2 => "data_not_acked",
        /// The SYN had to be sent again, without data.
        SynRetransmitted = 3 => "syn_retransmitted",
    }
}

open_enum! {
    /// The negotiated mode of explicit congestion notification, `TCPI_ECN_MODE_*`.
    pub enum EcnMode {
        /// Not in use.
        Disabled = 0 => "disabled",
        /// Classic ECN, RFC 3168.
        Rfc3168 = 1 => "rfc3168",
        /// Accurate ECN.
        AccEcn = 2 => "accecn",
        /// Requested, the peer has not answered yet.
        Pending = 3 => "pending",
    }
}

open_enum! {
    /// How the peer's AccECN option arrived, `enum tcp_accecn_option`.
    pub enum AccEcnOption {
        /// Not seen.
        NotSeen = 0 => "not_seen",
        /// Seen without counters.
        EmptySeen = 1 => "empty_seen",
        /// Seen with counters.
        CounterSeen = 2 => "counter_seen",
        /// Seen, and something on the path changed it.
        FailSeen = 3 => "fail_seen",
    }
}

/// Which parts of AccECN the path breaks, the kernel's `TCP_ACCECN_*_FAIL_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccEcnFailMode(u8);

impl AccEcnFailMode {
    const TEXTS: [(u8, &str); 4] =
        [(1, "ace_send"), (2, "ace_receive"), (4, "option_send"), (8, "option_receive")];

    /// The raw bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The texts of the bits that are set, in the kernel's order.
    pub fn texts(self) -> impl Iterator<Item = &'static str> {
        set_texts(&Self::TEXTS, self.0)
    }
}

impl From<u8> for AccEcnFailMode {
    fn from(bits: u8) -> Self {
        Self(bits)
    }
}

impl fmt::Display for AccEcnFailMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, self.texts())
    }
}

/// One negotiated option or property of a connection, a bit of `tcpi_options`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TcpOption {
    /// Timestamps, RFC 7323.
    Timestamps,
    /// Selective acknowledgements, RFC 2018.
    Sack,
    /// Window scaling, RFC 7323.
    WindowScale,
    /// ECN was negotiated, classic or accurate.
    Ecn,
    /// A segment with an ECN codepoint arrived. Since Linux 3.2.
    EcnSeen,
    /// Data in the SYN was acknowledged. Since Linux 3.7.
    SynData,
    /// Timestamps count microseconds. Since Linux 6.7.
    UsecTimestamps,
    /// Accepted by TCP Fast Open. Since Linux 6.16; BBRv3 kernels use the same bit for ECN_LOW.
    TfoChild,
}

impl TcpOption {
    const ALL: [(Self, u8, &'static str); 8] = [
        (Self::Timestamps, 1, "timestamps"),
        (Self::Sack, 2, "sack"),
        (Self::WindowScale, 4, "window_scale"),
        (Self::Ecn, 8, "ecn"),
        (Self::EcnSeen, 16, "ecn_seen"),
        (Self::SynData, 32, "syn_data"),
        (Self::UsecTimestamps, 64, "usec_timestamps"),
        (Self::TfoChild, 128, "tfo_child"),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The options of a connection: `tcpi_options`, and which bits this kernel maintains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpOptions {
    bits: u8,
    /// Bits that this kernel certainly maintains.
    maintained: u8,
}

impl TcpOptions {
    /// Bits that every kernel with `TCP_INFO` maintains.
    pub(crate) const SINCE_2_4: u8 = 0x0f;
    /// Bits maintained since Linux 3.7.
    pub(crate) const SINCE_3_7: u8 = 0x3f;
    /// Bits maintained since Linux 6.7.
    pub(crate) const SINCE_6_7: u8 = 0x7f;
    /// Bits maintained since Linux 6.16.
    pub(crate) const SINCE_6_16: u8 = 0xff;

    pub(crate) fn maintained_by_kernel(self, maintained: u8) -> Self {
        Self { maintained, ..self }
    }

    /// The raw byte.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether `option` is on; `None` if this kernel may not report it.
    ///
    /// On a kernel older than a bit, a clear bit is no answer. For the highest bit a set bit is no
    /// answer either: BBRv3 kernels gave it another meaning.
    pub const fn has(self, option: TcpOption) -> Option<bool> {
        let bit = option.bit();
        let set = self.bits & bit != 0;
        let ambiguous = matches!(option, TcpOption::TfoChild);
        if self.maintained & bit != 0 || (set && !ambiguous) { Some(set) } else { None }
    }

    /// The texts of the options that are on, in the kernel's order.
    pub fn texts(self) -> impl Iterator<Item = &'static str> {
        TcpOption::ALL
            .into_iter()
            .filter(move |(option, _, _)| self.has(*option) == Some(true))
            .map(|(_, _, text)| text)
    }
}

impl From<u8> for TcpOptions {
    #[inline]
    fn from(bits: u8) -> Self {
        Self { bits, maintained: Self::SINCE_2_4 }
    }
}

impl fmt::Display for TcpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, self.texts())
    }
}

fn set_texts(texts: &'static [(u8, &'static str)], bits: u8) -> impl Iterator<Item = &'static str> {
    texts.iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, text)| *text)
}

fn join(f: &mut fmt::Formatter<'_>, texts: impl Iterator<Item = &'static str>) -> fmt::Result {
    let mut empty = true;
    for text in texts {
        f.write_str(if empty { "" } else { "," })?;
        f.write_str(text)?;
        empty = false;
    }
    if empty { f.write_str("none") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_enum() {
        for number in 0..=u8::MAX {
            assert_eq!(State::from(number).number(), number);
            assert_eq!(CaState::from(number).number(), number);
            assert_eq!(FastOpenClientFail::from(number).number(), number);
        }
        assert_eq!(State::from(10), State::Listen);
        assert_eq!(State::from(13), State::Unknown(13));
        assert_eq!(State::Unknown(13).to_string(), "unknown_13");
        assert_eq!(State::FinWait1.to_string(), "fin_wait_1");
    }

    #[test]
    fn option_bits_stand_in_the_kernels_order() {
        for (position, (option, bit, _)) in TcpOption::ALL.into_iter().enumerate() {
            assert_eq!((bit, option.bit()), (1 << position, 1 << position));
        }
    }

    #[test]
    fn a_clear_bit_on_an_older_kernel_is_no_answer() {
        let old = TcpOptions::from(0b0000_0111);
        assert_eq!(old.has(TcpOption::Sack), Some(true));
        assert_eq!(old.has(TcpOption::Ecn), Some(false));
        assert_eq!(old.has(TcpOption::SynData), None);
        assert_eq!(TcpOptions::from(0x20).has(TcpOption::SynData), Some(true));
        assert_eq!(
            old.maintained_by_kernel(TcpOptions::SINCE_3_7).has(TcpOption::SynData),
            Some(false)
        );
    }

    #[test]
    fn the_bit_that_bbr3_reused_needs_a_kernel_that_owns_it() {
        assert_eq!(TcpOptions::from(0x80).has(TcpOption::TfoChild), None);
        let owner = TcpOptions::from(0x80).maintained_by_kernel(TcpOptions::SINCE_6_16);
        assert_eq!(owner.has(TcpOption::TfoChild), Some(true));
    }

    #[test]
    fn sets_print_their_members() {
        assert_eq!(TcpOptions::from(0b111).to_string(), "timestamps,sack,window_scale");
        assert_eq!(AccEcnFailMode::from(0b1001).to_string(), "ace_send,option_receive");
        assert_eq!(AccEcnFailMode::from(0).to_string(), "none");
    }
}
