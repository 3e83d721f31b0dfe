//! Sockets of this machine's kernel: what `read` says against what the program and its peer know.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tcpinfo::{FIELDS, Kernel, State, TcpInfo, read, socket_cookie};

use support::lateness::in_time;
use support::loopback::{Pair, names, until};
use support::replies::field;

fn info(socket: impl AsFd) -> TcpInfo {
    read(socket).expect("a TCP socket has a TCP_INFO")
}

/// The error the kernel gives instead of `TCP_INFO`.
fn refusal(descriptor: impl AsFd) -> Option<i32> {
    read(descriptor).expect_err("no TCP socket").raw_os_error()
}

#[test]
fn bytes_are_those_the_peer_counted() {
    const SENT: usize = 3_000_017;
    let Pair { mut client, mut server, .. } = Pair::connect();
    let writer = std::thread::spawn(move || {
        client.write_all(&vec![7; SENT]).expect("the peer reads");
        client
    });
    let mut counted = 0;
    let mut room = vec![0; 1 << 16];
    while counted < SENT {
        counted += server.read(&mut room).expect("the peer writes");
    }
    let client = writer.join().expect("the writer wrote");
    assert_eq!(counted, SENT);
    // Our SYN counts 1; the last acknowledgement may still be on its way.
    let sent = until("an acknowledgement of every byte", || {
        let info = info(&client);
        (info.bytes_acked == Some(SENT as u64 + 1)).then_some(info)
    });
    let received = info(&server);
    let retransmitted = sent.bytes_retrans.expect("an established connection counts them");
    assert_eq!(sent.bytes_sent, Some(SENT as u64 + retransmitted));
    assert_eq!((sent.unacked, sent.notsent_bytes), (Some(0), Some(0)));
    assert_eq!(received.bytes_received, Some(SENT as u64));
    assert_eq!((received.bytes_sent, received.bytes_acked), (Some(0), Some(0)));
    assert_eq!(sent.data_segs_in, Some(0));
    assert_eq!(received.data_segs_out, Some(0));
}

#[test]
fn a_fin_counts_one_byte_on_both_sides() {
    let Pair { client, server, .. } = Pair::connect();
    client.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let acked = until("an acknowledgement of the FIN", || {
        let info = info(&client);
        (info.bytes_acked == Some(2)).then_some(info)
    });
    assert_eq!((acked.state, acked.bytes_sent), (State::FinWait2, Some(0)));
    assert_eq!((info(&server).state, info(&server).bytes_received), (State::CloseWait, Some(1)));
    server.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let ended = until("the end of the connection", || {
        let info = info(&server);
        (info.state == State::Close).then_some(info)
    });
    assert_eq!((ended.bytes_acked, ended.bytes_received), (Some(1), Some(1)));
    assert_eq!((ended.notsent_bytes, ended.bytes_sent), (None, Some(0)));
}

#[test]
fn a_fresh_connection_reports_the_handshake() {
    let began = Instant::now();
    let Pair { client, server, .. } = Pair::connect();
    let (client, server) = (info(&client), info(&server));
    let took = began.elapsed();
    assert_eq!((client.state, server.state), (State::Established, State::Established));
    assert_eq!((client.bytes_acked, server.bytes_acked), (Some(1), Some(0)));
    assert_eq!((client.segs_out, client.segs_in), (Some(2), Some(1)));
    assert_eq!((client.bytes_sent, client.delivery_rate, client.ato), (Some(0), None, None));
    assert_eq!((client.last_ack_sent, client.accept_queue), (None, None));
    assert_eq!(client.options, server.options);
    assert_eq!(client.snd_wscale, server.rcv_wscale);
    assert_eq!(client.rcv_wscale, server.snd_wscale);
    assert!(client.rtt.is_some_and(|rtt| rtt < took), "{client} in {took:?}");
    assert!(client.min_rtt <= client.rtt);
}

#[test]
fn a_listener_shows_its_accept_queue_and_backlog() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    let fresh = info(&listener);
    assert_eq!((fresh.state, fresh.accept_queue, fresh.bytes_sent), (State::Close, None, None));
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has ports");
    listener.listen(5).expect("it is bound");
    assert_eq!((info(&listener).accept_queue, info(&listener).backlog), (Some(0), Some(5)));
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("it is bound");
    let clients = [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
    let full = until("two connections that wait", || {
        Some(info(&listener)).filter(|info| info.accept_queue == Some(2))
    });
    assert_eq!((full.state, full.backlog), (State::Listen, Some(5)));
    assert_eq!((full.unacked, full.sacked, full.rtt), (None, None, None));
    assert!(full.supports(field("rtt")));
    listener.accept().expect("two wait");
    assert_eq!(info(&listener).accept_queue, Some(1));
    drop(clients);
}

#[test]
fn other_sockets_and_files_keep_the_kernels_own_error() {
    let udp_v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let udp_v6 = Socket::new(Domain::IPV6, Type::DGRAM, None).expect("IPv6 exists");
    let (unix, _peer) = UnixStream::pair().expect("UNIX sockets exist");
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().expect("true exists");
    let pipe = child.stdin.take().expect("it was piped");
    let closed = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open("/")
        .expect("a path needs no permission");
    assert_eq!(refusal(&udp_v4), Some(libc::EOPNOTSUPP));
    assert_eq!(refusal(&udp_v6), Some(libc::ENOPROTOOPT));
    assert_eq!(refusal(&unix), Some(libc::EOPNOTSUPP));
    assert_eq!(refusal(&pipe), Some(libc::ENOTSOCK));
    // An `O_PATH` descriptor is to `getsockopt` what a closed one is.
    assert_eq!(refusal(&closed), Some(libc::EBADF));
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
}

#[test]
fn every_kind_of_socket_can_be_read() {
    let Pair { mut client, server: mut peer, .. } = Pair::connect();
    client.write_all(b"hello").expect("it is connected");
    peer.read_exact(&mut [0; 5]).expect("the client sent five bytes");
    until("five acknowledged bytes", || (info(&client).bytes_acked == Some(6)).then_some(()));
    let cookie = socket_cookie(&client).expect("this kernel has cookies");
    let same = |socket: std::os::fd::BorrowedFd<'_>| {
        assert_eq!(socket_cookie(socket).expect("this kernel has cookies"), cookie);
        assert_eq!(info(socket).bytes_sent, Some(5));
        assert_eq!(info(socket).state, State::Established);
    };
    same(client.as_fd());
    assert_eq!(info(&mut client).bytes_sent, Some(5));
    assert_eq!(
        info(std::sync::Arc::new(client.try_clone().expect("it is open"))).bytes_sent,
        Some(5)
    );
    let socket = Socket::from(client);
    same(socket.as_fd());
    let client = TcpStream::from(socket);
    let owned = OwnedFd::from(client);
    same(owned.as_fd());
    same(rustix::fd::AsFd::as_fd(&owned));
}

#[test]
fn ipv6_connections_are_read_like_any() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 has a loopback");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    let (server, _) = listener.accept().expect("the client connected");
    assert_eq!(names(&info(&client)), names(&info(&Pair::connect().client)));
    assert_eq!(info(&server).state, State::Established);
    assert_eq!(info(&listener).state, State::Listen);
}

#[test]
fn a_cookie_names_one_socket_for_good() {
    let Pair { client, server, listener } = Pair::connect();
    let cookie = |socket: std::os::fd::BorrowedFd<'_>| {
        socket_cookie(socket).expect("this kernel has cookies")
    };
    let of_client = cookie(client.as_fd());
    let mut all = [of_client, cookie(server.as_fd()), cookie(listener.as_fd())];
    assert_eq!(cookie(client.as_fd()), of_client);
    assert_eq!(cookie(client.try_clone().expect("it is open").as_fd()), of_client);
    all.sort_unstable();
    assert!(all[0] < all[1] && all[1] < all[2], "{all:?}");
    let (unix, _peer) = UnixStream::pair().expect("UNIX sockets exist");
    assert!(!all.contains(&cookie(unix.as_fd())));
}

#[test]
fn a_disconnected_socket_reports_no_connection() {
    let Pair { client, .. } = Pair::connect();
    let before = names(&info(&client));
    let cookie = socket_cookie(&client).expect("this kernel has cookies");
    rustix::net::connect_unspec(&client).expect("a stream can be disconnected");
    let after = info(&client);
    assert_eq!((after.state, after.rtt, after.bytes_acked), (State::Close, None, None));
    let fresh = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    let mut expected = names(&info(&fresh));
    // Pacing survives, as does nothing else that a fresh socket lacks.
    expected.retain(|name| *name != "pacing_rate");
    let mut kept = names(&after);
    kept.retain(|name| *name != "pacing_rate");
    assert_eq!(kept, expected);
    assert!(before.len() > kept.len());
    assert_eq!(socket_cookie(&client).expect("this kernel has cookies"), cookie);
}

#[test]
fn a_connection_that_was_refused_and_reset_reports_nothing_of_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = taken.local_addr().expect("it is bound");
    drop(taken);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    let error = socket.connect(&address.into()).expect_err("nobody listens there");
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    let refused = info(&socket);
    assert_eq!((refused.state, refused.notsent_bytes, refused.rcv_mss), (State::Close, None, None));
    assert_eq!((refused.segs_out, refused.last_data_recv), (None, None));
}

#[test]
fn an_attempt_that_timed_out_keeps_its_counters() {
    in_time(Duration::from_millis(100), |_| times_out());
}

fn times_out() -> Result<(), String> {
    // A listener whose queue is full drops SYNs.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has ports");
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    waiting.connect(&address).expect("a backlog of 0 holds one");
    let dropped = Socket::new(Domain::IPV4, Type::STREAM, None).expect("IPv4 exists");
    rustix::net::sockopt::set_tcp_user_timeout(&dropped, 500).expect("since Linux 2.6.37");
    dropped.set_nonblocking(true).expect("it is open");
    let error = dropped.connect(&address).expect_err("it has to wait");
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
    let trying = info(&dropped);
    // The kernel tries again after a second.
    if (trying.state, trying.segs_out) != (State::SynSent, Some(1)) {
        return Err(format!("it was read as {trying}"));
    }
    let failed = until("a timeout", || {
        let info = info(&dropped);
        (info.state == State::Close).then_some(info)
    });
    assert_eq!(names(&failed), names(&trying));
    assert!(failed.segs_out >= trying.segs_out);
    assert_eq!((failed.segs_in, failed.bytes_sent), (Some(0), Some(0)));
    assert_eq!((failed.notsent_bytes, failed.rtt), (None, None));
    Ok(())
}

#[test]
fn the_running_kernel_is_the_one_of_uname() {
    let uname = Command::new("uname").arg("-r").output().expect("coreutils have uname");
    let release = String::from_utf8(uname.stdout).expect("a release is text");
    assert_eq!(Kernel::running().release(), release.trim_end());
    assert!(Kernel::running().version().is_some(), "{release}");
}

/// The alarm for a kernel that reports more than the table has: add the new rows.
#[test]
fn the_running_kernel_says_nothing_that_the_table_does_not_know() {
    let known = FIELDS.iter().map(|field| field.offset + field.size).max();
    let len = info(&Pair::connect().client).reply_len;
    assert!(
        Some(len) <= known,
        "Linux {} replies with {len} bytes, the table in src/info.rs ends at {known:?}",
        Kernel::running(),
    );
}

/// The same alarm for the other side: what this kernel must report by its version, it reports.
#[test]
fn the_running_kernel_supports_every_field_of_its_version() {
    let info = info(&Pair::connect().client);
    let version = Kernel::running().version().expect("the tests run on a kernel with a version");
    let missing: Vec<_> = FIELDS
        .iter()
        .filter(|field| field.since <= version && !info.supports(field))
        .map(|field| field.name)
        .collect();
    assert_eq!(missing, ["fackets", "last_ack_sent"]);
}
