//! Real connections in every state that a program can hold, over loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_congestion, set_tcp_user_timeout};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use tcpinfo::{State, TcpInfo, read};

use crate::record::{Place, Recorder};
use support::loopback::{Pair, until};

pub(crate) fn all(recorder: &mut Recorder) {
    blank(recorder);
    listening(recorder);
    connecting(recorder);
    established(recorder);
    ending(recorder);
    stalled(recorder);
    without_options(recorder);
    ecn(recorder);
    mptcp(recorder);
    algorithms(recorder);
}

fn info(socket: impl AsFd) -> TcpInfo {
    read(socket).expect("a TCP socket has a TCP_INFO")
}

fn wait_for(what: &str, socket: impl AsFd, holds: impl Fn(&TcpInfo) -> bool) {
    until(&format!("{what}, of {}", info(&socket)), || holds(&info(&socket)).then_some(()));
}

fn of(stream: &TcpStream) -> Place {
    let local = stream.local_addr().expect("it is open");
    Place::Connection(local, stream.peer_addr().expect("it is connected"))
}

fn socket(protocol: Option<Protocol>) -> rustix::io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    rustix::net::socket_with(family, SocketType::STREAM, flags, protocol)
}

/// A listener, and where it listens.
fn listen(protocol: Option<Protocol>, backlog: i32) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
    let listener = socket(protocol)?;
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&listener, backlog)?;
    let address = rustix::net::getsockname(&listener)?.try_into()?;
    Ok((listener, address))
}

/// Sends, and waits until all is acknowledged and, by the peer's delayed ACK, quiet.
fn send(stream: &mut TcpStream, bytes: usize) {
    let before = info(&*stream).bytes_acked.expect("since Linux 4.1");
    stream.write_all(&vec![7; bytes]).expect("it is connected");
    let all = Some(before + bytes as u64);
    wait_for("an acknowledgement", &*stream, |info| info.bytes_acked == all);
}

fn set(name: &str, value: &str) -> std::io::Result<()> {
    fs::write(format!("/proc/sys/net/{name}"), value)
}

fn blank(recorder: &mut Recorder) {
    let fresh = socket(None).expect("TCP exists");
    recorder.record("fresh_close", &fresh, Place::Nowhere);
    let (listener, address) = listen(None, 1).expect("loopback has ports");
    drop(listener);
    let refused = rustix::net::connect(&fresh, &address);
    assert_eq!(refused, Err(Errno::CONNREFUSED));
    recorder.record("close_refused", &fresh, Place::Nowhere);
    let Pair { mut client, server, listener } = Pair::connect();
    send(&mut client, 5000);
    rustix::net::connect_unspec(&client).expect("a stream can be disconnected");
    recorder.record("close_after_disconnect", &client, Place::Nowhere);
    let again = listener.local_addr().expect("it is bound");
    rustix::net::connect(&client, &again).expect("it listens");
    let place = of(&client);
    recorder.record("estab_reconnected", &client, place);
    drop(server);
}

fn listening(recorder: &mut Recorder) {
    let (listener, address) = listen(None, 5).expect("loopback has ports");
    let place = Place::Listener(address.port());
    recorder.record("listen_empty", &listener, place);
    let clients = [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
    wait_for("two that wait", &listener, |info| info.accept_queue == Some(2));
    recorder.record("listen_2pending", &listener, place);
    drop(clients);
}

/// A listener whose queue is full drops SYNs.
fn connecting(recorder: &mut Recorder) {
    let (_listener, address) = listen(None, 0).expect("loopback has ports");
    let _waiting = TcpStream::connect(address).expect("a backlog of 0 holds one");
    let trying = || {
        let trying = TcpStream::from(socket(None).expect("TCP exists"));
        trying.set_nonblocking(true).expect("it is open");
        assert_eq!(rustix::net::connect(&trying, &address), Err(Errno::INPROGRESS));
        trying
    };
    let dropped = trying();
    let place = Place::Connection(dropped.local_addr().expect("it is bound"), address);
    recorder.record("syn_sent", &dropped, place);
    wait_for("a retransmitted SYN", &dropped, |info| info.total_retrans == Some(1));
    recorder.record("syn_sent_retrans", &dropped, place);
    let dropped = trying();
    set_tcp_user_timeout(&dropped, 500).expect("since Linux 2.6.37");
    wait_for("a timeout", &dropped, |info| info.state == State::Close);
    recorder.record("close_timed_out", &dropped, Place::Nowhere);
}

fn established(recorder: &mut Recorder) {
    let Pair { mut client, mut server, .. } = Pair::connect();
    recorder.record("estab_client_idle", &client, of(&client));
    recorder.record("estab_server_idle", &server, of(&server));
    send(&mut client, 5000);
    recorder.record("estab_client_sent5000", &client, of(&client));
    recorder.record("estab_server_unread5000", &server, of(&server));
    server.read_exact(&mut [0; 5000]).expect("they were sent");
    send(&mut server, 300);
    recorder.record("estab_server_answered", &server, of(&server));
    recorder.record("estab_client_answered", &client, of(&client));

    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 has a loopback");
    let address = listener.local_addr().expect("it is bound");
    let mut client = TcpStream::connect(address).expect("it listens");
    let (server, _) = listener.accept().expect("it is connected");
    send(&mut client, 5000);
    recorder.record("ipv6_client_sent5000", &client, of(&client));
    recorder.record("ipv6_listen", &listener, Place::Listener(address.port()));
    drop(server);
}

fn ending(recorder: &mut Recorder) {
    let Pair { mut client, mut server, .. } = Pair::connect();
    send(&mut client, 5000);
    client.shutdown(Shutdown::Write).expect("it is connected");
    wait_for("an acknowledgement of the FIN", &client, |info| info.state == State::FinWait2);
    recorder.record("fin_wait_2", &client, of(&client));
    recorder.record("close_wait", &server, of(&server));
    server.read_exact(&mut [0; 5000]).expect("they were sent");
    server.shutdown(Shutdown::Write).expect("it is connected");
    for (case, socket) in [("close_client_ended", &client), ("close_server_ended", &server)] {
        wait_for("the end", socket, |info| info.state == State::Close);
        recorder.record(case, socket, Place::Nowhere);
    }

    let Pair { mut client, server, .. } = Pair::connect();
    send(&mut client, 5000);
    // What was not read makes the kernel answer with RST.
    drop(server);
    wait_for("a reset", &client, |info| info.state == State::Close);
    recorder.record("close_after_rst", &client, Place::Nowhere);
}

/// Writes until the peer's window is closed: in small pieces, each acknowledged before the next,
/// because some kernels drop what arrives at once beyond the receive buffer.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).expect("it is open");
    let closed = |info: &TcpInfo| (info.snd_wnd, info.unacked) == (Some(0), Some(0));
    while !closed(&info(&*stream)) {
        let written = stream.write(&[7; 4096]).expect("the send buffer has room");
        assert_eq!(written, 4096);
        wait_for("an answer", &*stream, |info| info.notsent_bytes == Some(0) || closed(info));
    }
    let waits = stream.write(&[7; 4096]).expect("the send buffer has room");
    assert_eq!(waits, 4096);
}

fn stalled(recorder: &mut Recorder) {
    let Pair { mut client, mut server, .. } = Pair::connect();
    fill(&mut client);
    // `probes` counts those that nobody answered, and here each is.
    wait_for("a probe", &client, |info| info.backoff.is_some_and(|backoff| backoff > 0));
    recorder.record("zero_window_sender", &client, of(&client));
    recorder.record("zero_window_receiver", &server, of(&server));
    client.shutdown(Shutdown::Write).expect("it is connected");
    recorder.record("fin_wait_1", &client, of(&client));
    let read_all = std::thread::spawn(move || {
        let count = std::io::copy(&mut server, &mut std::io::sink()).expect("it is connected");
        (server, count)
    });
    let (server, count) = read_all.join().expect("reading does not panic");
    assert!(count > 4096, "{count} bytes");
    wait_for("an acknowledgement of the FIN", &client, |info| info.state == State::FinWait2);
    recorder.record("fin_wait_2_unstalled", &client, of(&client));
    recorder.record("close_wait_unstalled", &server, of(&server));
}

fn without_options(recorder: &mut Recorder) {
    let options = ["ipv4/tcp_sack", "ipv4/tcp_timestamps", "ipv4/tcp_window_scaling"];
    for option in options {
        set(option, "0").expect("it is a switch");
    }
    let Pair { mut client, server, .. } = Pair::connect();
    send(&mut client, 5000);
    recorder.record("no_options_client", &client, of(&client));
    recorder.record("no_options_server", &server, of(&server));
    for option in options {
        set(option, "1").expect("it is a switch");
    }
}

fn ecn(recorder: &mut Recorder) {
    set("ipv4/tcp_ecn", "1").expect("classic ECN is in every kernel");
    let Pair { mut client, server, .. } = Pair::connect();
    send(&mut client, 50_000);
    recorder.record("ecn_client_sent", &client, of(&client));
    recorder.record("ecn_server_received", &server, of(&server));
    match set("ipv4/tcp_ecn", "3") {
        Ok(()) => {
            let Pair { mut client, mut server, .. } = Pair::connect();
            recorder.record("accecn_client_idle", &client, of(&client));
            send(&mut client, 50_000);
            server.read_exact(&mut [0; 50_000]).expect("they were sent");
            send(&mut server, 3_000);
            recorder.record("accecn_client_sent", &client, of(&client));
            recorder.record("accecn_server_received", &server, of(&server));
        }
        Err(error) => recorder.say(format_args!("without accecn: {error}")),
    }
    set("ipv4/tcp_ecn", "2").expect("it is the default");
}

fn mptcp(recorder: &mut Recorder) {
    let (listener, address) = match listen(Some(ipproto::MPTCP), 5) {
        Ok(listening) => listening,
        Err(error) => return recorder.say(format_args!("without mptcp: {error}")),
    };
    let client = socket(Some(ipproto::MPTCP)).expect("the listener is one");
    rustix::net::connect(&client, &address).expect("it listens");
    let mut client = TcpStream::from(client);
    let server = TcpStream::from(rustix::net::accept(&listener).expect("it is connected"));
    recorder.record("mptcp_listen", &listener, Place::Listener(address.port()));
    client.write_all(&[7; 5000]).expect("it is connected");
    let sent = |info: &TcpInfo| info.bytes_acked == Some(5001);
    wait_for("an acknowledgement", &client, sent);
    recorder.record("mptcp_client_sent5000", &client, of(&client));
    recorder.record("mptcp_server_unread5000", &server, of(&server));
    drop(server);
    wait_for("the end of the subflow", &client, |info| info.state == State::Close);
    recorder.record("mptcp_close", &client, Place::Nowhere);
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let client = socket(Some(ipproto::MPTCP)).expect("the listener is one");
    rustix::net::connect(&client, &plain.local_addr().expect("it is bound")).expect("it listens");
    let client = TcpStream::from(client);
    recorder.record("mptcp_fallback_client", &client, of(&client));
}

fn algorithms(recorder: &mut Recorder) {
    let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .expect("it is in every kernel");
    // Without ECN, DCTCP falls back to reno.
    set("ipv4/tcp_ecn", "1").expect("classic ECN is in every kernel");
    for name in available.split_whitespace() {
        let Pair { mut client, server, .. } = Pair::connect();
        set_tcp_congestion(&client, name).expect("it is available");
        send(&mut client, 50_000);
        recorder.record(&format!("congestion_{name}"), &client, of(&client));
        drop(server);
    }
    let algorithms = available.split_whitespace().count();
    recorder.say(format_args!("algorithms {algorithms}: {}", available.trim_end()));
}
