//! Real sockets and monitors, on which a schedule is run and compared with the model.

use std::cell::OnceCell;
use std::mem;
use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality::{self, Cumulative, Delta};
use tcpinfo::{Group, Monitor, Watched, Worst};

use super::compare::Collector;
use super::model::{Books, Sockets};
use super::{CONNECTIONS, Family, GROUPS, How, READERS, Step};
use support::loopback::Pair;

const TEMPORALITIES: [Temporality; READERS] = [Cumulative, Delta, Cumulative];
/// The readers whose providers a second monitor uses as well.
pub(super) const SHARED: [usize; 2] = [0, 1];
pub(super) const NAMES: [&str; 2] = ["first", "second"];
/// What is compared, and few besides: instruments cost.
const CHOSEN: [&str; 5] = ["state", "bytes_sent", "bytes_retrans", "rtt", "unacked"];

pub(super) struct Connection {
    server: TcpStream,
    /// As a label.
    pub(super) cookie: String,
    owner: Option<Arc<TcpStream>>,
    /// Which descriptor that is.
    descriptor: usize,
    /// Descriptors that were given back.
    returned: Vec<(usize, TcpStream)>,
    pub(super) sent: u64,
    /// Handles of the owner's descriptor that were leaked.
    leaked: usize,
}

enum Held<'c> {
    Shared(Watched<Arc<TcpStream>>),
    Cloned(Watched<TcpStream>),
    Lent(Watched<&'c TcpStream>),
}

impl Held<'_> {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Shared(watched) => watched,
            Self::Cloned(watched) => watched,
            Self::Lent(watched) => watched,
        }
    }
}

struct Handle<'c> {
    monitor: usize,
    connection: usize,
    family: Family,
    descriptor: usize,
    held: Held<'c>,
}

/// Every descriptor that there was, by an index of its own.
#[derive(Default)]
pub(super) struct Descriptors(Vec<Descriptor>);

struct Descriptor {
    connection: usize,
    /// Used again for others once it is closed.
    number: RawFd,
    open: Open,
}

enum Open {
    /// While somebody has the owner's.
    Shared(Weak<TcpStream>),
    Alone(bool),
}

impl Descriptors {
    fn add(&mut self, connection: usize, socket: &TcpStream, open: Open) -> usize {
        self.0.push(Descriptor { connection, number: socket.as_raw_fd(), open });
        self.0.len() - 1
    }

    fn close(&mut self, descriptor: usize) {
        if let Open::Alone(open) = &mut self.0[descriptor].open {
            *open = false;
        }
    }

    fn number(&self, descriptor: usize) -> RawFd {
        self.0[descriptor].number
    }
}

/// What the model may know.
pub(super) struct Facts<'w>(pub(super) &'w [Connection], pub(super) &'w Descriptors);

impl Sockets for Facts<'_> {
    fn sent(&self, connection: usize) -> u64 {
        self.0[connection].sent
    }

    fn is_open(&self, connection: usize, number: RawFd) -> bool {
        let mut all =
            self.1.0.iter().filter(|it| (it.connection, it.number) == (connection, number));
        all.any(|descriptor| match &descriptor.open {
            Open::Shared(owner) => owner.strong_count() > 0,
            Open::Alone(open) => *open,
        })
    }
}

pub(super) struct World<'c> {
    cells: &'c [OnceCell<TcpStream>],
    used: Vec<usize>,
    pub(super) monitors: [Option<Monitor>; 2],
    pub(super) books: [Books; 2],
    groups: [Option<Group>; GROUPS.len()],
    pub(super) shown: [usize; GROUPS.len()],
    // Before the descriptors that they watch.
    handles: Vec<Handle<'c>>,
    pub(super) connections: Vec<Connection>,
    pub(super) descriptors: Descriptors,
    pub(super) collectors: Vec<Collector>,
}

fn group(monitor: &Monitor, group: usize) -> Group {
    monitor.group([KeyValue::new("group", GROUPS[group])])
}

/// Starts a watch of either family.
macro_rules! watch {
    ($monitor:expr, $family:expr, $watch:ident, $socket:expr) => {
        match $family {
            Family::Group(number) => group($monitor, number).$watch($socket),
            Family::Own => $monitor.$watch($socket, []),
        }
    };
}

impl<'c> World<'c> {
    pub(super) fn new(cells: &'c [OnceCell<TcpStream>]) -> Self {
        let mut world = Self {
            cells,
            used: Vec::new(),
            monitors: [None, None],
            books: Default::default(),
            groups: Default::default(),
            shown: [0; GROUPS.len()],
            handles: Vec::new(),
            connections: Vec::new(),
            descriptors: Descriptors::default(),
            collectors: TEMPORALITIES.map(Collector::new).into(),
        };
        world.monitor(0);
        world
    }

    /// The monitor, made when it is wanted first.
    fn monitor(&mut self, number: usize) -> Monitor {
        let collectors = &self.collectors;
        let monitor = self.monitors[number].get_or_insert_with(|| {
            let builder = Monitor::builder().with_name(NAMES[number]);
            let monitor = builder.with_fields(|field| CHOSEN.contains(&field.name)).build();
            for (reader, collector) in collectors.iter().enumerate() {
                if number == 0 || SHARED.contains(&reader) {
                    monitor.instrument(&collector.provider);
                }
            }
            monitor
        });
        monitor.clone()
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Open if self.connections.len() < CONNECTIONS => self.open(),
            Step::Send { connection, bytes } => self.send(connection, bytes),
            Step::Watch { monitor, connection, family, how } => {
                self.watch(monitor, connection, family, how);
            }
            Step::Drop { handle } => self.unwatch(handle, false),
            Step::GiveBack { handle } => self.unwatch(handle, true),
            Step::Leak { monitor, connection, family } => self.leak(monitor, connection, family),
            Step::Close { connection } => self.close(connection),
            Step::ShowWorst { group: number, count } => {
                let monitor = self.monitor(0);
                group(&monitor, number).show_worst(Worst::RttInflation, count);
                self.shown[number] = count;
            }
            Step::Hold { group: number } => {
                self.groups[number] = Some(group(&self.monitor(0), number));
            }
            Step::Release { group } => self.groups[group] = None,
            Step::Collect { reader } => self.collect(reader),
            Step::Snapshot { monitor } => self.snapshot(monitor),
            Step::Renew { reader } => {
                self.collectors[reader] = Collector::new(TEMPORALITIES[reader]);
                for (number, monitor) in self.monitors.iter().enumerate() {
                    if number == 0 || SHARED.contains(&reader) {
                        let provider = &self.collectors[reader].provider;
                        monitor.iter().for_each(|monitor| monitor.instrument(provider));
                    }
                }
            }
            Step::Open => {}
        }
    }

    /// Everything ends, and all is said.
    pub(super) fn end(mut self) {
        while !self.handles.is_empty() {
            self.unwatch(0, false);
        }
        (0..self.connections.len()).for_each(|connection| self.close(connection));
        // What was lent from a cell stays open until nobody can use the cell any more.
        for number in [0, 1] {
            self.snapshot(number);
        }
        (0..READERS).for_each(|reader| self.collect(reader));
    }

    fn open(&mut self) {
        let Pair { client, server, .. } = Pair::connect();
        client.set_nodelay(true).expect("it is connected");
        let cookie = tcpinfo::socket_cookie(&client).expect("this kernel has cookies");
        let (number, owner) = (self.connections.len(), Arc::new(client));
        let descriptor = self.descriptors.add(number, &owner, Open::Shared(Arc::downgrade(&owner)));
        self.connections.push(Connection {
            server,
            cookie: format!("tcp.socket.cookie={cookie}"),
            owner: Some(owner),
            descriptor,
            returned: Vec::new(),
            sent: 0,
            leaked: 0,
        });
    }

    /// Some descriptor of a connection that is open.
    fn stream(&self, number: usize) -> Option<&TcpStream> {
        let connection = self.connections.get(number)?;
        let owner = connection.owner.as_deref();
        let returned = connection.returned.first().map(|(_, stream)| stream);
        let mut handles = self.handles.iter().filter(|handle| handle.connection == number);
        let cell = self.used.iter().position(|of| *of == number);
        owner
            .or(returned)
            .or_else(|| handles.next().map(|handle| handle.held.stream()))
            .or_else(|| self.cells[cell?].get())
    }

    fn send(&mut self, number: usize, bytes: usize) {
        use std::io::{Read, Write};
        let Some(mut stream) = self.stream(number) else { return };
        stream.write_all(&vec![1; bytes]).expect("it is connected");
        let mut server = &self.connections[number].server;
        // All was sent once when it is at the other end.
        server.read_exact(&mut vec![0; bytes]).expect("the client wrote as much");
        self.connections[number].sent += bytes as u64;
    }

    fn watch(&mut self, number: usize, connection: usize, family: Family, how: How) {
        let Some(stream) = self.stream(connection) else { return };
        let clone = || stream.try_clone().expect("a descriptor is free");
        let owner = self.connections[connection].owner.clone();
        let (held, descriptor) = match (how, owner) {
            (How::Shared, Some(owner)) => {
                let monitor = &self.monitor(number);
                let watched = watch!(monitor, family, watch, owner);
                (Held::Shared(watched), self.connections[connection].descriptor)
            }
            (How::Shared | How::Cloned, _) => {
                let (clone, monitor) = (clone(), &self.monitor(number));
                let watched = watch!(monitor, family, watch, clone);
                let descriptor = self.descriptors.add(connection, &watched, Open::Alone(true));
                (Held::Cloned(watched), descriptor)
            }
            (How::Reference | How::Lent, _) => {
                let cell = &self.cells[self.used.len()];
                cell.set(clone()).expect("each is used once");
                let socket = cell.get().expect("it was set");
                self.used.push(connection);
                let monitor = &self.monitor(number);
                let watched = match how {
                    How::Lent => watch!(monitor, family, watch_borrowed, socket),
                    _ => watch!(monitor, family, watch, socket),
                };
                let descriptor = self.descriptors.add(connection, socket, Open::Alone(true));
                (Held::Lent(watched), descriptor)
            }
        };
        let facts = Facts(&self.connections, &self.descriptors);
        let at = self.descriptors.number(descriptor);
        self.books[number].watch(connection, family, at, &facts);
        self.handles.push(Handle { monitor: number, connection, family, descriptor, held });
    }

    fn unwatch(&mut self, handle: usize, gives_back: bool) {
        if self.handles.is_empty() {
            return;
        }
        let handle = self.handles.swap_remove(handle % self.handles.len());
        let Handle { monitor, connection, family, descriptor, held } = handle;
        self.around_a_close(connection, |world| {
            let facts = Facts(&world.connections, &world.descriptors);
            let at = world.descriptors.number(descriptor);
            world.books[monitor].unwatch(connection, family, at, &facts);
            match held {
                Held::Shared(watched) if gives_back => drop(watched.into_inner()),
                Held::Cloned(watched) if gives_back => {
                    let returned = (descriptor, watched.into_inner());
                    world.connections[connection].returned.push(returned);
                }
                Held::Lent(watched) if gives_back => {
                    let _: &TcpStream = watched.into_inner();
                }
                held => {
                    if let Held::Cloned(_) = &held {
                        world.descriptors.close(descriptor);
                    }
                    drop(held);
                    let facts = Facts(&world.connections, &world.descriptors);
                    world.books[monitor].release(connection, family, &facts);
                }
            }
        });
    }

    fn leak(&mut self, number: usize, connection: usize, family: Family) {
        let owner = self.connections.get(connection).and_then(|it| it.owner.clone());
        let Some(owner) = owner else { return };
        let monitor = &self.monitor(number);
        mem::forget(watch!(monitor, family, watch, owner.deref()));
        let it = &mut self.connections[connection];
        it.leaked += 1;
        let descriptor = it.descriptor;
        let facts = Facts(&self.connections, &self.descriptors);
        let at = self.descriptors.number(descriptor);
        self.books[number].watch(connection, family, at, &facts);
        drop(owner);
        // Whether it is read before the next sweep is the monitor's business.
        self.snapshot(number);
    }

    fn close(&mut self, connection: usize) {
        if connection >= self.connections.len() {
            return;
        }
        self.around_a_close(connection, |world| {
            let it = &mut world.connections[connection];
            it.owner = None;
            for (descriptor, _) in it.returned.drain(..) {
                world.descriptors.close(descriptor);
            }
        });
    }

    /// Sweeps before and after a step that may close a descriptor of which a handle was leaked:
    /// what such a one did since the last sweep nobody can say.
    fn around_a_close(&mut self, connection: usize, step: impl FnOnce(&mut Self)) {
        let leaked = self.connections[connection].leaked > 0;
        let sweep = |world: &mut Self| [0, 1].map(|number| world.snapshot(number));
        if leaked {
            sweep(self);
        }
        step(self);
        if leaked {
            sweep(self);
        }
    }
}
