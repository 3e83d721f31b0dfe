//! Attacks on pages and on sweeps by several threads: what they claim, in the worst places to ask.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use opentelemetry::KeyValue;
use tcpinfo::{Discovery, Monitor, Page, PageFormat, Worst};

use support::exposition::{Page as Parsed, parsed};
use support::loopback::{Pair, until};
use support::random::Rng;

fn text(page: &Page) -> String {
    let mut text = Vec::new();
    page.write(&mut text).expect("a vector takes all");
    String::from_utf8(text).expect("a page is text")
}

fn samples(page: &Parsed) -> f64 {
    page.value("tcp_rto_seconds_count", &[("group", "a")])
}

/// A grouping runs within a sweep, and cannot make another one. What it writes is what the last
/// sweep said, and takes nothing from the next page.
#[test]
fn a_page_that_a_grouping_writes_harms_no_other() {
    let monitor = Monitor::new();
    let page: Arc<Page> = Arc::new(monitor.page());
    let pair = Pair::connect();
    let _watched = monitor.group([KeyValue::new("group", "a")]).watch(pair.client);
    (0..3).for_each(|_| drop(text(&page)));
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let grouping = {
        let (page, written) = (Arc::clone(&page), Arc::clone(&written));
        move |_: &tcpinfo::diag::Socket| {
            written.lock().expect("nobody panics with it").push(text(&page));
            None
        }
    };
    let _other = Pair::connect();
    let discovery = Discovery::process().with_groups(grouping);
    let _discovered = monitor.discover(discovery).expect("procfs");
    let _later = Pair::connect();
    let after = parsed(&text(&page));
    let written = written.lock().expect("nobody panicked with it");
    assert!(written.len() >= 2, "{} pages by the grouping", written.len());
    for page in written.iter() {
        assert_eq!(samples(&parsed(page)), 3.0);
    }
    assert_eq!(samples(&after), 4.0);
    assert_eq!(after.value("tcp_monitor_sweep_duration_seconds_count", &[]), 4.0);
}

/// `on_error` may call the monitor: it writes the very page that made the failing sweep.
#[test]
fn a_page_that_on_error_writes_is_whole() {
    let page: Arc<OnceLock<Page>> = Arc::default();
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let monitor = {
        let (page, written) = (Arc::clone(&page), Arc::clone(&written));
        Monitor::builder().on_error(move |_, _| {
            if let Some(page) = page.get() {
                written.lock().expect("nobody panics with it").push(text(page));
            }
        })
    };
    let monitor = monitor.build();
    let page = page.get_or_init(|| monitor.page());
    let pair = Pair::connect();
    let group = monitor.group([KeyValue::new("group", "a")]);
    let _watched = group.watch(pair.client);
    let _file = group.watch(std::fs::File::open("/dev/null").expect("it is there"));
    let after = parsed(&text(page));
    let again = until("a page by on_error", || {
        written.lock().expect("nobody panicked with it").first().cloned()
    });
    let again = parsed(&again);
    // One sweep each, in whatever order they were asked for.
    let counts = [samples(&after), samples(&again)].map(|count| count as u64);
    assert_eq!(BTreeSet::from(counts), BTreeSet::from([1, 2]));
}

/// Fails or stops where it was told, and leaves a thread waiting if it stops.
struct Hostile<'g> {
    room: usize,
    gate: Option<&'g Gate>,
    taken: Vec<u8>,
    /// Counts those to whom something is written: their sweep is over.
    begun: &'g AtomicUsize,
}

/// Closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, std::sync::Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("nobody panics with it") = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let opened = self.0.lock().expect("nobody panics with it");
        drop(self.1.wait_while(opened, |opened| !*opened).expect("nobody panics with it"));
    }
}

impl Write for Hostile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.taken.is_empty() {
            self.begun.fetch_add(1, Ordering::Release);
        }
        if self.taken.len() >= self.room {
            match self.gate.take() {
                Some(gate) => {
                    gate.pass();
                    self.room = usize::MAX;
                }
                None => return Err(io::Error::from_raw_os_error(32)),
            }
        }
        let taken = bytes.len().min(self.room - self.taken.len());
        self.taken.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const STRANGE: [&str; 8] = ["", "\"", "a\nb", "\\", "} 1", "# HELP", "é", "le"];

/// Random schedules: writers that fail, writers that stop in the middle until the end, groups and
/// sockets that come and go, and at last the monitor itself. Every page that is written to its end
/// can be parsed, its totals never fall, and each write makes one sweep.
#[test]
fn any_schedule_of_hostile_readers_leaves_each_page_whole() {
    for seed in 0..5 {
        schedule(&mut Rng::new(seed));
    }
}

fn schedule(random: &mut Rng) {
    let monitor = Monitor::builder().with_sweep_threads(1 + random.below(3) as usize).build();
    let page = monitor.page();
    let (gate, begun) = (Gate::default(), AtomicUsize::new(0));
    let mut held = Vec::new();
    let (mut writes, mut opened) = (0, 0);
    let mut last = 0.0;
    thread::scope(|scope| {
        let mut stopped = Vec::new();
        for _ in 0..24 {
            match random.below(6) {
                0 | 1 => {
                    let text = STRANGE[random.below(8) as usize];
                    let group = monitor.group([KeyValue::new("text", text)]);
                    if random.below(3) == 0 {
                        group.show_worst(Worst::RttInflation, 3);
                    }
                    let pair = Pair::connect();
                    held.push((Some(group.watch(pair.client)), pair.server));
                    opened += 1;
                }
                2 => {
                    let text = STRANGE[random.below(8) as usize];
                    let pair = Pair::connect();
                    // In the other family, which `opened` does not count.
                    let attributes = [KeyValue::new("text", text.repeat(200))];
                    let watched = monitor.watch(pair.client, attributes);
                    held.push((Some(watched), pair.server));
                }
                3 if !held.is_empty() => {
                    let which = random.below(held.len() as u64) as usize;
                    held.swap_remove(which);
                }
                4 => {
                    let room = random.below(20_000) as usize;
                    let begun = &AtomicUsize::new(0);
                    let mut hostile = Hostile { room, gate: None, taken: Vec::new(), begun };
                    // A short page may fit.
                    let _ = page.write(&mut hostile);
                    writes += 1;
                }
                5 if stopped.len() < 4 => {
                    let room = 1 + random.below(20_000) as usize;
                    let (page, gate, begun) = (&page, Some(&gate), &begun);
                    writes += 1;
                    stopped.push(scope.spawn(move || {
                        let mut hostile = Hostile { room, gate, taken: Vec::new(), begun };
                        page.write(&mut hostile).expect("it takes all in the end");
                        String::from_utf8(hostile.taken).expect("a page is text")
                    }));
                    until("the beginning of a page", || {
                        (begun.load(Ordering::Acquire) == stopped.len()).then_some(())
                    });
                }
                _ => {}
            }
            let now = parsed(&text(&page));
            writes += 1;
            let of_groups = now.samples("tcp_connection_opened_total");
            let total: f64 = of_groups.map(|sample| sample.value).sum();
            assert_eq!(total, f64::from(opened));
            let sum = now.samples("tcp_segment_received_total").map(|sample| sample.value).sum();
            assert!(sum >= last, "{sum} after {last}");
            last = sum;
        }
        let before = text(&page);
        writes += 1;
        // The monitor and all that it watched are gone before those that stopped go on.
        held.clear();
        drop(monitor);
        assert_eq!(text(&page), "");
        gate.open();
        for writer in stopped {
            let text = writer.join().expect("no panic");
            parsed(&text);
        }
        let sweeps = parsed(&before).value("tcp_monitor_sweep_duration_seconds_count", &[]);
        assert_eq!(sweeps, f64::from(writes), "a sweep for each write");
    });
}

/// A socket of Multipath TCP, where accepted ones have the cookie of their listener.
fn multipath() -> Option<socket2::Socket> {
    let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::MPTCP));
    if let Err(error) = &socket {
        println!("SKIPPED: no MPTCP: {error}");
    }
    socket.ok()
}

/// Many connections that no attribute tells apart: if a series showed one of them, and another one
/// as soon as another thread is first, each change would count a whole connection again.
#[test]
fn sockets_with_one_cookie_count_once_whatever_thread_is_first() {
    const CONNECTIONS: usize = 2_200;
    crate::monitor::sweep_threads::make_room(3 * CONNECTIONS as u64);
    let Some(socket) = multipath() else { return };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("loopback has ports");
    socket.listen(16).expect("it is bound");
    let listener: TcpListener = socket.into();
    // Once somebody has asked for it.
    let cookie = tcpinfo::socket_cookie(&listener).expect("since 4.12");
    let address = listener.local_addr().expect("it is bound");
    let monitor =
        Monitor::builder().with_sweep_threads(4).with_max_sockets(2 * CONNECTIONS).build();
    let mut held = Vec::new();
    let shared = AtomicUsize::new(0);
    for number in 0..CONNECTIONS {
        let socket = multipath().expect("there was one before");
        socket.connect(&address.into()).expect("it listens");
        let mut client: TcpStream = socket.into();
        let server = listener.accept().expect("the client connected").0;
        client.write_all(&vec![1; 1 + number % 7]).expect("room for it");
        if tcpinfo::socket_cookie(&server).expect("since 4.12") == cookie {
            shared.fetch_add(1, Ordering::Relaxed);
        }
        held.push((monitor.watch(server, []), client));
    }
    if shared.into_inner() < CONNECTIONS {
        println!("SKIPPED: accepted sockets have cookies of their own");
        return;
    }
    let page = monitor.page();
    let received = || {
        let page = parsed(&text(&page));
        let series = page.samples("tcp_socket_data_received_bytes_total");
        series.map(|sample| (format!("{:?}", sample.labels), sample.value)).collect::<Vec<_>>()
    };
    let first = received();
    // One of them has the cookie; the others have no name, and so are summed.
    let sum: f64 = first.iter().map(|(_, value)| value).sum();
    let sent: usize = (0..CONNECTIONS).map(|number| 1 + number % 7).sum();
    assert_eq!((first.len(), sum), (2, sent as f64));
    (0..20).for_each(|_| assert_eq!(received(), first));
}

/// Both formats, by four threads at once, while a reader of each stops: nobody waits for another.
#[test]
fn writers_of_both_formats_wait_for_no_reader_that_stopped() {
    let monitor = Monitor::new();
    let page = monitor.page();
    let pairs: Vec<Pair> = (0..60).map(|_| Pair::connect()).collect();
    let _watched: Vec<_> = pairs.iter().map(|pair| monitor.watch(&pair.client, [])).collect();
    let (gate, begun) = (Gate::default(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for format in [PageFormat::Text, PageFormat::OpenMetrics] {
            let (page, gate, begun) = (&page, Some(&gate), &begun);
            scope.spawn(move || {
                let mut hostile = Hostile { room: 10, gate, taken: Vec::new(), begun };
                page.write_as(format, &mut hostile).expect("it takes all in the end");
            });
        }
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let page = &page;
                let format = [PageFormat::Text, PageFormat::OpenMetrics][number % 2];
                scope.spawn(move || {
                    (0..20).for_each(|_| {
                        page.write_as(format, &mut io::sink()).expect("a sink takes all");
                    });
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        gate.open();
    });
    let sweeps = parsed(&text(&page)).value("tcp_monitor_sweep_duration_seconds_count", &[]);
    assert_eq!(sweeps, 83.0);
}
