//! What it costs, and what makes it cheaper.
//!
//! A watched connection costs its program nothing while data flows: reads and writes go to the
//! socket directly. There are three moments that cost something.
//!
//! - **Watching and dropping.** `watch` asks for the socket's cookie, and the drop reads the socket
//!   one last time.
//! - **A sweep**, once for each collection: one `getsockopt` for each watched socket, on the thread
//!   that collects. A sweep holds the lock of one connection at a time, so `watch` and drop wait
//!   for one system call at most.
//! - **The SDK and the exporter**, for each series. With single sockets this is by far the most.
//!
//! # Measured
//!
//! Medians of `cargo bench -p tcpinfo-benches` on two cores and Linux 6.18, 2026-11-24. The second
//! column is a ratio: the time here, divided by the time of the bare system calls.
//!
//! | what | beside the bare system calls |
//! | --- | --- |
//! | `read()`: one `getsockopt`, every field decoded, no allocation | 1.15 |
//! | a sweep of 10,000 sockets in 10 groups, totals included | 1.19 |
//! | verdicts of 9,750 quiet sockets, beside a sweep without them | 1.006 |
//! | the same collected to Prometheus text, every `tcp.*` metric | 1.33 |
//! | watching a socket and dropping it, beside `TCP_INFO`, `SO_COOKIE` and `close` | 1.94 |
//! | watching a socket and giving it back, beside `TCP_INFO` and `SO_COOKIE` | 2.13 |
//! | the same for a socket that was given back before: one more read, as its base | 3.30 |
//! | echo and HTTP through watched sockets, throughput and p99 | 0.994 to 1.000, 0.998 to 1.021 |
//! | memory for each watched socket | 500 bytes |
//!
//! A thousand sockets with every `tcp.socket.*` series take the SDK and its bridge 130 ms to
//! collect and print. The sweep takes 0.8 ms of that. A [page](#a-page-of-single-sockets) takes
//! 2 ms, and [OTLP](#otlp-for-single-sockets) 3 ms.
//!
//! With [`with_sweep_threads`](crate::MonitorBuilder::with_sweep_threads) a sweep of 19,500 sockets
//! by two threads on two cores was 1.82 times as fast as by one (1.52 to 1.87, five runs,
//! 2026-11-24).
//!
//! Some single costs:
//!
//! | what | cost |
//! | --- | --- |
//! | one `getsockopt(TCP_INFO)` of an idle socket | 0.4 to 1 us |
//! | one check of a cookie, where somebody else may close the socket | 0.1 to 0.2 us |
//! | a `SocketProbe` among a response's extensions | 0.2 us |
//! | a socket of another program, in a dump of the whole host | 1 us |
//! | looking up one socket by its addresses | 10 us |
//! | a push over OTLP, for one group with six attributes | at most 25 KB |
//! | a push over OTLP, for one socket with six attributes and every field | 11 KiB |
//!
//! # A page of single sockets
//!
//! [`Monitor::page`](crate::Monitor::page), of the feature `page`, writes the same text without an
//! SDK. Processor time of `cargo bench -p tcpinfo-benches --bench page`, medians of one run, with
//! every field of every socket:
//!
//! | sockets | lines | bare `getsockopt` loop | page | a line | the SDK and its bridge |
//! | --- | --- | --- | --- | --- | --- |
//! | 1,000 | 58,132 | 0.6 ms | 2.2 ms | 38 ns | 128 ms, 43 times as much |
//! | 10,000 | 580,132 | 9.3 ms | 32 ms | 55 ns | not comparable: wrong above 2,000 |
//! | 19,800 | 1,148,532 | 18.6 ms | 64 ms | 56 ns | not comparable |
//!
//! A page allocates six times in a write, however many sockets there are. It and the monitor hold
//! 3.1 KB for each socket that is shown: its labels, what was told of it, and the latest snapshot.
//!
//! For 10,000 sockets in 10 groups a page takes 1.17 times the bare loop, of which the sweep is
//! 1.16.
//!
//! As the sockets become more, a page of 100 groups over discovered sockets of the host grows with
//! the dump alone (`--bench discovery -- pages`, processor time, medians of 15, 2026-11-24):
//!
//! | sockets | lines | sweep | page | a line written | bytes held a socket | allocations a write |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | 1,000 | 15,313 | 4.4 ms | 4.8 ms | 44 ns | 2,137 | 423 |
//! | 10,000 | 15,316 | 17.1 ms | 18.7 ms | 45 ns | 480 | 423 |
//! | 50,000 | 15,325 | 80.7 ms | 81.3 ms | 47 ns | 331 | 423 |
//! | 100,000 | 15,334 | 156.4 ms | 154.8 ms | 45 ns | 312 | 423 |
//!
//! # OTLP for single sockets
//!
//! [`Monitor::otlp`](crate::Monitor::otlp), of the feature `otlp`, writes what the SDK's exporter
//! would push, from the snapshot. Processor time without compression and network, medians of one
//! run of `cargo bench -p tcpinfo-benches --bench otlp`, 2026-11-24:
//!
//! | sockets | the SDK | its steps: collect, transform, encode, free | here | of that the sweep |
//! | --- | --- | --- | --- | --- |
//! | 1,000, 3.4 MB | 50 ms | 30, 10, 6 and 3 ms | 3.1 ms, 15.9 times less | 2.0 ms |
//! | 10,000, 33 MB | 566 ms | 381, 101, 58 and 26 ms | 37 ms, 15.3 times less | 23 ms |
//!
//! It allocates four times in a sweep, however many sockets there are, if the program keeps its
//! buffer. The buffer is as long as the longest request: 4 MiB at most, unless
//! [`with_max_request`](crate::Otlp::with_max_request) says otherwise.
//!
//! # Memory
//!
//! A monitor takes half a kilobyte for each socket of the most that were ever watched at the same
//! time. Everything beside that has a bound, whatever the program does:
//!
//! - up to 1,024 open connections that were given back, and the cookies of the last 4,096 that
//!   ended; once for groups and once for sockets that are reported by themselves;
//! - the totals of [`with_max_groups`], and of up to 4,096 groups that made room and that some
//!   provider has not been told about yet;
//! - for each provider, the totals of the sockets it was shown last ([`with_max_sockets`]), and the
//!   samples of each group ([`with_samples`]);
//! - 1,024 errors that wait for [`on_error`].
//!
//! # What makes it cheaper
//!
//! In the order of what they save:
//!
//! 1. **Groups instead of single sockets.** A group is as dear as a socket, and holds any number.
//! 2. **Fewer fields**, by [`with_fields`]: a metric that does not exist is neither summed nor
//!    printed nor stored.
//! 3. **Fewer attributes.** One attribute costs the SDK a third of what six cost.
//! 4. **Fewer groups**: see [`groups`](super::groups).
//! 5. **A longer interval.** Totals lose nothing by it, because every connection is read when it
//!    ends. Only the course of a connection is seen less often.
//!
//! ```
//! // The six fields behind the metrics that most dashboards need.
//! const FIELDS: [&str; 6] =
//!     ["rtt", "min_rtt", "bytes_sent", "bytes_received", "bytes_retrans", "total_retrans"];
//! let monitor = tcpinfo::Monitor::builder()
//!     .with_fields(|field| FIELDS.contains(&field.name))
//!     .build();
//! # assert!(FIELDS.iter().all(|name| tcpinfo::FIELDS.iter().any(|field| field.name == *name)));
//! # drop(monitor);
//! ```
//!
//! # Watch what it costs
//!
//! `tcp.monitor.sweep.duration` is a histogram of the time for all reads, and `tcp.monitor.watched`
//! says how many sockets there are. On your own machine, `cargo bench -p tcpinfo-benches` in the
//! repository measures every row of the first table again.
//!
//! [`with_max_groups`]: crate::MonitorBuilder::with_max_groups
//! [`with_max_sockets`]: crate::MonitorBuilder::with_max_sockets
//! [`with_samples`]: crate::MonitorBuilder::with_samples
//! [`with_fields`]: crate::MonitorBuilder::with_fields
//! [`on_error`]: crate::MonitorBuilder::on_error
