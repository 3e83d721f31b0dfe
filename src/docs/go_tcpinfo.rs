//! Coming from go-tcpinfo: their call, and ours.
//!
//! go-tcpinfo is the Go library from which this crate has its idea: read `TCP_INFO`, do not invent
//! values that the kernel did not report, and give the result to Prometheus. Its calls have these
//! counterparts:
//!
//! | go-tcpinfo | here |
//! | --- | --- |
//! | `linux.GetTCPInfo(fd)` | [`read(&socket)`](crate::read()): any type with a descriptor |
//! | `info.RTT`, microseconds | [`info.rtt`](crate::TcpInfo::rtt), an `Option<Duration>` |
//! | `NullableUint64{Valid, Value}` | `Option<u64>` |
//! | `Valid` by the kernel's version | present by the reply's length: [`TcpInfo::supports`] |
//! | `info.State`, `info.Options`, numbers | [`State`], [`TcpOptions`], with their texts |
//! | `raw.Unpack()` | [`TcpInfo::decode`], for bytes of any length |
//! | `raw.MockSetFields(..)` in tests | [`TcpInfo::decode`] of recorded bytes |
//! | `ErrKernelTooOld`, a panic at start | nothing: the field is `None` |
//! | `NewTCPInfoCollector(prefix, labels, ..)` | [`Monitor::new`]; the names are fixed |
//! | `constLabels` | the resource of your provider |
//! | the error callback | [`MonitorBuilder::on_error`]: optional, and may call the monitor |
//! | `prometheus.MustRegister(collector)` | [`Monitor::instrument`], once for each provider |
//! | `collector.Add(conn, labels)` | [`Monitor::watch`], or better [`Group::watch`] |
//! | `collector.Remove(conn)` | drop the socket, or [`Watched::into_inner`] |
//! | `promhttp.Handler()` | `Monitor::page`: `page.write(&mut to)`, or `page.route()` for axum |
//! | `collector.Collect(ch)` | the exporter does it; by yourself, [`Monitor::snapshot`] |
//! | `collector.Describe(ch)` | [`metrics()`](crate::metrics()) |
//! | `server.ConnState`, a hook | `Group::listen` for axum, or `watch` after `accept` |
//! | `tls.Conn`, which panics | watch the TCP stream, and put TLS over the [`Watched`] |
//! | `prom-metrics-gen`, a generator | nothing to run: [`FIELDS`](crate::FIELDS) is data |
//!
//! # The same program
//!
//! ```go
//! collector := exporter.NewTCPInfoCollector("tcp", []string{"listener"}, nil, onError)
//! prometheus.MustRegister(collector)
//! for {
//!     conn, _ := listener.Accept()
//!     collector.Add(conn, []string{"public"})
//!     go func() { serve(conn); collector.Remove(conn); conn.Close() }()
//! }
//! ```
//!
//! ```no_run
//! use std::net::TcpListener;
//!
//! use opentelemetry::{KeyValue, global};
//! use tcpinfo::Monitor;
//! # fn serve(_: impl std::io::Read) {}
//!
//! fn run(listener: TcpListener) -> std::io::Result<()> {
//!     let monitor = Monitor::new();
//!     monitor.instrument(&*global::meter_provider());
//!     let public = monitor.group([KeyValue::new("listener", "public")]);
//!     for stream in listener.incoming() {
//!         let stream = public.watch(stream?);
//!         std::thread::spawn(move || serve(stream)); // dropped at its end: read one last time
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What differs in the metrics
//!
//! - **One series for many connections.** There, each connection has a series of its own, which
//!   vanishes with it, so that counters cannot be summed over time. Here `tcp.*` is for groups, and
//!   closed connections stay in its totals. Series of single connections are `tcp.socket.*`.
//! - **Equal labels are allowed.** There, two connections with equal labels make the whole page
//!   fail. Here they are one group.
//! - **Names have no field's name.** `tcp_rtt` is `tcp_socket_rtt_seconds` for one socket, and the
//!   histogram `tcp_rtt_seconds` for a group; `tcp_bytes_acked` is `tcp_data_acked_bytes_total`.
//!   The list in the repository, `docs/metrics.md`, says of each metric which field it is made of.
//! - **Base units.** Times are seconds, not microseconds or milliseconds.
//! - **Counters are counters.** Fifteen totals are gauges there. `fackets` is a counter there, and
//!   has no metric here: it can fall, and no kernel since 4.15 fills it.
//! - **No limit is no value.** There, an unlimited `max_pacing_rate` is 1.8e19 and an infinite
//!   `snd_ssthresh` is 2147483647. Here both are absent.
//! - **More fields.** Those of Linux 6.18 and later are missing there.
//!
//! # A page of every field of every socket
//!
//! This is its headline, and here it is `Monitor::page`, of the feature `page`:
//!
//! | connections | go-tcpinfo | here, processor's time |
//! | --- | --- | --- |
//! | 1,000 | 285 to 313 ms, 61,000 lines | 2.2 ms, 58,132 lines |
//! | 10,000 | 4.0 to 4.8 s | 32 ms |
//! | allocations for a page of 10,000 | more than 13 million | 6 |
//!
//! Theirs was measured with its own collector and client_golang on a machine of the same kind, on
//! another day, so take the ratios: 130 times. Of theirs, the system calls are 0.4 ms for 1,000
//! connections, and of ours 0.6 ms.
//!
//! # What cannot happen any more
//!
//! Read from its source and tried in 2026-11, at its only release:
//!
//! - The exporter ends the program on a kernel before 6.2, by a nil pointer for an absent field.
//! - A field that a 4.9 kernel does not return is reported as zero, and so are the three fields of
//!   timeouts between 6.2 and 6.6.
//! - A closed connection that was not removed goes on with the numbers of another connection, as
//!   soon as its descriptor is used again. Here the monitor owns the socket or verifies its cookie.
//! - A scrape of 5,000 connections takes two seconds, and connections that come or go wait for it.
//!   Here the sweep takes some milliseconds, and they wait for one system call.
//!
//! [`Group::watch`]: crate::Group::watch
//! [`Monitor::instrument`]: crate::Monitor::instrument
//! [`Monitor::new`]: crate::Monitor::new
//! [`Monitor::snapshot`]: crate::Monitor::snapshot
//! [`Monitor::watch`]: crate::Monitor::watch
//! [`MonitorBuilder::on_error`]: crate::MonitorBuilder::on_error
//! [`State`]: crate::State
//! [`TcpInfo::decode`]: crate::TcpInfo::decode
//! [`TcpInfo::supports`]: crate::TcpInfo::supports
//! [`TcpOptions`]: crate::TcpOptions
//! [`Watched::into_inner`]: crate::Watched::into_inner
//! [`Watched`]: crate::Watched
