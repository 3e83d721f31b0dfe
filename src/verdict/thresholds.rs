//! From where on a number counts. The guide `docs::verdicts` says where each comes from.

/// Segments sent, or received, that are enough to judge.
pub(super) const ENOUGH_SEGMENTS: u64 = 100;
/// Seconds with data under way that are enough to judge.
pub(super) const ENOUGH_BUSY: f64 = 0.2;
/// Timeouts in a row, or probes without an answer, from which on a connection is stalled.
pub(super) const TIMEOUTS: u8 = 2;
/// Share of the busy time with a closed window. A reader that reads steadily opens it a little all
/// the time, so that it is closed for half of the time only.
pub(super) const WINDOW_SHARE: f64 = 0.4;
/// Bytes a second from which on nobody calls the other end slow. On loopback, where nothing else
/// limits, the reader always does.
pub(super) const FAST: f64 = 1e8;
/// Share of the busy time with an empty send buffer, which the kernel sees only if it paces.
pub(super) const BUFFER_SHARE: f64 = 0.25;
/// Share of the bytes sent that were lost.
pub(super) const LOSS_SHARE: f64 = 0.01;
/// Share of the segments sent, where the kernel does not count bytes.
pub(super) const LOSS_SEGMENTS: f64 = 1.0 / 64.0;
/// Lost segments that are more than chance.
pub(super) const LOST: u64 = 3;
/// Seconds that a queue adds at least: less than a busy machine adds.
pub(super) const QUEUE: f64 = 0.02;
/// A queue also adds so many times the least round trip: BBR alone adds nearly twice of it when it
/// starts.
pub(super) const QUEUE_RATIO: f64 = 2.5;
/// On a long path, a queue adds so many seconds, and at least the least round trip.
pub(super) const QUEUE_LONG: f64 = 0.1;
/// Where single segments wait for their answers: longer than any delayed acknowledgement.
pub(super) const QUEUE_THIN: f64 = 0.25;
/// Segments under way, on average, below which acknowledgements may be delayed.
pub(super) const FLIGHT: f64 = 4.0;
/// Share of the delivered segments with a congestion mark.
pub(super) const MARKS_SHARE: f64 = 0.01;
/// Share of the received segments that came after a gap.
pub(super) const GAPS_SHARE: f64 = 0.02;
/// Below this part of its cap, the window that this end offers says that data waits to be read.
pub(super) const OFFERED_SHARE: f64 = 0.5;
/// Share of the time with data under way, below which the program is what limits.
pub(super) const BUSY_SHARE: f64 = 0.5;
