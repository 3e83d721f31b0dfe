//! Plays one scene of the matrix: a path, a load, an event, and what both ends' kernels then say.

use std::io::{Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::connect_unspec;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_send_buffer_size, set_tcp_congestion, set_tcp_nodelay,
};
use socket2::{Domain, Socket, TcpKeepalive, Type};

use super::raw::{pace, tcp_info};
use crate::faults::namespace::Namespace;
use crate::faults::relay::{Both, DEVICE, Link, Relay};
use support::lateness::Worst;

/// One scene: what is between the ends, what they do, and what happens to them.
pub(crate) struct Setup {
    pub(crate) links: Both<Link>,
    /// Options of the route in both namespaces.
    pub(crate) route: &'static str,
    pub(crate) congestion: &'static str,
    /// Bytes a second that the sender does not exceed.
    pub(crate) pacing: Option<u64>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) load: Load,
    pub(crate) event: Event,
    /// Before the first reading.
    pub(crate) warm_up: Duration,
    /// Between the first and the last reading.
    pub(crate) interval: Duration,
}

/// What the programs at both ends do. Data goes from the first end to the second.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// As much as the path takes.
    Bulk(Appetite),
    /// So many bytes, again and again after a pause.
    Chunks { len: usize, pause: Duration },
    /// One request at a time. The second end thinks before it answers, the first before it asks.
    Requests { request: usize, response: usize, answers: Duration, asks: Duration },
    /// One request and its answer, then nothing but keep-alive probes.
    Idle,
    /// So many bytes, and the end.
    Once(usize),
    /// A connection that nobody answers to.
    Unanswered,
}

/// How the second end reads.
#[derive(Clone, Copy)]
pub(crate) enum Appetite {
    /// All that there is, at once.
    Whole,
    /// So many bytes a second.
    Rate(u64),
    /// All that there is, and then nothing for so long.
    Pauses { open: Duration, shut: Duration },
}

/// What happens at the time of the first reading.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    None,
    /// Nothing passes any more.
    Hole,
    /// The second end closes without a farewell.
    Reset,
    /// Larger packets do not pass any more.
    Mtu(u16),
}

/// What a kernel said of one end, and when.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) at: Duration,
    pub(crate) reply: Vec<u8>,
}

/// The readings of both ends.
pub(crate) type Readings = Both<Vec<Reading>>;

const ADDRESSES: Both<Ipv4Addr> = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// How many readings there are after the first one.
const STEPS: u32 = 4;

/// Reads a socket at even steps of an interval. `None` where it cannot be read.
pub(crate) fn readings(
    interval: Duration,
    sockets: &[&dyn std::os::fd::AsFd],
    mut begun: impl FnMut(),
) -> Vec<Vec<Reading>> {
    let mut all = vec![Vec::new(); sockets.len()];
    let start = Instant::now();
    for step in 0..=STEPS {
        thread::sleep((interval * step / STEPS).saturating_sub(start.elapsed()));
        for (socket, readings) in sockets.iter().zip(&mut all) {
            if let Ok(reply) = tcp_info(socket) {
                readings.push(Reading { at: start.elapsed(), reply });
            }
        }
        if step == 0 {
            begun();
        }
    }
    all
}

/// Makes the path of a scene between two namespaces.
pub(crate) fn lay(namespaces: &Both<Namespace>, setup: &mut Setup, worst: Worst) -> Relay {
    let relay = Relay::new(namespaces, mem::take(&mut setup.links), worst);
    for (namespace, address) in namespaces.iter().zip(ADDRESSES) {
        let ip = |line: &str| {
            namespace.output("ip", &line.split_whitespace().collect::<Vec<_>>());
        };
        ip(&format!("address add {address}/24 dev {DEVICE}"));
        ip(&format!("link set {DEVICE} up"));
        if !setup.route.is_empty() {
            ip(&format!("route replace 192.0.2.0/24 dev {DEVICE} {}", setup.route));
        }
    }
    relay
}

pub(crate) fn socket(congestion: &str) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    set_tcp_congestion(&socket, congestion).expect("the kernel has it");
    set_tcp_nodelay(&socket, true).expect("it is open");
    socket
}

/// Listens at the second end.
pub(crate) fn listener([_, second]: &Both<Namespace>, setup: &Setup) -> TcpListener {
    let &Setup { congestion, receive_buffer, .. } = setup;
    second.inside(|| {
        let socket = socket(congestion);
        if let Some(len) = receive_buffer {
            set_socket_recv_buffer_size(&socket, len).expect("it is open");
        }
        socket.bind(&SocketAddr::from((ADDRESSES[1], 0)).into()).expect("it is our address");
        socket.listen(1).expect("it is bound");
        TcpListener::from(socket)
    })
}

/// Both ends of a connection over the path.
pub(crate) fn connected(namespaces: &Both<Namespace>, setup: &Setup) -> Both<TcpStream> {
    let listener = listener(namespaces, setup);
    let address = listener.local_addr().expect("it is bound");
    let &Setup { congestion, send_buffer, pacing, load, .. } = setup;
    let client = namespaces[0].inside(|| {
        let socket = socket(congestion);
        if let Some(len) = send_buffer {
            set_socket_send_buffer_size(&socket, len).expect("it is open");
        }
        if let Some(rate) = pacing {
            pace(&socket, rate).expect("it is open");
        }
        if matches!(load, Load::Idle) {
            let second = Duration::from_secs(1);
            let alive = TcpKeepalive::new().with_time(second).with_interval(second);
            socket.set_tcp_keepalive(&alive).expect("it is open");
        }
        socket.connect(&address.into()).expect("the listener listens");
        TcpStream::from(socket)
    });
    let (server, _) = listener.accept().expect("the client connected");
    [client, server]
}

/// Plays it in two namespaces.
pub(crate) fn play(namespaces: &Both<Namespace>, mut setup: Setup, worst: Worst) -> Readings {
    let Setup { load, event, .. } = setup;
    let relay = lay(namespaces, &mut setup, worst);
    if matches!(load, Load::Unanswered) {
        let address = listener(namespaces, &setup).local_addr().expect("it is bound");
        relay.set_hole(true);
        let socket = namespaces[0].inside(|| socket(setup.congestion));
        let one = readings(setup.interval, &[&socket], || {
            socket.set_nonblocking(true).expect("it is open");
            socket.connect(&address.into()).expect_err("nobody answers");
        });
        return [one.into_iter().next().expect("one socket"), Vec::new()];
    }
    let [client, server] = connected(namespaces, &setup);
    let curtain = Curtain::default();
    let threads = begin(load, &client, &server, &curtain);
    thread::sleep(setup.warm_up);
    let all = readings(setup.interval, &[&client, &server], || match event {
        Event::None => {
            if let Load::Once(len) = load {
                let _ = (&client).write_all(&vec![7; len]);
                client.shutdown(Shutdown::Write).expect("it is connected");
            }
        }
        Event::Hole => relay.set_hole(true),
        Event::Mtu(mtu) => relay.set_mtu(mtu),
        Event::Reset => connect_unspec(&server).expect("a stream can be disconnected"),
    });
    curtain.fall();
    for stream in [&client, &server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("they only read and write"));
    all.try_into().unwrap_or_else(|_| unreachable!("two sockets were given"))
}

/// The programs at both ends. They end with the connection.
pub(crate) fn begin(
    load: Load,
    client: &TcpStream,
    server: &TcpStream,
    curtain: &Curtain,
) -> Vec<JoinHandle<()>> {
    let [client, server] = [client, server].map(|it| it.try_clone().expect("a descriptor"));
    let [one, other] = [curtain.clone(), curtain.clone()];
    match load {
        Load::Bulk(appetite) => vec![
            thread::spawn(move || write(client, 1 << 14, Duration::ZERO, &one)),
            thread::spawn(move || read(server, appetite, &other)),
        ],
        Load::Chunks { len, pause } => vec![
            thread::spawn(move || write(client, len, pause, &one)),
            thread::spawn(move || read(server, Appetite::Whole, &other)),
        ],
        Load::Requests { request, response, answers, asks } => vec![
            thread::spawn(move || ask(client, [request, response], asks, &one)),
            thread::spawn(move || answer(server, [request, response], answers, &other)),
        ],
        Load::Idle => {
            let once = Duration::from_secs(3600);
            vec![
                thread::spawn(move || answer(server, [100, 2000], Duration::ZERO, &other)),
                thread::spawn(move || ask(client, [100, 2000], once, &one)),
            ]
        }
        Load::Unanswered => Vec::new(),
        Load::Once(_) => vec![thread::spawn(move || read(server, Appetite::Whole, &other))],
    }
}

fn write(mut stream: TcpStream, len: usize, pause: Duration, curtain: &Curtain) {
    let bytes = vec![7; len];
    while stream.write_all(&bytes).is_ok() {
        if !pause.is_zero() {
            curtain.nap(pause);
        }
    }
}

fn read(mut stream: TcpStream, appetite: Appetite, curtain: &Curtain) {
    let mut room = [0; 1 << 16];
    let start = Instant::now();
    let mut begun = start;
    let mut total = 0_u64;
    loop {
        let part = if matches!(appetite, Appetite::Rate(_)) { 1 << 12 } else { room.len() };
        match stream.read(&mut room[..part]) {
            Ok(0) | Err(_) => return,
            Ok(len) => total += len as u64,
        }
        match appetite {
            Appetite::Whole => {}
            Appetite::Rate(rate) => {
                let due = Duration::from_secs_f64(total as f64 / rate as f64);
                curtain.nap(due.saturating_sub(start.elapsed()));
            }
            Appetite::Pauses { open, shut } => {
                if begun.elapsed() > open {
                    curtain.nap(shut);
                    begun = Instant::now();
                }
            }
        }
    }
}

/// Whether the scene is over. What waits for it sleeps.
#[derive(Clone, Default)]
pub(crate) struct Curtain(Arc<(Mutex<bool>, Condvar)>);

impl Curtain {
    pub(crate) fn fall(&self) {
        *self.0.0.lock().expect("nobody panics with it") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn has_fallen(&self) -> bool {
        *self.0.0.lock().expect("nobody panics with it")
    }

    /// Sleeps, but no longer than the scene takes.
    pub(crate) fn nap(&self, time: Duration) {
        let fallen = self.0.0.lock().expect("nobody panics with it");
        let _ = self.0.1.wait_timeout_while(fallen, time, |fallen| !*fallen);
    }
}

fn ask(
    mut stream: TcpStream,
    [request, response]: [usize; 2],
    thinks: Duration,
    curtain: &Curtain,
) {
    let mut room = vec![0; response];
    while stream.write_all(&vec![7; request]).is_ok() && stream.read_exact(&mut room).is_ok() {
        curtain.nap(thinks);
    }
}

fn answer(
    mut stream: TcpStream,
    [request, response]: [usize; 2],
    thinks: Duration,
    curtain: &Curtain,
) {
    let mut room = vec![0; request];
    while stream.read_exact(&mut room).is_ok() {
        curtain.nap(thinks);
        if stream.write_all(&vec![7; response]).is_err() {
            return;
        }
    }
}
