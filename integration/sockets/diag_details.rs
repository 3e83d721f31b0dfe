//! What `sock_diag` says of a socket beside its `TCP_INFO`, against other sources of the same.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tcpinfo::diag::{Query, Socket, SocketMemory, cgroup_path, find};
use tcpinfo::{Kernel, KernelVersion, State};

use support::loopback::{Pair, until};

fn found(stream: &TcpStream) -> Socket {
    let local = stream.local_addr().expect("it is bound");
    let peer = stream.peer_addr().expect("it is connected");
    find(local, peer).expect("sock_diag answers").expect("the socket is open")
}

/// `skmem` of the only socket that `ss` finds by this filter, number by number.
fn skmem(filter: &str) -> Option<Vec<(String, i64)>> {
    let output = match Command::new("ss").arg("-tmOHn").args(filter.split(' ')).output() {
        Ok(output) => String::from_utf8(output.stdout).expect("ss prints text"),
        Err(error) => {
            println!("SKIPPED: ss, of iproute2: {error}");
            return None;
        }
    };
    let (_, rest) = output.split_once("skmem:(").unwrap_or_else(|| panic!("ss {filter}: {output}"));
    let (numbers, _) = rest.split_once(')').expect("closed");
    let number = |word: &str| {
        let at = word.find(|c: char| c == '-' || c.is_ascii_digit()).expect("a number");
        (word[..at].to_owned(), word[at..].parse().expect("a number"))
    };
    Some(numbers.split(',').map(number).collect())
}

fn as_ss_prints(memory: &SocketMemory) -> Vec<(String, i64)> {
    let numbers = [
        ("r", memory.rmem_alloc.into()),
        ("rb", memory.rcvbuf.into()),
        ("t", memory.wmem_alloc.into()),
        ("tb", memory.sndbuf.into()),
        ("f", memory.fwd_alloc.into()),
        ("w", memory.wmem_queued.into()),
        ("o", memory.optmem.into()),
        ("bl", memory.backlog.expect("since Linux 3.6").into()),
        ("d", memory.drops.expect("since Linux 4.7").into()),
    ];
    numbers.map(|(name, number)| (name.to_owned(), number)).into()
}

#[test]
fn memory_is_what_ss_prints() {
    let Pair { mut client, server, listener: _listener } = Pair::connect();
    client.write_all(&[7; 5000]).expect("room in the buffers");
    let memory = until("5000 bytes that nobody reads", || {
        let told = found(&server);
        (told.receive_queue == 5000).then(|| told.memory.expect("a connection has it"))
    });
    assert!((5000..memory.rcvbuf).contains(&memory.rmem_alloc), "{memory:?}");
    let (local, peer) = (server.local_addr().expect("bound"), server.peer_addr().expect("met"));
    let filter = format!("src {local} dst {peer}");
    let Some(printed) = skmem(&filter) else { return };
    assert_eq!(as_ss_prints(&memory), printed);

    let query = Query::new().with_local_port(local.port()).with_peer_port(peer.port());
    let dump = |query: Query| -> Vec<_> {
        let all = query.dump().expect("sock_diag answers");
        all.map(|socket| socket.expect("well-formed").memory).collect()
    };
    assert_eq!(dump(query.clone()), [None], "not asked for");
    assert_eq!(dump(query.with_memory()), [Some(memory)]);
}

#[test]
fn a_full_accept_queue_drops() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a descriptor");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).expect("loopback has ports");
    listener.listen(0).expect("it is bound");
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("it is bound");
    let query = Query::new().with_states([State::Listen]).with_local_port(address.port());
    let query = query.with_memory();
    let drops = || {
        let mut all = query.dump().expect("sock_diag answers");
        let socket = all.next().expect("one listener has this port").expect("well-formed");
        socket.memory.expect("listeners have it").drops.expect("since Linux 4.7")
    };
    assert_eq!(drops(), 0);
    // The queue of a backlog of 0 holds one connection.
    let _first = TcpStream::connect(address).expect("room in the queue");
    let late: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.expect("a descriptor");
            socket.set_nonblocking(true).expect("a socket");
            let begun = socket.connect(&address.into()).expect_err("nobody accepts");
            assert_eq!(begun.raw_os_error(), Some(115), "EINPROGRESS");
            socket
        })
        .collect();
    until("three dropped attempts", || (drops() >= 3).then_some(()));
    drop(late);
}

#[test]
fn closed_directions_are_told_at_both_ends() {
    let Pair { client, server, listener: _listener } = Pair::connect();
    let closed = |stream: &TcpStream| {
        let told = found(stream).shutdown.expect("connections have it");
        [told.receive, told.send]
    };
    assert_eq!([closed(&client), closed(&server)], [[false, false]; 2]);
    client.shutdown(Shutdown::Write).expect("it is connected");
    until("the FIN", || (closed(&server) == [true, false]).then_some(()));
    assert_eq!(closed(&client), [false, true]);
}

#[test]
fn an_mptcp_subflow_has_an_upper_layer() {
    let open = || {
        let mptcp = Some(socket2::Protocol::from(262));
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, mptcp)
    };
    let listener = match open() {
        Ok(listener) => listener,
        Err(error) => return println!("SKIPPED: no MPTCP here: {error}"),
    };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).expect("loopback has ports");
    listener.listen(1).expect("it is bound");
    let listener = TcpListener::from(listener);
    let client = open().expect("as above");
    client.connect(&listener.local_addr().expect("bound").into()).expect("the listener listens");
    let (server, _) = listener.accept().expect("the client connected");
    let Pair { client: plain, server: _server, listener: _listener } = Pair::connect();
    assert_eq!(found(&plain).upper_layer, None);

    let client = TcpStream::from(client);
    // The kernel tells marks to whom it always told this.
    let told_to_all = Kernel::running().version() >= Some(KernelVersion::new(6, 15));
    if found(&client).mark.is_none() && !told_to_all {
        return println!("SKIPPED: before Linux 6.15 this needs CAP_NET_ADMIN");
    }
    let [one, other] = [&client, &server].map(|stream| {
        let told = found(stream).upper_layer.expect("it speaks MPTCP");
        assert_eq!((&*told.name, &told.tls), ("mptcp", &None));
        told.mptcp.expect("its numbers come with its name")
    });
    assert!(one.local_token.is_some_and(|token| token != 0), "{one:?}");
    assert_ne!(one.local_token, other.local_token);
}

/// Where `cgroup2` is mounted, and the path of this process below.
fn own_group() -> Option<(PathBuf, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").expect("procfs");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let mounts = fs::read_to_string("/proc/self/mounts").expect("procfs");
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|words| words[2] == "cgroup2").map(|words| PathBuf::from(words[1]));
    let both = mount.zip(path.map(PathBuf::from));
    if both.is_none() {
        println!("SKIPPED: no cgroup2 here");
    }
    both
}

fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").expect("an absolute path"))
}

#[test]
fn a_control_group_is_a_path() {
    let Some((mount, path)) = own_group() else { return };
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let id = found(&client).cgroup.expect("since Linux 5.8");
    let folder = fs::metadata(below(&mount, &path)).expect("this process is in it");
    assert_eq!(id, folder.ino());
    assert_eq!(cgroup_path(id).expect("it can be read"), Some(path));
    assert_eq!(cgroup_path(u64::MAX).expect("it can be read"), None);
}

#[test]
fn a_socket_belongs_to_the_group_it_was_made_in() {
    let Some((mount, path)) = own_group() else { return };
    let path = path.join(format!("tcpinfo-{}", std::process::id()));
    let folder = below(&mount, &path);
    if let Err(error) = fs::create_dir(&folder) {
        return println!("SKIPPED: cannot make {}: {error}", folder.display());
    }
    let program = std::env::current_exe().expect("procfs");
    let mut child = Command::new(program);
    child.args(["--exact", "sockets::diag_details::group_part", "--ignored"]);
    child.args(["--nocapture", "--test-threads=1"]);
    child.env("TCPINFO_GROUP", &path).env("TCPINFO_GROUP_FOLDER", &folder);
    let output = child.output();
    fs::remove_dir(&folder).expect("its only process has ended");
    let output = output.expect("it is this program");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("found its group"), "{text}");
}

#[test]
#[ignore = "the part of a_socket_belongs_to_the_group_it_was_made_in that is in the group"]
fn group_part() {
    let Some(folder) = std::env::var_os("TCPINFO_GROUP_FOLDER") else { return };
    let path = PathBuf::from(std::env::var_os("TCPINFO_GROUP").expect("set with the folder"));
    let Pair { client: before, server: _s, listener: _l } = Pair::connect();
    let procs = Path::new(&folder).join("cgroup.procs");
    fs::write(procs, std::process::id().to_string()).expect("its maker is root");
    let Pair { client: after, server: _server, listener: _listener } = Pair::connect();
    let [before, after] = [before, after].map(|stream| found(&stream).cgroup.expect("since 5.8"));
    assert_ne!(before, after, "sockets do not move");
    assert_eq!(cgroup_path(after).expect("it can be read"), Some(path));
    println!("found its group");
}
