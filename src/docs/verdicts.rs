//! Verdicts: what limits a connection, by which rules, and how often they are right.
//!
//! A [`Verdict`] compares two readings of one connection and names one [`Cause`], how sure it is,
//! and the numbers that say so. It answers the question behind sixty fields: is it the network, the
//! other side, or us?
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use std::time::Instant;
//! use tcpinfo::Verdict;
//!
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
//! let (earlier, begun) = (tcpinfo::read(&stream)?, Instant::now());
//! // ... some seconds of work ...
//! let verdict = Verdict::between(&earlier, &tcpinfo::read(&stream)?, begun.elapsed());
//! println!("{verdict}");
//! for evidence in verdict.evidence() {
//!     println!("{} {:?} {}", evidence.field.name, evidence.measure, evidence.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # In a monitor
//!
//! A [`Monitor`] judges every socket in each sweep: watched, discovered or shown one by one.
//! `tcp.connection.verdict` counts the sockets of each group by the attribute `tcp.verdict`, and
//! the counts sum to the live sockets of `tcp.connection.count`, listeners included. A cause that
//! was reported once goes to zero, not away.
//!
//! - A verdict is about the time since the last sweep, whoever collected: with two exporters, it is
//!   about the time since the other one collected. Where that is less than a second ago, the
//!   verdict stays, and the next one is about both intervals. So verdicts are about a second at
//!   least, no time is left out, and none counts twice.
//! - Before its second reading a socket is `too_little`. Connections that live for less than one
//!   sweep are in no verdict at all.
//! - [`SocketSnapshot::verdict`] and [`Watched::verdict`] have the latest one with its numbers. One
//!   that says `too_little` has no numbers if it took the short cut for quiet connections.
//! - [`Group::show_worst`] chooses by it: [`Worst::Verdict`] and [`Worst::Cause`].
//! - A handler of axum or tonic takes an [`Observation`] of its connection, and asks it for the
//!   verdict since the request came: `examples/tracing` puts it on the request's span.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use tcpinfo::{Cause, Monitor, Worst};
//!
//! let monitor = Monitor::new();
//! let downloads = monitor.group([]);
//! // The five connections that lose the most, as series of their own.
//! downloads.show_worst(Worst::Cause(Cause::Loss), 5);
//!
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
//! let stream = downloads.watch(stream);
//! for (cause, count) in monitor.snapshot().groups[0].verdicts() {
//!     println!("{cause}: {count}");
//! }
//! if let Some(verdict) = stream.verdict() {
//!     println!("{verdict}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! For most sockets a sweep compares a few numbers, and decodes nothing: a socket that sent and
//! received fewer than 100 segments, had data under way for less than 200 ms, and shows no timeout,
//! probe or small window, is `too_little` whatever else it says. All others are judged as
//! [`Verdict::between`] judges them: a test compares both for a hundred thousand pairs of replies.
//! [`with_verdicts`] leaves them out.
//!
//! # The causes
//!
//! The rules are asked in this order, and the first that holds is the cause. Unit tests in
//! `src/verdict/tests.rs` have each rule, the scenes below have the faults: their names are in
//! brackets.
//!
//! - `accept_queue`: the program accepts too slowly. The queue is as long as the backlog, or half
//!   as long in both readings (`nobody_accepts`).
//! - `refused`: a reset answered the SYN. Closed without a round trip, and something was received
//!   (`refused`).
//! - `unreachable`: nobody answers. A SYN was sent again, or the attempt is over without an answer
//!   (`unanswered`).
//! - `reset`: cut off. Closed, and data or our FIN was never acknowledged (`reset`).
//! - `stalled`: nothing is answered any more. Data is under way, and there were two timeouts in a
//!   row, or one and no answer for 1.25 `rto`; or two probes had no answer (`black_hole`,
//!   `dead_keep_alive`).
//! - `receive_window`: the receiver reads too slowly, or its buffer is too small. `rwnd_limited` is
//!   40 % of `busy_time` or more, and less than 100 MB/s are delivered (`zero_window`,
//!   `slow_reader`). At the receiver: it offers less than half of `rcv_ssthresh` in both readings.
//! - `send_buffer`: our send buffer is too small for the path. `sndbuf_limited` is 25 % of
//!   `busy_time` or more (`tiny_send_buffer`).
//! - `loss`: the path loses segments. 1 % of the bytes sent were lost, and 3 segments; needless
//!   retransmits are left out (`random_loss`, `burst_loss`).
//! - `queue`: the path queues. `rtt` is above `min_rtt` by 20 ms and 2.5 `min_rtt`, or by 100 ms
//!   and one `min_rtt` (`deep_queue`). Where single segments wait for answers, by 250 ms.
//! - `network`: the path takes no more. 1 % of what was delivered is marked (`marks`), or data
//!   waits, or the congestion window is full (`delay`, `good_bulk`). At the receiver: 2 % of the
//!   segments came after a gap, or 1 % with a mark.
//! - `application`: the program has little to send. Data is under way for less than half of the
//!   time; or nothing waits, and the congestion window has room (`slow_writer`, `think_time`,
//!   `serial_requests`).
//! - `healthy`: nothing limits. Everything else that moved enough (`somebody_accepts`).
//! - `too_little`: fewer than 100 segments, and less than 200 ms with data under way
//!   (`idle_keep_alive`, `too_short`).
//!
//! `application`, `network`, `healthy` and `too_little` are no complaints. Most connections of most
//! services are limited by their programs, and that is as it should be.
//!
//! # Both ends
//!
//! [`Side`] says what was judged. A sender sees nearly everything. A receiver sees two things: how
//! much of its own window it offers, which tells whether its program reads (`receive_window`,
//! `receiving`), and gaps in what arrives (`network`, `receiving`). Gaps are no measure of loss:
//! one lost segment makes gaps of all that follow it for a round trip, and so does one that is
//! overtaken. What else limits the sender, only the sender can say, so a receiver without trouble
//! is `healthy`.
//!
//! # Where the thresholds come from
//!
//! - A minimum of evidence: without it, ratios of a few segments are called bufferbloat, as in
//!   LibreQoS, issue 1033.
//! - Shares of the busy time: everoute's analyzer takes 50 %. A reader that reads steadily opens
//!   its window all the time, and showed 42 to 70 %; an empty send buffer showed 32 to 54 %.
//! - 100 MB/s: bulk over loopback is limited by its reader, whose window was closed for up to 79 %
//!   of the time.
//! - 1 % lost: M-Lab's ndt-server, issue 201. Without byte counters 1/64 of the segments: bpftune.
//! - 3 lost segments: a tail-loss probe sends one again.
//! - 2.5 `min_rtt`: BBR alone added up to 1.8 `min_rtt` in its first seconds.
//! - 250 ms for single segments: a delayed acknowledgement takes up to 40 ms on Linux, and up to
//!   200 ms elsewhere.
//! - Two timeouts, 1.25 `rto`: RFC 6298 doubles the timeout after each.
//!
//! # Honest retransmits
//!
//! `tcp.segment.retransmitted` alone makes every path look worse than it is.
//!
//! - How much was sent again? Bytes say it, because segments differ in size:
//!   `tcp.data.retransmitted` by `tcp.data.sent`, or [`Retransmits::share`] of one connection.
//! - How much of it for nothing? `tcp.segment.spurious` by `tcp.segment.retransmitted`, or
//!   [`Retransmits::needless`]: duplicates that peers reported, RFC 2883.
//! - How often did it wait for a timer? `tcp.timeouts`, with the time that this took in
//!   `tcp.timeout_recovery.time`, or [`Retransmits::timeouts`].
//! - How many were tail-loss probes? No field counts them. They are retransmits, and those that
//!   were needless are among `tcp.segment.spurious`.
//!
//! So the share of the bytes that the path lost is, in Prometheus:
//!
//! ```text
//! rate(tcp_data_retransmitted_bytes_total[5m]) / rate(tcp_data_sent_bytes_total[5m])
//!   * clamp_min(1 - rate(tcp_segment_spurious_total[5m])
//!                 / rate(tcp_segment_retransmitted_total[5m]), 0)
//! ```
//!
//! [`Retransmits`] tells apart what `total_retrans` adds up. Retransmits count by bytes. Those that
//! the peer had already are needless, and no loss; tail-loss probes that repaired nothing are among
//! them. Timeouts count apart. A segment that was too large for a path whose MTU fell was not lost
//! either: in an interval in which `pmtu` falls, nothing is called loss. Nor is it where the sender
//! saw as many reorderings as retransmits. Tests: `what_was_sent_again_needlessly_is_no_loss`,
//! `a_tail_loss_probe_is_no_loss`, `reordering_and_a_smaller_mtu_are_no_loss`; scenes:
//! `reordering`, `duplication`, `mtu_change`.
//!
//! # How often it is right
//!
//! `integration/verdicts.sh` makes each fault for real, between two network namespaces, and has
//! both ends judged: in three strengths, with ten seeds that choose delay, rate and congestion
//! control. The first end sends, or asks. Thresholds were chosen with ten other seeds. On Linux
//! 6.18, 2026-11-24, **1,491 of 1,499 verdicts were right (99.5 %), and none accused a healthy
//! connection** of `loss`, `queue`, `receive_window` or `stalled`. One more was left out because
//! the machine was late. A second run, beside builds that kept the machine busy, had 1,492 of 1,498
//! right, and left out two for lateness: one of these was a `queue` on the healthy path of 300 ms,
//! whose round trip was 727 ms in its first seconds with BBR. Wrong ones are bold. A short form
//! runs with the tests (`verdicts_name_the_fault`), and replies of 150 of these scenes are judged
//! again by `faults_of_the_past_are_judged_as_they_were`.
//!
//! | scene | first end | second end |
//! | --- | --- | --- |
//! | `random_loss` | loss 30 | network 29, too_little 1 |
//! | `burst_loss` | loss 29, **stalled 1** | network 28, **too_little 1**, **healthy 1** |
//! | `shallow_queue` | network 21, loss 9 | network 29, healthy 1 |
//! | `deep_queue` | queue 30 | healthy 26, network 4 |
//! | `jitter` | network 19, queue 11 | healthy 30 |
//! | `reordering` | network 30 | network 30 |
//! | `duplication` | network 30 | healthy 30 |
//! | `marks` | network 30 | network 27, too_little 2, **healthy 1** |
//! | `mtu_change` | network 29 | healthy 30 |
//! | `black_hole` | stalled 30 | too_little 21, stalled 9 |
//! | `dead_keep_alive` | stalled 30 | too_little 30 |
//! | `reset` | reset 28, **too_little 2** | too_little 30 |
//! | `zero_window` | receive_window 30 | receive_window 30 |
//! | `slow_reader` | receive_window 30 | receive_window 29, **healthy 1** |
//! | `tiny_send_buffer` | send_buffer 29, **network 1** | healthy 30 |
//! | `slow_writer` | application 26, too_little 4 | healthy 20, too_little 10 |
//! | `think_time` | application 19, healthy 9, too_little 2 | application 29, too_little 1 |
//! | `serial_requests` | application 30 | application 30 |
//! | `idle_keep_alive` | too_little 30 | too_little 30 |
//! | `too_short` | too_little 30 | too_little 30 |
//! | `delay` | network 30 | healthy 30 |
//! | `good_bulk` | network 30 | healthy 30 |
//! | `bulk_on_loopback` | healthy 15, network 10, application 5 | healthy 30 |
//! | `nobody_accepts` | accept_queue 30 |  |
//! | `somebody_accepts` | healthy 30 |  |
//! | `unanswered` | unreachable 30 |  |
//! | `refused` | refused 30 |  |
//!
//! Healthy controls are `duplication`, `slow_writer`, `think_time`, `serial_requests`,
//! `idle_keep_alive`, `too_short`, `delay`, `good_bulk`, `bulk_on_loopback` and `somebody_accepts`.
//!
//! Two answers are right where the strengths differ or the fields cannot tell: a slow writer of 2
//! KB every 200 ms did `too_little`; who thinks between two requests was judged by its answers,
//! which were many (`healthy`), some (`application`) or few; and loopback has whatever limits it.
//! An end that waits for data sees nothing of a black hole.
//!
//! # What cannot be told apart
//!
//! - **Random loss and a shallow queue.** Both drop, and neither adds delay (`shallow_queue`). It
//!   is `loss` from 1 % on, and `network` below.
//! - **A queue and jitter.** Delay that varies by more than the path's least delay looks like a
//!   queue (`jitter`). So does a route that became longer, for up to five minutes: `min_rtt`
//!   forgets after `net.ipv4.tcp_min_rtt_wlen`.
//! - **A queue that others fill, and a delayed acknowledgement.** Where single segments wait for
//!   their answers, less than 250 ms is no queue (`think_time`).
//! - **A small send buffer and a slow program, without pacing.** The kernel's clock
//!   `sndbuf_limited` starts only when it sends the last of the buffer while the program waits.
//!   With pacing (BBR, fq, `SO_MAX_PACING_RATE`) it does so all the time. Without, the program
//!   itself sends, and the clock stands still: Linux 6.18 reported 0 % for send buffers of 2 to 16
//!   KB. Then the verdict is `application`, as for a program that waits for one answer at a time.
//! - **Strong reordering and loss.** Where a tenth of the segments is overtaken by twenty others,
//!   the kernel took some for lost, and the peer reported few of the needless retransmits. Two of
//!   thirty such connections were called `loss` while thresholds were chosen.
//! - **A dead path and a peer that is silent.** Who waits for data, and has sent all of its own,
//!   sees no difference, until keep-alive probes stay without an answer (`black_hole`, second end).
//! - **A reset and a proper end, now and then.** The kernel counts the SYN and the FIN among the
//!   acknowledged bytes. Where all data was acknowledged, the first reading had data under way, and
//!   one byte is over, it was either: then nothing is said.
//! - **A connection refused in a blocking `connect`.** The kernel resets the counters before the
//!   call returns. Attempts of asynchronous runtimes keep them.
//!
//! On kernels that lack a field, the rules that ask for it are left out, and
//! [`missing`] names it (`older_kernels_are_judged_by_what_they_say`). Before
//! Linux 4.10 there are no clocks, so neither window nor buffer is the cause. Before 4.2 there is
//! hardly any verdict but `stalled` and `accept_queue`.
//!
//! Two readings of a socket that had another connection in between have no verdict
//! (`another_connection_gives_no_verdict`), if a counter shows it. A counter that wrapped is
//! continued (`a_counter_that_wrapped_goes_on`).
//!
//! [`Verdict`]: crate::Verdict
//! [`Cause`]: crate::Cause
//! [`Side`]: crate::Side
//! [`Retransmits`]: crate::Retransmits
//! [`missing`]: crate::Verdict::missing
//! [`Verdict::between`]: crate::Verdict::between
//! [`Monitor`]: crate::Monitor
//! [`SocketSnapshot::verdict`]: crate::SocketSnapshot::verdict
//! [`Watched::verdict`]: crate::Watched::verdict
//! [`Observation`]: crate::Observation
//! [`Group::show_worst`]: crate::Group::show_worst
//! [`Worst::Verdict`]: crate::Worst::Verdict
//! [`Worst::Cause`]: crate::Worst::Cause
//! [`with_verdicts`]: crate::MonitorBuilder::with_verdicts
//! [`Retransmits::share`]: crate::Retransmits::share
//! [`Retransmits::needless`]: crate::Retransmits::needless
//! [`Retransmits::timeouts`]: crate::Retransmits::timeouts
