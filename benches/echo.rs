//! Whether a watched tokio socket is as fast as a bare one: an echo, both ends watched or neither,
//! in turns on one thread. A watched round is swept once in its middle.

mod pairs;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tcpinfo::{Group, Monitor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use pairs::{Plan, Side, Slice};

const MESSAGE: usize = 64;

/// How many connections, and how many messages each has on its way.
#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    messages: usize,
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut room = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut room).await {
        if stream.write_all(&room[..count]).await.is_err() {
            return;
        }
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    messages: usize,
    slice: Rc<RefCell<Slice>>,
) {
    let mut room = vec![7; MESSAGE * messages];
    loop {
        let began = Instant::now();
        stream.write_all(&room).await.expect("the echo lives");
        stream.read_exact(&mut room).await.expect("the echo answers");
        if !slice.borrow_mut().note(began) {
            return;
        }
    }
}

async fn run(side: Side, load: Load, length: Duration, monitor: &Monitor, group: &Group) -> Slice {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let mut pairs = Vec::new();
    for _ in 0..load.connections {
        let client = TcpStream::connect(address).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("the client connected");
        client.set_nodelay(true).expect("it is connected");
        server.set_nodelay(true).expect("it is connected");
        pairs.push((client, server));
    }
    let slice = Rc::new(RefCell::new(Slice::start(length)));
    let mut clients = JoinSet::new();
    for (client, server) in pairs {
        let slice = Rc::clone(&slice);
        if side == Side::Watched {
            tokio::task::spawn_local(echo(group.watch(server)));
            clients.spawn_local(ask(group.watch(client), load.messages, slice));
        } else {
            tokio::task::spawn_local(echo(server));
            clients.spawn_local(ask(client, load.messages, slice));
        }
    }
    tokio::time::sleep(length / 2).await;
    if side == Side::Watched && pairs::sweeps() {
        let watched = monitor.snapshot().monitor.watched;
        assert_eq!(watched, 2 * load.connections as u64);
    }
    clients.join_all().await;
    Rc::into_inner(slice).expect("the clients are done").into_inner()
}

fn main() {
    let plan = Plan::of_arguments();
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let loads = [
        ("1 connection, 1 message at a time", Load { connections: 1, messages: 1 }),
        ("1 connection, 64 messages at a time", Load { connections: 1, messages: 64 }),
        ("32 connections, 16 messages at a time", Load { connections: 32, messages: 16 }),
    ];
    for (name, load) in loads {
        pairs::compare(&format!("echo of {MESSAGE} bytes, {name}"), plan, |side| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("there are descriptors");
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, run(side, load, plan.slice, &monitor, &group))
        });
    }
    assert_eq!(monitor.snapshot().monitor.read_errors, []);
}
