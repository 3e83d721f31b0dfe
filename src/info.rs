//! The table: every member of `struct tcp_info`, and a reply decoded by it. Pure: no I/O, no clock.

use std::fmt;
use std::time::Duration;

use crate::kernel::{Kernel, KernelVersion};
use crate::presence::{Evidence, Rule, Traits, filled, maintained_options};
use crate::state::{
    AccEcnFailMode, AccEcnOption, CaState, EcnMode, FastOpenClientFail, State, TcpOptions,
};
use crate::wire::{self, Bytes, Place, nothing};

/// How a field becomes a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// Only grows while the connection lives: a counter.
    Counter,
    /// Goes up and down, and its sum over sockets means something: an up-down counter.
    UpDown,
    /// Goes up and down, its sum means nothing, its distribution does: a histogram for a group, a
    /// gauge for one socket.
    Distribution,
    /// Goes up and down and nobody plots its distribution: a gauge for one socket.
    Gauge,
    /// Says what the connection is, not how much: no metric of its own.
    Property,
}

/// What one field reported.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FieldValue {
    /// Bytes, segments or a count, in the field's unit.
    Integer(u64),
    /// A time.
    Duration(Duration),
    /// Yes or no.
    Flag(bool),
    /// `state`.
    State(State),
    /// `ca_state`.
    CaState(CaState),
    /// `options`.
    Options(TcpOptions),
    /// `fastopen_client_fail`.
    FastOpenClientFail(FastOpenClientFail),
    /// `ecn_mode`.
    EcnMode(EcnMode),
    /// `accecn_opt_seen`.
    AccEcnOption(AccEcnOption),
    /// `accecn_fail_mode`.
    AccEcnFailMode(AccEcnFailMode),
}

impl FieldValue {
    /// The number a metric reports in the field's unit: times in seconds, `None` for a property.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(integer as f64),
            Self::Duration(time) => Some(time.as_secs_f64()),
            _ => None,
        }
    }

    /// Whether it is a number or a time of zero.
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Integer(0) | Self::Duration(Duration::ZERO))
    }
}

macro_rules! value_from {
    ($($variant:ident($type:ty) $(as $wide:ty)?),+ $(,)?) => {
        $(impl From<$type> for FieldValue {
            fn from(value: $type) -> Self {
                Self::$variant(value $(as $wide)?)
            }
        })+
    };
}

value_from! {
    Integer(u8) as u64, Integer(u16) as u64, Integer(u32) as u64, Integer(u64),
    Duration(Duration), Flag(bool), State(State), CaState(CaState), Options(TcpOptions),
    FastOpenClientFail(FastOpenClientFail), EcnMode(EcnMode), AccEcnOption(AccEcnOption),
    AccEcnFailMode(AccEcnFailMode),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Duration(time) => write_time(f, *time),
            Self::Flag(flag) => flag.fmt(f),
            Self::State(state) => state.fmt(f),
            Self::CaState(state) => state.fmt(f),
            Self::Options(options) => options.fmt(f),
            Self::FastOpenClientFail(fail) => fail.fmt(f),
            Self::EcnMode(mode) => mode.fmt(f),
            Self::AccEcnOption(seen) => seen.fmt(f),
            Self::AccEcnFailMode(mode) => mode.fmt(f),
        }
    }
}

/// The shortest exact form: `38us`, `1.5ms`, `204ms`, `7.5s`.
fn write_time(f: &mut fmt::Formatter<'_>, time: Duration) -> fmt::Result {
    let micros = time.as_micros();
    let (unit, scale) = match micros {
        0..1_000 => ("us", 1),
        1_000..1_000_000 => ("ms", 1_000),
        _ => ("s", 1_000_000),
    };
    write!(f, "{}{unit}", micros as f64 / f64::from(scale))
}

/// What a counter does besides growing: when it wraps, and what `tcp_disconnect()` leaves of it.
#[cfg(feature = "monitor")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterHabit {
    /// 64 bits: starts again with the connection and never wraps. A fall proves a new connection.
    Bytes,
    /// Starts again with the connection, and wraps. It counts segments in proportion to the bytes,
    /// so that these tell a wrap from a new connection.
    Paced,
    /// As `Paced`, but it may wrap several times between two sweeps: 4 GiB are seconds on a fast
    /// link.
    MarkedBytes,
    /// Starts again with the connection, and wraps. Nothing is in proportion to it.
    Event,
    /// Outlives `tcp_disconnect()`, which forgets to clear it.
    Clock,
    /// A sum of 32 and 16 bits, of which the latter wraps alone and outlives `tcp_disconnect()`.
    HalfWrapping,
}

/// Which part of a shared metric a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldPart {
    /// Value of the attribute that tells the parts apart.
    pub value: &'static str,
    /// Whether the field itself is the whole, and its part is what the other parts leave of it.
    pub is_rest: bool,
}

/// A row of the table: everything known about one field.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The kernel's name without `tcpi_`.
    pub name: &'static str,
    /// The member of `struct tcp_info` it comes from.
    pub c_name: &'static str,
    /// First kernel that reports it. Stable and distribution kernels may have it earlier: see
    /// [`TcpInfo::supports`] for the kernel at hand.
    pub since: KernelVersion,
    /// UCUM unit, empty for a property.
    pub unit: &'static str,
    /// What it is: a short sentence, and where needed a second one of warning.
    pub description: &'static str,
    /// How it becomes a metric.
    pub kind: FieldKind,
    /// Its metric's name below `tcp.` and `tcp.socket.`, `None` where it has none of its own.
    pub stem: Option<&'static str>,
    /// Which part of a metric that several fields share, `None` where it has one of its own.
    pub part: Option<FieldPart>,
    /// First byte in the reply.
    pub offset: usize,
    /// Bytes of the integer that holds it; bit-fields share one.
    pub size: usize,
    /// How many of the kernel's units make one of ours: 1,000,000 for microseconds, else 1.
    #[cfg(feature = "monitor")]
    per_unit: u64,
    /// Its place among the rows of its kind.
    #[cfg(feature = "monitor")]
    pub(crate) rank: usize,
    /// What a counter does besides growing, `None` for other kinds.
    #[cfg(feature = "monitor")]
    pub(crate) habit: Option<CounterHabit>,
    rule: Rule,
    get: fn(&TcpInfo) -> Option<FieldValue>,
}

impl Field {
    /// A raw number of the kernel, or a sum of such, as a value: times from the kernel's unit.
    #[cfg(feature = "monitor")]
    pub(crate) fn measure(&self, raw: u64) -> FieldValue {
        match self.per_unit {
            1 => FieldValue::Integer(raw),
            1_000 => FieldValue::Duration(wire::millis(raw)),
            _ => FieldValue::Duration(wire::micros(raw)),
        }
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Bytes that are no reply of any kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeError {
    /// Length of what was given.
    pub reply_len: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp_info reply of {} bytes", self.reply_len)
    }
}

impl std::error::Error for DecodeError {}

/// A column of [`TcpInfo`]: `Option<T>`, or the one value that is always there.
trait Cell {
    type Content;
    fn fill(present: bool, content: impl FnOnce() -> Self::Content) -> Self;
    fn content(&self) -> Option<Self::Content>;
}

impl<T: Copy> Cell for Option<T> {
    type Content = T;

    #[inline(always)]
    fn fill(present: bool, content: impl FnOnce() -> T) -> Self {
        if present { Some(content()) } else { None }
    }

    fn content(&self) -> Option<T> {
        *self
    }
}

impl Cell for State {
    type Content = State;

    #[inline(always)]
    fn fill(_: bool, content: impl FnOnce() -> State) -> Self {
        content()
    }

    fn content(&self) -> Option<State> {
        Some(*self)
    }
}

/// A reply as the monitor reads it: only what it needs, at the moment it needs it.
#[cfg(feature = "monitor")]
#[derive(Clone, Copy)]
pub(crate) struct Reply<'r> {
    bytes: &'r Bytes,
    len: usize,
    evidence: Evidence,
    kernel: &'r Kernel,
}

#[cfg(feature = "monitor")]
impl<'r> Reply<'r> {
    /// The first `len` of `bytes` are the reply.
    pub(crate) fn new(bytes: &'r Bytes, len: usize, kernel: &'r Kernel) -> Self {
        let evidence = Evidence::of::<{ cfg!(target_endian = "big") }>(bytes, len, kernel);
        Self { bytes, len, evidence, kernel }
    }

    pub(crate) fn state(&self) -> State {
        State::from(self.bytes[0])
    }

    /// Whether the socket has no connection: its counters are those of nothing.
    pub(crate) fn is_blank(&self) -> bool {
        self.evidence.has(Traits::BLANK)
    }

    /// The raw number of a row that is a whole integer, if the kernel filled it. Its value can
    /// still say that there is nothing to report.
    #[inline(always)]
    pub(crate) fn raw(&self, row: Row) -> Option<u64> {
        let Field { offset, size, ref rule, .. } = FIELDS[row as usize];
        let place = Place { offset, size, first_bit: 0, bits: 8 * size as u32 };
        let shows = self.evidence.shows::<false>(rule);
        shows.then(|| place.load::<{ cfg!(target_endian = "big") }>(self.bytes))
    }

    pub(crate) fn info(&self) -> TcpInfo {
        TcpInfo::decode_known::<{ cfg!(target_endian = "big") }, false>(
            self.bytes,
            self.len,
            self.kernel,
        )
    }
}

/// Numbers of the rows of one kind, by rank, and which of them are present: what one reply says, a
/// difference of two, or a sum of many. A counter has this form from the reply to the snapshot.
///
/// `KIND` is a [`FieldKind`], `N` the number of its rows, and `values` are in the kernel's units.
/// A number that is not present is 0, so sums need not look at `present`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(feature = "monitor")]
pub(crate) struct Numbers<const KIND: u8, const N: usize> {
    /// Bit `rank` says that the number of this rank is present.
    pub(crate) present: u64,
    pub(crate) values: [u64; N],
}

#[cfg(feature = "monitor")]
macro_rules! numbers {
    ($($alias:ident of $kind:ident),+) => {
        $(pub(crate) type $alias =
            Numbers<{ FieldKind::$kind as u8 }, { count(FieldKind::$kind) }>;)+
    };
}

#[cfg(feature = "monitor")]
numbers! {
    CounterNumbers of Counter, UpDownNumbers of UpDown, DistributionNumbers of Distribution,
    PropertyNumbers of Property
}

#[cfg(feature = "monitor")]
impl<const KIND: u8, const N: usize> Numbers<KIND, N> {
    /// How many rows there are.
    pub(crate) const LEN: usize = N;

    /// Nothing is present.
    pub(crate) const NONE: Self = Self { present: 0, values: [0; N] };

    /// Whether the number of this rank is present.
    pub(crate) const fn is_present(&self, rank: usize) -> bool {
        self.present >> rank & 1 != 0
    }

    /// The number of a field as a value; `None` if it is absent or the field is of another kind.
    pub(crate) fn get(&self, field: &Field) -> Option<FieldValue> {
        let has = field.kind as u8 == KIND && self.is_present(field.rank);
        has.then(|| field.measure(self.values[field.rank]))
    }

    /// Adds other numbers. What is present in one of both is present in the sum.
    #[inline]
    pub(crate) fn add(&mut self, other: &Self) {
        self.present |= other.present;
        for (sum, number) in self.values.iter_mut().zip(&other.values) {
            *sum = sum.wrapping_add(*number);
        }
    }

    /// What each number grew by since `earlier`; 0 if it fell.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let grown = |rank: usize| self.values[rank].saturating_sub(earlier.values[rank]);
        Self { present: self.present, values: std::array::from_fn(grown) }
    }

    /// The same numbers, but 0 for those whose bit is set in `ranks`. They stay present.
    pub(crate) fn with_zeros(mut self, ranks: u64) -> Self {
        for (rank, number) in self.values.iter_mut().enumerate() {
            *number &= (ranks >> rank & 1).wrapping_sub(1);
        }
        self
    }

    /// The same numbers, with those present as well whose bit is set in `ranks`.
    pub(crate) fn with_present(mut self, ranks: u64) -> Self {
        self.present |= ranks;
        self
    }
}

/// How many rows are of a kind.
#[cfg(feature = "monitor")]
pub(crate) const fn count(kind: FieldKind) -> usize {
    ranked(kind, KINDS.len())
}

/// The rows of a kind, in table order.
#[cfg(all(feature = "monitor", any(feature = "serde", test)))]
pub(crate) fn rows(kind: FieldKind) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |field| field.kind == kind)
}

impl Row {
    /// The row itself.
    pub(crate) const fn field(self) -> &'static Field {
        &FIELDS[self as usize]
    }

    /// Its place among the rows of its kind.
    #[cfg(feature = "monitor")]
    pub(crate) const fn rank(self) -> usize {
        ranked(KINDS[self as usize], self as usize)
    }
}

#[cfg(feature = "monitor")]
const fn ranked(kind: FieldKind, before: usize) -> usize {
    let (mut row, mut rank) = (0, 0);
    while row < before {
        rank += (KINDS[row] as u8 == kind as u8) as usize;
        row += 1;
    }
    rank
}

/// Turns rows into [`TcpInfo`], its decoder and [`FIELDS`]. The columns of a row:
///
/// ```text
/// /// What it is: the metric's description.        further lines are documentation only
/// "tcpi_rtt"                                       1  the C member
/// rtt: Option<Duration>                            2  the kernel's name, the Rust type
/// = micros(u32 at 68)                              3  unit of the raw integer, where it lies
///       at 276, 2..4                                  bits, where it is a bit-field
///       moved(u32 at 276, 2..4)                       where Linux 7.0 moved it
/// since "2.4"                                      4  first mainline kernel
/// proved by 168                                    5  length that proves it, if not its own end
/// needs RTT_SAMPLE                                 6  what must be true beside the length
/// filled ONCE_CONNECTED + GVISOR                   7  situations in which the kernel fills it
/// nothing(zero)                                    8  raw values that report nothing
/// "s" Distribution "rtt"                           9  unit, kind, stem of the metric's name
///     Counter(Paced) "segment.sent"                   a counter with its `CounterHabit`
///     ... "ecn.data.received" of "ce"                 part of a metric that fields share
///     ... "busy.time" of "network" rest               the whole: what the other parts leave of it
/// ```
macro_rules! table {
    (@place $int:ident $offset:literal) => { Place::whole::<$int>($offset) };
    (@place $int:ident $offset:literal $first:literal $end:literal) => {
        Place::bits::<$int>($offset, $first, $end)
    };
    (@or $value:literal $($default:tt)+) => { $value };
    (@or $($default:tt)+) => { $($default)+ };
    (@given) => { false };
    (@given $thing:ident) => { true };
    (@stem) => { None };
    (@stem $stem:literal) => { Some($stem) };
    (@part) => { None };
    (@part $value:literal) => { Some(FieldPart { value: $value, is_rest: false }) };
    (@part $value:literal rest) => { Some(FieldPart { value: $value, is_rest: true }) };
    (@habit) => { None };
    (@habit $habit:ident) => { Some(CounterHabit::$habit) };
    ($(
        #[doc = $description:literal] $(#[doc = $more:literal])*
        $c_name:literal $name:ident: $type:ty
        = $unit:ident($int:ident at $offset:literal $(, $first:literal .. $end:literal)?)
        $(moved($new_int:ident at $new_offset:literal, $new_first:literal .. $new_end:literal))?,
        since $since:literal, $(proved by $proof:literal,)? $(needs $need:ident,)?
        filled $filled:ident $(+ $gvisor:ident)?, nothing($nothing:ident),
        $ucum:literal $kind:ident $(($habit:ident))?
        $($stem:literal $(of $part:literal $($rest:ident)?)?)?;
    )+) => {
        /// What the kernel reported of one TCP socket: `struct tcp_info`, decoded.
        ///
        /// A field is `None` exactly when there is nothing to report: the kernel is too old for
        /// it, it means nothing in the socket's state, or the kernel said "no sample" or "no
        /// limit". Zero is a measurement. [`supports`](Self::supports) tells the first case from
        /// the others.
        ///
        /// Filled by `tcp_get_info()` in the kernel's `net/ipv4/tcp.c` under the socket lock: one
        /// reply is one consistent moment.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct TcpInfo {
            $(
                #[doc = $description] $(#[doc = $more])*
                #[doc = ""]
                #[doc = concat!("Since Linux ", $since, ".")]
                #[doc(alias = $c_name)]
                pub $name: $type,
            )+
            /// Bytes the kernel returned, also where they are more than the table knows.
            pub reply_len: usize,
            evidence: Evidence,
        }

        /// Every field of [`TcpInfo`], in the kernel's order.
        pub const FIELDS: &[Field] = &[$({
            const PLACE: Place = table!(@place $int $offset $($first $end)?);
            const _: () = assert!(
                PLACE.end() <= wire::LEN,
                concat!(stringify!($name), " lies beyond wire::LEN: raise it"),
            );
            Field {
                name: stringify!($name),
                c_name: $c_name,
                since: KernelVersion::literal($since),
                unit: $ucum,
                description: $description.trim_ascii(),
                kind: FieldKind::$kind,
                stem: table!(@stem $($stem)?),
                part: table!(@part $($($part $($rest)?)?)?),
                offset: PLACE.offset,
                size: PLACE.size,
                #[cfg(feature = "monitor")]
                per_unit: wire::per_unit(stringify!($unit)),
                #[cfg(feature = "monitor")]
                rank: Row::$name.rank(),
                #[cfg(feature = "monitor")]
                habit: table!(@habit $($habit)?),
                rule: row::$name::RULE,
                get: |info| info.$name.content().map(FieldValue::from),
            }
        }),+];

        /// The kind of every row.
        #[cfg(feature = "monitor")]
        const KINDS: &[FieldKind] = &[$(FieldKind::$kind),+];

        /// Every row by its name, at its position.
        #[allow(non_camel_case_types, dead_code)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Row { $($name),+ }

        #[cfg(feature = "monitor")]
        impl<const KIND: u8, const N: usize> Numbers<KIND, N> {
            /// What the kernel reported for the rows of one kind, without converting anything.
            #[inline]
            pub(crate) fn of(reply: &Reply<'_>) -> Self {
                const BIG: bool = cfg!(target_endian = "big");
                // Read here from its first place alone: only a property may have another one.
                $(const {
                    let moved = table!(@given $($new_int)?);
                    assert!(!moved || matches!(FieldKind::$kind, FieldKind::Property));
                })+
                let mut numbers = Self::NONE;
                $(if KIND == FieldKind::$kind as u8 {
                    const RANK: usize = Row::$name.rank();
                    const PLACE: Place = table!(@place $int $offset $($first $end)?);
                    let value = PLACE.load::<BIG>(reply.bytes);
                    let present = reply.evidence.shows::<false>(&row::$name::RULE)
                        && !nothing::$nothing(value);
                    numbers.present |= u64::from(present) << RANK;
                    numbers.values[RANK] = if present { value } else { 0 };
                })+
                numbers
            }
        }

        /// What each row asks of a reply, under the row's name.
        mod row {
            $(pub(super) mod $name {
                use super::super::*;

                pub(in super::super) const RULE: Rule = Rule {
                    proof: table!(@or $($proof)? table!(@place $int $offset $($first $end)?).end()),
                    filled: filled::$filled $(.or(filled::$gvisor))?,
                    needs: table!(@need $($need)?),
                };
            })+
        }

        impl TcpInfo {
            /// `WHOLE` says that the reply is as long as the table: its length proves every field.
            fn decode_known<const BIG: bool, const WHOLE: bool>(
                bytes: &Bytes,
                len: usize,
                kernel: &Kernel,
            ) -> Self {
                let evidence = Evidence::of::<BIG>(bytes, len, kernel);
                $(let $name = {
                    const HERE: Place = table!(@place $int $offset $($first $end)?);
                    let raw = HERE.load::<BIG>(bytes);
                    $(let raw = if evidence.has(Traits::LAST_WORD_7_0) {
                        table!(@place $new_int $new_offset $new_first $new_end).load::<BIG>(bytes)
                    } else {
                        raw
                    };)?
                    let present = evidence.shows::<WHOLE>(&row::$name::RULE)
                        && !nothing::$nothing(raw);
                    <$type as Cell>::fill(present, || wire::$unit(raw))
                };)+
                let mut info = Self { $($name,)+ reply_len: len, evidence };
                info.options = info.options.map(|options| {
                    options.maintained_by_kernel(maintained_options(kernel, len))
                });
                info
            }
        }
    };
    (@need) => { Traits::NONE };
    (@need $need:ident) => { Traits::$need };
}

table! {
    /// State of the connection.
    "tcpi_state" state: State = code(u8 at 0),
        since "2.4", filled ALWAYS + GVISOR, nothing(never), "" Property;

    /// State of congestion control and loss recovery. A SYN timeout also shows as loss.
    "tcpi_ca_state" ca_state: Option<CaState> = code(u8 at 1),
        since "2.4", filled UNLESS_LISTEN + GVISOR, nothing(never), "" Property;

    /// Retransmission timeouts in a row without progress. Not a total.
    /// The total is `total_rto`.
    "tcpi_retransmits" retransmits: Option<u8> = number(u8 at 2),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{timeout}" Gauge "consecutive_timeouts";

    /// Zero-window or keep-alive probes that nobody answered yet.
    "tcpi_probes" probes: Option<u8> = number(u8 at 3),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{probe}" Gauge "unanswered_probes";

    /// Exponential backoff of the retransmission or probe timer, as a power of two.
    "tcpi_backoff" backoff: Option<u8> = number(u8 at 4),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{doubling}" Gauge "backoff";

    /// Negotiated options and properties of the connection.
    "tcpi_options" options: Option<TcpOptions> = code(u8 at 5),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "" Property;

    /// Shift applied to the windows the peer advertises. Absent without window scaling.
    "tcpi_snd_wscale" snd_wscale: Option<u8> = number(u8 at 6, 0..4),
        since "2.4", needs WINDOW_SCALE,
        filled ONCE_CONNECTED, nothing(never), "{doubling}" Gauge "send_window_scale";

    /// Shift applied to the windows we advertise. Absent without window scaling.
    "tcpi_rcv_wscale" rcv_wscale: Option<u8> = number(u8 at 6, 4..8),
        since "2.4", needs WINDOW_SCALE,
        filled ONCE_CONNECTED, nothing(never), "{doubling}" Gauge "receive_window_scale";

    /// Whether the last delivery rate sample was limited by the application, not the network.
    /// Set from the socket's creation until a sample says otherwise.
    // Not proved by 8 bytes: the bit was padding before 4.9. `delivery_rate` came in the same
    // commit (eb8329e0a04d), so its end proves the bit.
    "tcpi_delivery_rate_app_limited" delivery_rate_app_limited: Option<bool> = flag(u8 at 7, 0..1),
        since "4.9", proved by 168, filled UNLESS_LISTEN, nothing(never), "" Property;

    /// Why client-side TCP Fast Open carried no data.
    /// Also in stable 5.4.280; absent where neither length nor version can prove it.
    "tcpi_fastopen_client_fail" fastopen_client_fail: Option<FastOpenClientFail>
        = code(u8 at 7, 1..3),
        since "5.5", proved by 232, needs FASTOPEN_BITS,
        filled UNLESS_LISTEN, nothing(never), "" Property;

    /// Retransmission timeout, backoff included. A multiple of the kernel's tick, RFC 6298.
    "tcpi_rto" rto: Option<Duration> = micros(u32 at 8),
        since "2.4", filled UNLESS_LISTEN + GVISOR, nothing(never), "s" Distribution "rto";

    /// Predicted delayed-ACK timeout. Absent until there is an estimate.
    "tcpi_ato" ato: Option<Duration> = micros(u32 at 12),
        since "2.4", filled UNLESS_LISTEN, nothing(zero), "s" Gauge "ato";

    /// Maximum segment size for sending, TCP options excluded.
    "tcpi_snd_mss" snd_mss: Option<u32> = number(u32 at 16),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "By" Gauge "send_mss";

    /// Estimated maximum segment size of what the peer sends.
    "tcpi_rcv_mss" rcv_mss: Option<u32> = number(u32 at 20),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "By" Gauge "receive_mss";

    /// Segments sent and not yet cumulatively acknowledged. SYN and FIN count.
    "tcpi_unacked" unacked: Option<u32> = number(u32 at 24),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{segment}" UpDown "segment.unacked";

    /// Connections waiting to be accepted. LISTEN sockets only; may exceed the backlog by one.
    "tcpi_unacked" accept_queue: Option<u32> = number(u32 at 24),
        since "2.6.24", needs ACCEPT_QUEUE,
        filled IN_LISTEN, nothing(never), "{connection}" UpDown "listener.accept_queue";

    /// Segments the peer acknowledged selectively, or duplicate ACKs without SACK.
    "tcpi_sacked" sacked: Option<u32> = number(u32 at 28),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{segment}" UpDown "segment.sacked";

    /// Limit of connections waiting to be accepted. LISTEN sockets only.
    "tcpi_sacked" backlog: Option<u32> = number(u32 at 28),
        since "2.6.24", needs ACCEPT_QUEUE,
        filled IN_LISTEN, nothing(never), "{connection}" UpDown "listener.backlog";

    /// Segments presumed lost right now.
    "tcpi_lost" lost: Option<u32> = number(u32 at 32),
        since "2.4", filled UNLESS_LISTEN, nothing(never), "{segment}" UpDown "segment.lost";

    /// Retransmitted segments still outstanding. Not a total.
    /// The total is `total_retrans`.
    "tcpi_retrans" retrans: Option<u32> = number(u32 at 36),
        since "2.4",
        filled UNLESS_LISTEN, nothing(never), "{segment}" UpDown "segment.retransmitting";

    /// Segments between the oldest unacknowledged and the newest selectively acknowledged one.
    /// Gone in Linux 4.15 with forward acknowledgement (713bafea9292, 737ff314563c): the kernel
    /// then writes 0.
    "tcpi_fackets" fackets: Option<u32> = number(u32 at 40),
        since "2.4", needs FACK, filled UNLESS_LISTEN, nothing(never), "" Property;

    /// Time since data was last sent, or since the handshake when none was.
    "tcpi_last_data_sent" last_data_sent: Option<Duration> = millis(u32 at 44),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "s" Gauge "since_data_sent";

    /// Always absent: no kernel remembers when it last sent an ACK.
    "tcpi_last_ack_sent" last_ack_sent: Option<Duration> = millis(u32 at 48),
        since "2.4", needs IMPOSSIBLE, filled ONCE_CONNECTED, nothing(never), "" Property;

    /// Time since data was last received, or since the handshake when none was.
    "tcpi_last_data_recv" last_data_recv: Option<Duration> = millis(u32 at 52),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "s" Gauge "since_data_received";

    /// Time since an ACK was last received.
    "tcpi_last_ack_recv" last_ack_recv: Option<Duration> = millis(u32 at 56),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "s" Gauge "since_ack_received";

    /// Path MTU in use.
    "tcpi_pmtu" pmtu: Option<u32> = number(u32 at 60),
        since "2.4", filled ONCE_TRIED, nothing(zero), "By" Gauge "path_mtu";

    /// Current cap on the receive window we advertise.
    "tcpi_rcv_ssthresh" rcv_ssthresh: Option<u32> = number(u32 at 64),
        since "2.4", filled ONCE_CONNECTED, nothing(never), "By" Gauge "receive_window_cap";

    /// Smoothed round-trip time, RFC 6298. Absent without a sample.
    /// Counted in kernel ticks before Linux 3.15.
    "tcpi_rtt" rtt: Option<Duration> = micros(u32 at 68),
        since "2.4", filled ONCE_CONNECTED + GVISOR, nothing(zero), "s" Distribution "rtt";

    /// Mean deviation of the round-trip time, not its variance. Absent without a sample.
    "tcpi_rttvar" rttvar: Option<Duration> = micros(u32 at 72),
        since "2.4", needs RTT_SAMPLE,
        filled ONCE_CONNECTED + GVISOR, nothing(never), "s" Distribution "rttvar";

    /// Slow start threshold. Absent while it is infinite: no loss yet.
    "tcpi_snd_ssthresh" snd_ssthresh: Option<u32> = number(u32 at 76),
        since "2.4",
        filled UNLESS_LISTEN + GVISOR, nothing(infinite), "{segment}" Gauge "slow_start_threshold";

    /// Congestion window.
    "tcpi_snd_cwnd" snd_cwnd: Option<u32> = number(u32 at 80),
        since "2.4",
        filled ALWAYS + GVISOR, nothing(never), "{segment}" Distribution "congestion_window";

    /// Maximum segment size we advertised.
    "tcpi_advmss" advmss: Option<u32> = number(u32 at 84),
        since "2.4", filled ONCE_TRIED, nothing(never), "By" Gauge "advertised_mss";

    /// Reordering the sender tolerates before it presumes loss. A degree, not a count.
    "tcpi_reordering" reordering: Option<u32> = number(u32 at 88),
        since "2.4", filled ALWAYS, nothing(never), "{segment}" Gauge "reordering";

    /// Round-trip time as the receiver estimates it. Absent without an estimate.
    "tcpi_rcv_rtt" rcv_rtt: Option<Duration> = micros(u32 at 92),
        since "2.6.9", filled ONCE_CONNECTED, nothing(zero), "s" Gauge "receiver_rtt";

    /// Bytes the program read in the last receiver round-trip. Not a window.
    "tcpi_rcv_space" rcv_space: Option<u32> = number(u32 at 96),
        since "2.6.9", filled ONCE_CONNECTED, nothing(never), "By" Gauge "receive_space";

    /// Segments retransmitted since the connection began, SYNs included.
    /// Needless ones count too: [`Retransmits`](crate::Retransmits) tells them from losses.
    "tcpi_total_retrans" total_retrans: Option<u32> = number(u32 at 100),
        since "2.6.11",
        filled UNLESS_LISTEN, nothing(never), "{segment}" Counter(Event) "segment.retransmitted";

    /// Rate at which the kernel paces what it sends. Absent while unlimited.
    /// Saturates at 4.29 GB/s before Linux 4.20.
    "tcpi_pacing_rate" pacing_rate: Option<u64> = number(u64 at 104),
        since "3.15", filled ALWAYS, nothing(max_u64), "By/s" Gauge "pacing_rate";

    /// Ceiling of the pacing rate, `SO_MAX_PACING_RATE`. Absent while unlimited.
    "tcpi_max_pacing_rate" max_pacing_rate: Option<u64> = number(u64 at 112),
        since "3.15", filled ALWAYS, nothing(max_u64), "By/s" Gauge "max_pacing_rate";

    /// Bytes the peer acknowledged cumulatively. A client's SYN and our FIN count 1 each.
    /// `tcpEStatsAppHCThruOctetsAcked` of RFC 4898.
    "tcpi_bytes_acked" bytes_acked: Option<u64> = number(u64 at 120),
        since "4.1", filled ONCE_TRIED, nothing(never), "By" Counter(Bytes) "data.acked";

    /// Bytes received in order. The peer's FIN counts 1.
    /// `tcpEStatsAppHCThruOctetsReceived` of RFC 4898.
    "tcpi_bytes_received" bytes_received: Option<u64> = number(u64 at 128),
        since "4.1", filled ONCE_TRIED, nothing(never), "By" Counter(Bytes) "data.received";

    /// Segments sent, pure ACKs and retransmits included. A server's SYN-ACK does not count.
    /// `tcpEStatsPerfSegsOut` of RFC 4898.
    "tcpi_segs_out" segs_out: Option<u32> = number(u32 at 136),
        since "4.2", filled ONCE_TRIED, nothing(never), "{segment}" Counter(Paced) "segment.sent";

    /// Segments received, pure ACKs and SYNs included.
    /// `tcpEStatsPerfSegsIn` of RFC 4898.
    "tcpi_segs_in" segs_in: Option<u32> = number(u32 at 140),
        since "4.2", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Paced) "segment.received";

    /// Bytes in the send queue that were not sent yet.
    "tcpi_notsent_bytes" notsent_bytes: Option<u32> = number(u32 at 144),
        since "4.6", filled WHILE_SENDING, nothing(never), "By" UpDown "data.unsent";

    /// Least round-trip time of the last minutes. Absent without a sample.
    /// The window is `net.ipv4.tcp_min_rtt_wlen`, 300 s by default, so it can rise.
    "tcpi_min_rtt" min_rtt: Option<Duration> = micros(u32 at 148),
        since "4.6", filled ONCE_CONNECTED, nothing(max_u32), "s" Distribution "min_rtt";

    /// Segments received that carried data.
    "tcpi_data_segs_in" data_segs_in: Option<u32> = number(u32 at 152),
        since "4.6",
        filled ONCE_TRIED, nothing(never), "{segment}" Counter(Paced) "data_segment.received";

    /// Segments sent that carried data, retransmits included.
    "tcpi_data_segs_out" data_segs_out: Option<u32> = number(u32 at 156),
        since "4.6", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Paced) "data_segment.sent";

    /// Rate at which data was last delivered. Absent without a sample.
    /// Where `delivery_rate_app_limited` is set it is the highest rate seen, else the latest.
    "tcpi_delivery_rate" delivery_rate: Option<u64> = number(u64 at 160),
        since "4.9", filled ONCE_CONNECTED, nothing(zero), "By/s" Distribution "delivery_rate";

    /// Time with data outstanding or waiting. A multiple of the kernel's tick.
    /// After a reset that cut data off the kernel lets this and its parts run until the socket is
    /// closed; the metrics do not.
    "tcpi_busy_time" busy_time: Option<Duration> = micros(u64 at 168),
        since "4.10", filled ONCE_TRIED, nothing(never),
        "s" Counter(Clock) "busy.time" of "network" rest;

    /// Part of the busy time stalled by the peer's receive window.
    "tcpi_rwnd_limited" rwnd_limited: Option<Duration> = micros(u64 at 176),
        since "4.10",
        filled ONCE_TRIED, nothing(never), "s" Counter(Clock) "busy.time" of "receive_window";

    /// Part of the busy time stalled by the local send buffer.
    "tcpi_sndbuf_limited" sndbuf_limited: Option<Duration> = micros(u64 at 184),
        since "4.10", filled ONCE_TRIED, nothing(never),
        "s" Counter(Clock) "busy.time" of "send_buffer";

    /// Segments delivered to the peer, retransmits included. The SYN counts 1.
    "tcpi_delivered" delivered: Option<u32> = number(u32 at 192),
        since "4.18", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Paced) "segment.delivered";

    /// Delivered segments whose acknowledgement reported a congestion mark.
    /// Classic ECN repeats a mark until the sender has answered it: several segments for one mark.
    "tcpi_delivered_ce" delivered_ce: Option<u32> = number(u32 at 196),
        since "4.18",
        filled ONCE_TRIED, nothing(never), "{segment}" Counter(Event) "ecn.segment.delivered";

    /// Payload bytes sent, retransmits included.
    /// `tcpEStatsPerfHCDataOctetsOut` of RFC 4898.
    "tcpi_bytes_sent" bytes_sent: Option<u64> = number(u64 at 200),
        since "4.19", filled ONCE_TRIED, nothing(never), "By" Counter(Bytes) "data.sent";

    /// Payload bytes retransmitted.
    /// Needless ones count too: [`Retransmits`](crate::Retransmits) tells them from losses.
    /// `tcpEStatsPerfOctetsRetrans` of RFC 4898.
    "tcpi_bytes_retrans" bytes_retrans: Option<u64> = number(u64 at 208),
        since "4.19", filled ONCE_TRIED, nothing(never), "By" Counter(Bytes) "data.retransmitted";

    /// Duplicate arrivals the peer reported: needless retransmits, or copies made by the path.
    /// DSACK blocks, RFC 2883; `tcpEStatsStackDSACKDups` of RFC 4898.
    "tcpi_dsack_dups" dsack_dups: Option<u32> = number(u32 at 216),
        since "4.19", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Event) "segment.spurious";

    /// Reordering events the sender saw.
    /// gVisor reports 0 or 1.
    "tcpi_reord_seen" reord_seen: Option<u32> = number(u32 at 220),
        since "4.19",
        filled ONCE_TRIED + GVISOR, nothing(never), "{event}" Counter(Event) "reorderings";

    /// Segments received out of order.
    "tcpi_rcv_ooopack" rcv_ooopack: Option<u32> = number(u32 at 224),
        since "5.4", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Event) "segment.out_of_order";

    /// Receive window the peer advertised. Zero stalls the sender.
    "tcpi_snd_wnd" snd_wnd: Option<u32> = number(u32 at 228),
        since "5.4", needs PEER_WINDOW,
        filled ONCE_CONNECTED, nothing(never), "By" Gauge "send_window";

    /// Receive window we advertised.
    "tcpi_rcv_wnd" rcv_wnd: Option<u32> = number(u32 at 232),
        since "6.2", filled ONCE_CONNECTED, nothing(never), "By" Gauge "receive_window";

    /// Attempts to find another path by a new flow label or hash, after timeouts or by PLB.
    "tcpi_rehash" rehash: Option<u32> = number(u32 at 236),
        since "6.2", filled ONCE_TRIED, nothing(never), "{event}" Counter(HalfWrapping) "rehashes";

    /// Retransmission timeouts since the connection began, those of SYNs included.
    /// Wraps at 65,536. Also in stable 6.6.57.
    "tcpi_total_rto" total_rto: Option<u16> = number(u16 at 240),
        since "6.7",
        filled ONCE_TRIED, nothing(never), "{timeout}" Counter(Event) "timeouts";

    /// Times the connection went into recovery by timeout, the running one included.
    /// Wraps at 65,536. Also in stable 6.6.57.
    "tcpi_total_rto_recoveries" total_rto_recoveries: Option<u16> = number(u16 at 242),
        since "6.7",
        filled ONCE_TRIED, nothing(never), "{recovery}" Counter(Event) "timeout_recoveries";

    /// Time spent in recovery by timeout, the running one included.
    /// Also in stable 6.6.57.
    "tcpi_total_rto_time" total_rto_time: Option<Duration> = millis(u32 at 244),
        since "6.7", filled ONCE_TRIED, nothing(never), "s" Counter(Event) "timeout_recovery.time";

    /// Segments received with a congestion mark, pure ACKs included.
    "tcpi_received_ce" received_ce: Option<u32> = number(u32 at 248),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "{segment}" Counter(Event) "ecn.segment.received";

    /// Payload bytes of ours that arrived marked ECT(1), as the peer reports by AccECN.
    "tcpi_delivered_e1_bytes" delivered_e1_bytes: Option<u32> = number(u32 at 252),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.delivered" of "ect1";

    /// Payload bytes of ours that arrived marked ECT(0), as the peer reports by AccECN.
    "tcpi_delivered_e0_bytes" delivered_e0_bytes: Option<u32> = number(u32 at 256),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.delivered" of "ect0";

    /// Payload bytes of ours that arrived with a congestion mark, as the peer reports by AccECN.
    "tcpi_delivered_ce_bytes" delivered_ce_bytes: Option<u32> = number(u32 at 260),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.delivered" of "ce";

    /// Payload bytes received marked ECT(1).
    "tcpi_received_e1_bytes" received_e1_bytes: Option<u32> = number(u32 at 264),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.received" of "ect1";

    /// Payload bytes received marked ECT(0). Counts with classic ECN too.
    "tcpi_received_e0_bytes" received_e0_bytes: Option<u32> = number(u32 at 268),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.received" of "ect0";

    /// Payload bytes received with a congestion mark. Counts with classic ECN too.
    "tcpi_received_ce_bytes" received_ce_bytes: Option<u32> = number(u32 at 272),
        since "6.18", filled ONCE_TRIED, nothing(never),
        "By" Counter(MarkedBytes) "ecn.data.received" of "ce";

    /// ECN as negotiated.
    "tcpi_ecn_mode" ecn_mode: Option<EcnMode> = code(u32 at 276, 0..2),
        since "7.0", needs LAST_WORD_7_0, filled UNLESS_LISTEN, nothing(never), "" Property;

    /// The AccECN option as seen from the peer.
    "tcpi_accecn_opt_seen" accecn_opt_seen: Option<AccEcnOption>
        = code(u16 at 278) moved(u32 at 276, 2..4),
        since "6.18", needs LAST_WORD,
        filled ONCE_CONNECTED, nothing(never), "" Property;

    /// What of AccECN was found broken on the path.
    "tcpi_accecn_fail_mode" accecn_fail_mode: Option<AccEcnFailMode>
        = code(u16 at 276) moved(u32 at 276, 4..8),
        since "6.18", needs LAST_WORD,
        filled ONCE_CONNECTED, nothing(never), "" Property;

    /// Further option bits; mainline defines none up to Linux 7.3.
    "tcpi_options2" options2: Option<u32> = number(u32 at 276, 8..32),
        since "7.0", needs LAST_WORD_7_0, filled UNLESS_LISTEN, nothing(never), "" Property;
}

impl TcpInfo {
    /// Decodes the bytes a kernel returned for `TCP_INFO`, or as `INET_DIAG_INFO`.
    ///
    /// Any length is accepted: a field is read where the reply proves it. Longer replies than the
    /// table knows decode their known part and keep their [`reply_len`](Self::reply_len). Bytes are
    /// in the byte order of this machine, as the kernel gives them.
    ///
    /// # Errors
    ///
    /// An empty reply says nothing, not even the state.
    ///
    /// # Examples
    ///
    /// ```
    /// use tcpinfo::{Kernel, State, TcpInfo};
    ///
    /// let mut reply = [0; 104];
    /// reply[0] = 1;
    /// let info = TcpInfo::decode(&reply, &Kernel::from_release("3.10.0-1160.el7.x86_64"))?;
    /// assert_eq!(info.state, State::Established);
    /// assert_eq!(info.total_retrans, Some(0));
    /// assert_eq!(info.bytes_acked, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(reply: &[u8], kernel: &Kernel) -> Result<Self, DecodeError> {
        Self::decode_as::<{ cfg!(target_endian = "big") }>(reply, kernel)
    }

    /// Decodes a reply that a machine with the other byte order kept: big-endian on a little-endian
    /// one.
    ///
    /// # Errors
    ///
    /// An empty reply says nothing, not even the state.
    pub fn decode_foreign(reply: &[u8], kernel: &Kernel) -> Result<Self, DecodeError> {
        Self::decode_as::<{ cfg!(target_endian = "little") }>(reply, kernel)
    }

    #[inline]
    fn decode_as<const BIG: bool>(reply: &[u8], kernel: &Kernel) -> Result<Self, DecodeError> {
        if let Some(known) = reply.first_chunk() {
            return Ok(Self::decode_known::<BIG, true>(known, reply.len(), kernel));
        }
        if reply.is_empty() {
            return Err(DecodeError { reply_len: 0 });
        }
        let mut known: Bytes = [0; wire::LEN];
        known[..reply.len()].copy_from_slice(reply);
        Ok(Self::decode_known::<BIG, false>(&known, reply.len(), kernel))
    }

    /// The fields that are present, in the kernel's order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, FieldValue)> {
        FIELDS.iter().filter_map(|field| Some((field, self.get(field)?)))
    }

    /// What one field reported, `None` where it is absent.
    pub fn get(&self, field: &Field) -> Option<FieldValue> {
        (field.get)(self)
    }

    /// Whether the kernel that wrote this reply reports the field at all, in one state or another.
    ///
    /// An absent value of a supported field has nothing to report now; an unsupported field never
    /// will. Where neither length nor version can decide it is unsupported.
    pub fn supports(&self, field: &Field) -> bool {
        self.evidence.supports(&field.rule)
    }
}

/// One line in the spirit of `ss -ti`, zeros left out. The alternate form (`{:#}`) has every
/// present field, zeros too, one a line.
impl fmt::Display for TcpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let width = FIELDS.iter().map(|field| field.name.len()).max().unwrap_or_default();
            for (field, value) in self.fields() {
                writeln!(f, "{:<width$}  {value}", field.name)?;
            }
            return Ok(());
        }
        write!(f, "{}", self.state)?;
        for (field, value) in self.fields().skip(1).filter(|(_, value)| !value.is_zero()) {
            write!(f, " {}:{value}", field.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(feature = "serde")]
mod json {
    use serde::ser::{Serialize, SerializeMap, Serializer};

    use super::{FIELDS, FieldValue, TcpInfo};

    /// A map of every field: absent ones null, times in seconds, enumerations as text.
    impl Serialize for TcpInfo {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(FIELDS.len()))?;
            for field in FIELDS {
                map.serialize_entry(field.name, &self.get(field))?;
            }
            map.end()
        }
    }

    impl Serialize for FieldValue {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Integer(integer) => serializer.serialize_u64(*integer),
                Self::Duration(time) => serializer.serialize_f64(time.as_secs_f64()),
                Self::Flag(flag) => serializer.serialize_bool(*flag),
                Self::Options(options) => serializer.collect_seq(options.texts()),
                Self::AccEcnFailMode(mode) => serializer.collect_seq(mode.texts()),
                other => serializer.collect_str(other),
            }
        }
    }
}
