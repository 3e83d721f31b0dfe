//! Receivers of OTLP that are not there, do not answer, or refuse: connections go on as if nothing
//! were, and the totals are right again once the receiver is.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use socket2::{Domain, Socket, Type};
use tcpinfo::{Group, Monitor};

use super::receivers::runtime;
use crate::export::otlp::receiver::{Answer, Receiver};
use crate::export::otlp::{
    Exported, NEVER, crowd, grpc, http, points, provider, totals_are_right, within,
};
use support::exporter::Observed;
use support::lateness::PATIENCE;
use support::loopback::{Pair, until};

/// What a push meets at first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nobody listens.
    Down,
    /// Connections are not even taken: what asks for one is not answered.
    NotTaken,
    /// Connections are taken by the kernel, and nobody reads.
    NotRead,
    /// Requests are read and not answered.
    NotAnswered,
    /// 503, over gRPC 14.
    Refused,
}

/// What goes on meanwhile: round trips of a watched connection, conversations that come and go, and
/// sweeps, each so many.
const ROUND_TRIPS: u64 = 1_000;
const CONVERSATIONS: usize = 20;
const SWEEPS: u64 = 100;

/// A program that pushes often.
pub(super) struct Service {
    monitor: Monitor,
    group: Group,
    provider: SdkMeterProvider,
    begun: mpsc::Receiver<()>,
    ended: mpsc::Receiver<Exported>,
    /// How many pushes began and ended of which this was told.
    pushes: Cell<[usize; 2]>,
    /// How often it went on.
    works: Cell<usize>,
}

impl Service {
    pub(super) fn pushing(exporter: MetricExporter, every: Duration) -> Self {
        let (sender, begun) = mpsc::channel();
        let announced = Observed::new([exporter]).with_begin(move || {
            let _ = sender.send(());
        });
        let (provider, ended) = provider(announced, every);
        let monitor = Monitor::new();
        monitor.instrument(&provider);
        let group = monitor.group([KeyValue::new("group", "a")]);
        let (pushes, works) = Default::default();
        Self { monitor, group, provider, begun, ended, pushes, works }
    }

    /// Goes on while a push is held: it neither arrives nor fails.
    #[track_caller]
    pub(super) fn goes_on_while_held(&self) {
        // The one under way may have its answer on the way to it; the one after that does not end.
        let is_held = [(); 3].iter().any(|()| {
            let before = until("a push under way", || {
                let [begun, ended] = self.pushes();
                (begun > ended).then_some([begun, ended])
            });
            self.work();
            self.pushes() == before
        });
        assert!(is_held, "pushes went on");
    }

    /// How many pushes began and ended so far: no more began than this says, and no fewer ended.
    fn pushes(&self) -> [usize; 2] {
        let [mut begun, mut ended] = self.pushes.get();
        ended += self.ended.try_iter().count();
        begun += self.begun.try_iter().count();
        self.pushes.set([begun, ended]);
        [begun, ended]
    }

    /// The next push that ended, and why it failed if it did.
    #[track_caller]
    fn ended(&self) -> Option<String> {
        let (_, failed) = self.ended.recv_timeout(PATIENCE).expect("pushes go on");
        let [begun, ended] = self.pushes.get();
        self.pushes.set([begun, ended + 1]);
        failed
    }

    /// Goes on while every push fails, and says why.
    #[track_caller]
    pub(super) fn goes_on_while_refused(&self) -> String {
        let why = (0..1_000).find_map(|_| self.ended()).expect("a push is refused");
        self.work();
        let [begun, mut ended] = self.pushes.get();
        for (_, failed) in self.ended.try_iter() {
            assert!(failed.is_some(), "a push arrived");
            ended += 1;
        }
        self.pushes.set([begun, ended]);
        why
    }

    /// All of it, in a time that is not the receiver's.
    fn work(&self) {
        self.works.set(self.works.get() + 1);
        let echoes = self.monitor.group([KeyValue::new("group", "echo")]);
        within("round trips", move || {
            let Pair { client, mut server, .. } = Pair::connect();
            let mut client = echoes.watch(client);
            for _ in 0..ROUND_TRIPS {
                client.write_all(&[1; 64]).expect("the server reads");
                server.read_exact(&mut [0; 64]).expect("the client wrote");
                server.write_all(&[2; 64]).expect("the client reads");
                client.read_exact(&mut [0; 64]).expect("the server wrote");
            }
            let received = client.info().expect("it is open").bytes_received;
            assert_eq!(received, Some(64 * ROUND_TRIPS));
        });
        crowd(&self.group, CONVERSATIONS);
        let monitor = self.monitor.clone();
        within("sweeps", move || {
            let pair = Pair::connect();
            let _watched = monitor.group([]).watch(pair.client);
            let before = monitor.snapshot().monitor.reads;
            (1..SWEEPS).for_each(|_| drop(monitor.snapshot()));
            let after = monitor.snapshot().monitor.reads;
            assert!(after >= before + SWEEPS, "{after} reads after {before}");
        });
    }

    /// Ends when a push arrived, and so did the totals of all that went on.
    #[track_caller]
    pub(super) fn heals(self, receiver: &Receiver) {
        while self.ended().is_some() {}
        totals_are_right(receiver, self.provider, self.works.get() * CONVERSATIONS);
    }
}

/// A receiver with a fault, and what mends it.
fn broken(fault: Fault, over_grpc: bool) -> (SocketAddr, Box<dyn FnOnce() -> Receiver>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("it is of TCP");
    let receiver = move |listener: TcpListener, answer| match over_grpc {
        true => Receiver::grpc_on(listener, answer),
        false => Receiver::http_on(listener, answer),
    };
    match fault {
        Fault::Down => {
            let mend = move || {
                socket.listen(16).expect("it is bound");
                receiver(socket.into(), Answer::Accept)
            };
            (address, Box::new(mend))
        }
        Fault::NotTaken => {
            // Room for one connection, which is there, and then for none.
            socket.listen(0).expect("it is bound");
            let one = TcpStream::connect(address).expect("there is room");
            let full = || tcpinfo::read(&socket).expect("it listens").accept_queue == Some(1);
            until("a full queue", || full().then_some(()));
            let mend = move || {
                drop(one);
                receiver(socket.into(), Answer::Accept)
            };
            (address, Box::new(mend))
        }
        Fault::NotRead => {
            socket.listen(16).expect("it is bound");
            (address, Box::new(move || receiver(socket.into(), Answer::Accept)))
        }
        Fault::NotAnswered | Fault::Refused => {
            let held = fault == Fault::NotAnswered;
            let answer = if held { Answer::Hold } else { Answer::Refuse };
            socket.listen(16).expect("it is bound");
            let receiver = receiver(socket.into(), answer);
            let mend = move || {
                receiver.answer(Answer::Accept);
                receiver
            };
            (address, Box::new(mend))
        }
    }
}

#[track_caller]
fn nobody_is_held_up(fault: Fault, over_grpc: bool) {
    let (address, mend) = broken(fault, over_grpc);
    let (runtime, endpoint) = (runtime(), format!("http://{address}"));
    let exporter = match over_grpc {
        true => grpc(&runtime, &endpoint, Temporality::Cumulative),
        false => http(&endpoint, Temporality::Cumulative),
    };
    let service = Service::pushing(exporter, Duration::from_millis(10));
    let reason = match (fault, over_grpc) {
        (Fault::NotTaken | Fault::NotRead | Fault::NotAnswered, _) => None,
        (Fault::Down, false) => Some("HTTP export failed: network error"),
        (Fault::Refused, false) => Some("HTTP export failed with status code: 503"),
        (Fault::Down | Fault::Refused, true) => Some("export failed with gRPC code: Unavailable"),
    };
    match reason {
        None => service.goes_on_while_held(),
        Some(reason) => {
            let failed = service.goes_on_while_refused();
            assert!(failed.contains(reason), "{fault:?}: {failed}");
        }
    }
    service.heals(&mend());
}

const FAULTS: [Fault; 5] =
    [Fault::Down, Fault::NotTaken, Fault::NotRead, Fault::NotAnswered, Fault::Refused];

#[test]
fn a_receiver_over_http_with_any_fault_holds_nobody_up() {
    for fault in FAULTS {
        nobody_is_held_up(fault, false);
    }
}

#[test]
fn a_receiver_over_grpc_with_any_fault_holds_nobody_up() {
    for fault in FAULTS {
        nobody_is_held_up(fault, true);
    }
}

/// Sockets whose series make a push of more than 4 MiB.
fn too_much(monitor: &Monitor) -> Vec<impl Sized + use<>> {
    let watched = (0..100_i64).map(|number| {
        let Pair { client, server, .. } = Pair::connect();
        let long = KeyValue::new("long", "x".repeat(1_000));
        (monitor.watch(client, [KeyValue::new("number", number), long]), server)
    });
    watched.collect()
}

/// Pushes too much over gRPC, and less afterwards.
#[track_caller]
pub(super) fn less_arrives_after_too_much(sink: &Receiver, endpoint: &str, reason: &str) {
    let runtime = runtime();
    let exporter = grpc(&runtime, endpoint, Temporality::Cumulative);
    let service = Service::pushing(exporter, Duration::from_millis(50));
    let watched = too_much(&service.monitor);
    let failed = service.goes_on_while_refused();
    assert!(failed.contains(reason), "{failed}");
    drop(watched);
    service.heals(sink);
}

#[test]
fn more_than_4_mib_is_refused_and_less_arrives_again() {
    let receiver = Receiver::grpc();
    less_arrives_after_too_much(&receiver, &receiver.endpoint, "gRPC code: OutOfRange");
}

/// Pushes three times, of which the second is refused, and says how often the receiver saw each and
/// what it held: conversations, by the counter and by the histogram.
fn three_pushes(receiver: &Receiver, exporter: MetricExporter) -> [(usize, f64, u64); 3] {
    let (provider, _seen) = provider(exporter, NEVER);
    let monitor = Monitor::new();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("group", "a")]);
    let answers = [Answer::Accept, Answer::Refuse, Answer::Accept].into_iter();
    let pushes = answers.zip([4, 8, 16]).map(|(answer, conversations)| {
        crowd(&group, conversations);
        receiver.answer(answer);
        let flushed = provider.clone();
        let flushed = within("a flush", move || flushed.force_flush());
        assert_eq!(flushed.is_ok(), answer == Answer::Accept);
        let pushes = receiver.so_far();
        let all_same = pushes.iter().all(|push| push.request == pushes[0].request);
        assert!(all_same, "{answer:?}");
        let push = points::collected(&pushes[0].request);
        let closed = push.counter("tcp.connection.closed{group=a}");
        (pushes.len(), closed, push.histograms["tcp.connection.duration{group=a}"])
    });
    let pushes: Vec<_> = pushes.collect();
    within("a shutdown", move || provider.shutdown()).expect("the receiver answers");
    receiver.so_far();
    pushes.try_into().expect("three")
}

#[test]
fn a_failed_push_is_made_up_for_by_totals_and_lost_by_deltas() {
    let runtime = runtime();
    let (over_http, over_grpc) = (Receiver::http(), Receiver::grpc());
    for (temporality, conversations) in [
        (Temporality::Cumulative, [4, 12, 28]),
        // The SDK keeps nothing of what it could not push: the 8 are in no later push.
        (Temporality::Delta, [4, 8, 16]),
    ] {
        // The exporter tries what is refused three times more, within a second or two.
        let tries = [1, 4, 1];
        let expected = [0, 1, 2].map(|at| {
            let conversations: u32 = conversations[at];
            (tries[at], f64::from(conversations), u64::from(conversations))
        });
        let exporter = http(&over_http.endpoint, temporality);
        assert_eq!(three_pushes(&over_http, exporter), expected);
        let exporter = grpc(&runtime, &over_grpc.endpoint, temporality);
        assert_eq!(three_pushes(&over_grpc, exporter), expected);
    }
}
