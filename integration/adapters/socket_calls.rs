//! A watched socket answers every call as a bare one does, and holds one descriptor until it ends.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tcpinfo::{Monitor, Watched};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::adapters::servers::soon;
use support::loopback::{Pair, until};

/// How a connection ends on the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Fin,
    Reset,
}

impl End {
    /// Ends the connection; this side knows when it returns.
    fn come(self, peer: TcpStream, own: impl AsFd) {
        if self == Self::Reset {
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a TCP option");
        }
        drop(peer);
        let own = own.as_fd();
        // The kernel's own word, independent of what the program is told.
        until("the end", || {
            let state = tcpinfo::read(own).expect("it is open").state;
            (state != tcpinfo::State::Established).then_some(())
        });
    }
}

fn kind<T>(result: std::io::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

/// What a program is told, call by call.
type Story = Vec<String>;

fn say(story: &mut Story, call: &str, answer: impl Debug) {
    story.push(format!("{call}: {answer:?}"));
}

/// The same calls on any blocking stream.
fn blocking<S: Read + Write + AsFd>(mut own: S, mut peer: TcpStream, end: End) -> Story {
    let mut story = Story::new();
    let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    say(&mut story, "write_vectored", kind(own.write_vectored(&slices)));
    say(&mut story, "flush", kind(own.flush()));
    let mut bytes = [0; 7];
    say(&mut story, "the peer's read", kind(peer.read_exact(&mut bytes)).map(|()| bytes));
    peer.write_all(b"answer").expect("room for six bytes");
    let (mut one, mut two) = ([0; 2], [0; 8]);
    let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    say(&mut story, "read_vectored", kind(own.read_vectored(&mut slices)));
    say(&mut story, "what it read", (one, two));
    SockRef::from(&own).set_nonblocking(true).expect("a descriptor's flag");
    say(&mut story, "read of nothing", kind(own.read(&mut [0; 8])));
    end.come(peer, own.as_fd());
    say(&mut story, "read at the end", kind(own.read(&mut [0; 8])));
    say(&mut story, "read after the end", kind(own.read(&mut [0; 8])));
    say(&mut story, "write after the end", kind(own.write(b"late")));
    let closed = || tcpinfo::read(&own).expect("it is open").state == tcpinfo::State::Close;
    until("the reset", || closed().then_some(()));
    say(&mut story, "write after the reset", kind(own.write(b"later")));
    say(&mut story, "error left", kind(SockRef::from(&own).take_error()).map(|it| it.is_some()));
    story
}

/// What the peer of any stream sees of a half-close, of what may still come, and of the close.
fn half_closed<S: Read + Write + AsFd>(mut own: S, mut peer: TcpStream, unread: bool) -> Story {
    let mut story = Story::new();
    own.write_all(b"all").expect("room for three bytes");
    say(&mut story, "shutdown", kind(SockRef::from(&own).shutdown(Shutdown::Write)));
    let mut text = String::new();
    say(&mut story, "the peer's reads", kind(peer.read_to_string(&mut text)).map(|_| text));
    say(&mut story, "write after shutdown", kind(own.write(b"more")));
    peer.write_all(b"but").expect("only one side is closed");
    if !unread {
        say(&mut story, "read", kind(own.read(&mut [0; 8])));
    }
    drop(own);
    // Bytes left unread make the end a reset.
    let last = until("an error after the close", || {
        let written = kind(peer.write(b"x"));
        written.is_err().then_some(written)
    });
    let resets = [Err(ErrorKind::BrokenPipe), Err(ErrorKind::ConnectionReset)];
    say(&mut story, "the peer's last write fails", resets.contains(&last));
    story
}

/// The same calls on any tokio stream.
async fn asynchronous<S>(
    mut own: S,
    socket: impl Fn(&S) -> BorrowedFd<'_>,
    mut peer: TcpStream,
    end: End,
) -> Story
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut story = Story::new();
    say(&mut story, "is_write_vectored", own.is_write_vectored());
    let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    say(&mut story, "write_vectored", kind(own.write_vectored(&slices).await));
    say(&mut story, "flush", kind(own.flush().await));
    let mut bytes = [0; 7];
    say(&mut story, "the peer's read", kind(peer.read_exact(&mut bytes)).map(|()| bytes));
    peer.write_all(b"answer").expect("room for six bytes");
    let mut bytes = [0; 8];
    say(&mut story, "read", kind(soon(own.read(&mut bytes)).await));
    say(&mut story, "what it read", bytes);
    let pending = tokio::select! {
        biased;
        read = own.read(&mut bytes) => Some(kind(read)),
        () = tokio::task::yield_now() => None,
    };
    say(&mut story, "read of nothing", pending);
    end.come(peer, socket(&own));
    say(&mut story, "read at the end", kind(soon(own.read(&mut [0; 8])).await));
    say(&mut story, "read after the end", kind(soon(own.read(&mut [0; 8])).await));
    say(&mut story, "shutdown", kind(own.shutdown().await));
    say(&mut story, "write after shutdown", kind(soon(own.write(b"late")).await));
    story
}

/// A watched stream and its peer, while a thread sweeps as fast as it can.
fn swept<T>(work: impl FnOnce(&Monitor) -> T) -> T {
    let monitor = Monitor::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                monitor.snapshot();
            }
        });
        let result = work(&monitor);
        done.store(true, Ordering::Release);
        result
    })
}

#[test]
fn every_call_is_answered_as_by_a_bare_socket() {
    for end in [End::Fin, End::Reset] {
        let Pair { client, server, .. } = Pair::connect();
        let bare = blocking(client, server, end);
        assert_eq!(bare.len(), 11);
        let (owned, lent) = swept(|monitor| {
            let group = monitor.group([]);
            let Pair { client, server, .. } = Pair::connect();
            let owned = blocking(group.watch(client), server, end);
            let Pair { client, server, .. } = Pair::connect();
            let watched: Watched<&TcpStream> = group.watch_borrowed(&client);
            (owned, blocking(watched, server, end))
        });
        assert_eq!(owned, bare);
        assert_eq!(lent, bare);
    }
}

#[test]
fn half_closes_and_closes_look_the_same_from_the_other_side() {
    for unread in [false, true] {
        let Pair { client, server, .. } = Pair::connect();
        let bare = half_closed(client, server, unread);
        let watched = swept(|monitor| {
            let Pair { client, server, .. } = Pair::connect();
            half_closed(monitor.group([]).watch(client), server, unread)
        });
        assert_eq!(watched, bare);
    }
}

#[tokio::test]
async fn every_asynchronous_call_is_answered_as_by_a_bare_socket() {
    let group = Monitor::new().group([]);
    for end in [End::Fin, End::Reset] {
        let pair = || {
            let Pair { client, server, .. } = Pair::connect();
            client.set_nonblocking(true).expect("a descriptor's flag");
            (tokio::net::TcpStream::from_std(client).expect("a runtime is here"), server)
        };
        let (client, server) = pair();
        let bare = asynchronous(client, AsFd::as_fd, server, end).await;
        assert_eq!(bare.len(), 11);
        let (client, server) = pair();
        assert_eq!(asynchronous(group.watch(client), AsFd::as_fd, server, end).await, bare);
        let (client, server) = pair();
        let (reader, writer) = group.watch(client).into_split();
        let halves = tokio::io::join(reader, writer);
        let halves = asynchronous(halves, |it| it.reader().as_ref().as_fd(), server, end).await;
        assert_eq!(halves, bare);
    }
}

/// Which sockets this process holds, and by how many descriptors.
fn sockets() -> BTreeMap<PathBuf, u64> {
    let mut sockets = BTreeMap::new();
    let all = fs::read_dir("/proc/self/fd").expect("it is mounted");
    // Another test may close a descriptor between the listing and the look.
    for target in all.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()) {
        *sockets.entry(target).or_default() += 1;
    }
    sockets
}

fn socket(stream: &impl AsRawFd) -> PathBuf {
    let link = format!("/proc/self/fd/{}", stream.as_raw_fd());
    fs::read_link(link).expect("the stream is open")
}

#[test]
fn a_watched_socket_has_one_descriptor_and_leaves_none() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let mut watched = Vec::new();
    for _ in 0..50 {
        let Pair { client, server, listener } = Pair::connect();
        watched.push((group.watch(client), monitor.watch(server, []), group.watch(listener)));
        monitor.snapshot();
    }
    let own: Vec<PathBuf> = watched
        .iter()
        .flat_map(|(client, server, listener)| [socket(client), socket(server), socket(listener)])
        .collect();
    let held = sockets();
    let counts: Vec<_> = own.iter().map(|socket| held.get(socket).copied()).collect();
    assert_eq!(counts, [Some(1); 150]);
    // Every way out: given back, dropped, dropped on another thread.
    for (number, (client, server, listener)) in watched.into_iter().enumerate() {
        match number % 3 {
            0 => drop((client.into_inner(), server.into_inner(), listener.into_inner())),
            1 => drop((client, server, listener)),
            _ => thread::spawn(move || drop((client, server, listener))).join().expect("no panic"),
        }
    }
    let held = sockets();
    let left: Vec<_> = own.iter().filter(|socket| held.contains_key(*socket)).collect();
    assert_eq!(left, Vec::<&PathBuf>::new());
    assert_eq!(monitor.snapshot().monitor.watched, 0);
}
