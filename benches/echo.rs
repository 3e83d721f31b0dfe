//! Whether a watched tokio socket is as fast as a bare one: an echo, both ends watched or neither.

mod pairs;

use std::time::Instant;

use tcpinfo::{Group, Watched};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use pairs::{Load, Turn};

const MESSAGE: usize = 64;

/// How many connections, and how many messages each has on its way.
struct Echo {
    connections: usize,
    messages: usize,
}

enum Clients {
    Bare(Vec<TcpStream>),
    Watched(Vec<Watched<TcpStream>>),
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut room = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut room).await {
        if stream.write_all(&room[..count]).await.is_err() {
            return;
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, messages: usize, turn: Turn) -> S {
    let mut room = vec![7; MESSAGE * messages];
    loop {
        let began = Instant::now();
        stream.write_all(&room).await.expect("the echo lives");
        stream.read_exact(&mut room).await.expect("the echo answers");
        if !turn.note(began) {
            return stream;
        }
    }
}

async fn ask_all<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    streams: &mut Vec<S>,
    messages: usize,
    turn: &Turn,
) {
    let mut clients = JoinSet::new();
    for stream in streams.drain(..) {
        clients.spawn_local(ask(stream, messages, turn.clone()));
    }
    streams.extend(clients.join_all().await);
}

impl Load for Echo {
    type Open = Clients;

    async fn open(&self, group: Option<&Group>) -> Clients {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            let client = TcpStream::connect(address).await.expect("it listens");
            let (server, _) = listener.accept().await.expect("the client connected");
            client.set_nodelay(true).expect("it is connected");
            server.set_nodelay(true).expect("it is connected");
            match group {
                Some(group) => tokio::task::spawn_local(echo(group.watch(server))),
                None => tokio::task::spawn_local(echo(server)),
            };
            clients.push(client);
        }
        match group {
            Some(group) => {
                Clients::Watched(clients.into_iter().map(|client| group.watch(client)).collect())
            }
            None => Clients::Bare(clients),
        }
    }

    async fn take_turn(&self, clients: &mut Clients, turn: &Turn) {
        match clients {
            Clients::Bare(streams) => ask_all(streams, self.messages, turn).await,
            Clients::Watched(streams) => ask_all(streams, self.messages, turn).await,
        }
    }

    fn sockets(&self) -> u64 {
        2 * self.connections as u64
    }
}

fn main() {
    let loads = [
        ("1 connection, 1 message at a time", Echo { connections: 1, messages: 1 }),
        ("1 connection, 64 messages at a time", Echo { connections: 1, messages: 64 }),
        ("32 connections, 16 messages at a time", Echo { connections: 32, messages: 16 }),
    ];
    for (name, load) in loads {
        pairs::compare(&format!("echo of {MESSAGE} bytes, {name}"), &load);
    }
}
