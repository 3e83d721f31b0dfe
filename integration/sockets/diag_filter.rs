//! Filters that the kernel runs: they find what `ss` finds by the same words.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tcpinfo::State;
use tcpinfo::diag::{Filter, FilterError, IpPrefix, Query};
use tcpinfo::socket_cookie;

use support::loopback::Pair;

fn cookies(query: &Query) -> BTreeSet<u64> {
    let all = query.dump().expect("sock_diag answers");
    all.map(|socket| socket.expect("well-formed").cookie).collect()
}

/// Without TIME_WAIT: an earlier test may have left there the port of one of ours.
const SS: &[&str] = &["-tneOH", "state", "established", "state", "listening"];
const STATES: [State; 2] = [State::Established, State::Listen];

/// The cookies of what `ss` finds: `sk:1a` behind each socket.
fn ss(filter: &str) -> Option<BTreeSet<u64>> {
    let output = match Command::new("ss").args(SS).args(filter.split(' ')).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: ss, of iproute2: {error}");
            return None;
        }
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "ss {filter}: {error}");
    let text = String::from_utf8(output.stdout).expect("ss prints text");
    let cookie = |line: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix("sk:"));
        u64::from_str_radix(word.expect("a cookie"), 16).expect("a cookie")
    };
    Some(text.lines().map(cookie).collect())
}

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).expect("sockets have cookies")
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().expect("a prefix")
}

/// Connections over IPv4 from two addresses, and over IPv6 where there is any, by a listener for
/// both: the sockets, and the listeners' ports.
fn scene() -> (Vec<TcpStream>, Vec<TcpListener>, [u16; 2]) {
    let (mut streams, mut listeners, mut ports) = (Vec::new(), Vec::new(), [0; 2]);
    let any: [(IpAddr, &[IpAddr]); 2] = [
        (Ipv4Addr::LOCALHOST.into(), &[IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        (
            Ipv6Addr::UNSPECIFIED.into(),
            &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        ),
    ];
    for ((ip, targets), port) in any.into_iter().zip(&mut ports) {
        let listener = match TcpListener::bind((ip, 0)) {
            Ok(listener) => listener,
            Err(error) => {
                println!("SKIPPED: no sockets on {ip}: {error}");
                continue;
            }
        };
        *port = listener.local_addr().expect("it is bound").port();
        for target in targets {
            streams.push(TcpStream::connect((*target, *port)).expect("the listener listens"));
            streams.push(listener.accept().expect("the client connected").0);
        }
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let client = client.expect("a descriptor");
        client.bind(&SocketAddr::from(([127, 0, 9, 2], 0)).into()).expect("loopback has it");
        client.connect(&SocketAddr::from(([127, 0, 0, 1], *port)).into()).expect("it listens");
        streams.push(client.into());
        streams.push(listener.accept().expect("the client connected").0);
        listeners.push(listener);
    }
    (streams, listeners, ports)
}

#[test]
fn each_filter_finds_what_ss_finds() {
    let (streams, listeners, [one, two]) = scene();
    let port = |port: u16| Filter::local_port(port..=port) | Filter::peer_port(port..=port);
    let ours = port(one) | port(two);
    let our_words =
        format!("( sport = :{one} or dport = :{one} or sport = :{two} or dport = :{two} )");
    let all: BTreeSet<u64> =
        streams.iter().map(cookie).chain(listeners.iter().map(cookie)).collect();
    let ports = streams.iter().map(|stream| stream.local_addr().expect("it is bound").port());
    let highest = ports.max().expect("there are some");
    let localhost = || Filter::local(Ipv4Addr::LOCALHOST);
    let remote = || Filter::peer(prefix("127.0.9.0/24"));

    let mut sizes = Vec::new();
    for (filter, words) in [
        (Filter::all([]), "sport >= :0".to_owned()),
        (Filter::local_port(one..=one), format!("sport = :{one}")),
        (Filter::peer_port(two..=two), format!("dport = :{two}")),
        (!Filter::local_port(one..=one), format!("sport != :{one}")),
        (Filter::local_port(highest..), format!("sport >= :{highest}")),
        (Filter::peer_port(..highest), format!("dport <= :{}", highest - 1)),
        (
            Filter::any([one, highest].map(|port| Filter::local_port(port..=port))),
            format!("( sport = :{one} or sport = :{highest} )"),
        ),
        (localhost(), "src 127.0.0.1".to_owned()),
        (remote(), "dst 127.0.9.0/24".to_owned()),
        (Filter::local(prefix("127.0.9.2/31")), "src 127.0.9.2/31".to_owned()),
        (Filter::peer(prefix("::1")), "dst [::1]".to_owned()),
        (
            Filter::local(prefix("::/64")),
            "( src [::/64] and not src [::ffff:0.0.0.0/96] )".to_owned(),
        ),
        (localhost() & !remote(), "( src 127.0.0.1 and not dst 127.0.9.0/24 )".to_owned()),
        (
            Filter::local_port(two..=two) & (remote() | Filter::peer(prefix("::1"))),
            format!("( sport = :{two} and ( dst 127.0.9.0/24 or dst [::1] ) )"),
        ),
        (
            !(localhost() | Filter::local_port(one..=one) & !remote()),
            format!("not ( src 127.0.0.1 or ( sport = :{one} and not dst 127.0.9.0/24 ) )"),
        ),
    ] {
        let query = Query::new().with_states(STATES).with_filter(ours.clone() & filter);
        let found = cookies(&query);
        assert!(found.is_subset(&all), "{words}");
        let Some(theirs) = ss(&format!("{our_words} and {words}")) else { return };
        assert_eq!(found, theirs, "{words}");
        sizes.push(found.len());
    }
    assert_eq!(sizes[0], all.len());
    // Each selects something, and each but the first not everything.
    assert!(two == 0 || sizes[1..].iter().all(|size| (1..all.len()).contains(size)), "{sizes:?}");
    assert_eq!(cookies(&Query::new().with_filter(Filter::any([]))), BTreeSet::new());
}

#[test]
fn a_control_group_and_an_interface_are_filtered() {
    let Pair { client, server, listener: _listener } = Pair::connect();
    let [one, two] = [&client, &server].map(|s| s.local_addr().expect("it is bound").port());
    let between = |one, two| Filter::local_port(one..=one) & Filter::peer_port(two..=two);
    let ports = || between(one, two) | between(two, one);
    let both = BTreeSet::from([&client, &server].map(cookie));
    let found = |filter: Filter| cookies(&Query::new().with_filter(ports() & filter));
    let told = Query::new().with_filter(ports()).dump().expect("sock_diag answers").next();
    let group = told.expect("it is open").expect("well-formed").cgroup.expect("since Linux 5.8");
    assert_eq!(found(Filter::cgroup(group)), both);
    assert_eq!(found(Filter::cgroup(u64::MAX)), BTreeSet::new());
    assert_eq!(found(!Filter::cgroup(u64::MAX)), both);
    assert_eq!(found(Filter::interface(0)), both);
    assert_eq!(found(Filter::interface(1)), BTreeSet::new());
}

#[test]
fn the_longest_filter_is_taken_and_a_longer_one_refused() {
    let Pair { client, server, listener: _listener } = Pair::connect();
    let [port, peer] = [&client, &server].map(|s| s.local_addr().expect("it is bound").port());
    let filter = |conditions: u32| {
        let others = (1..conditions).map(|n| Filter::interface(u32::MAX - n));
        // The last one holds, so the kernel runs all the others.
        let bound = Filter::any(others.chain([Filter::interface(0)]));
        Query::new().with_local_port(port).with_peer_port(peer).with_filter(bound)
    };
    assert_eq!(cookies(&filter(5461)), BTreeSet::from([cookie(&client)]));
    let error = filter(5462).dump().expect_err("it is too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "filter of 65540 bytes, the kernel takes 65528");
}

#[test]
fn nobody_is_told_that_marks_are_forbidden() {
    let program = std::env::current_exe().expect("procfs");
    let mut nobody = Command::new(program);
    nobody.args(["--exact", "sockets::diag_filter::nobodys_mark", "--ignored"]);
    nobody.args(["--nocapture", "--test-threads=1"]).env("TCPINFO_MARK", "yes");
    match nobody.uid(65534).gid(65534).current_dir("/").output() {
        Err(error) => println!("SKIPPED: cannot run as nobody: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("forbidden as it says"), "{text}");
        }
    }
}

#[test]
#[ignore = "the part of nobody_is_told_that_marks_are_forbidden that runs as nobody"]
fn nobodys_mark() {
    if std::env::var_os("TCPINFO_MARK").is_none() {
        return;
    }
    let query = Query::new().with_filter(Filter::local_port(1..) & Filter::mark(0, 1));
    let answer = query.dump().expect("it is sent").next().expect("an answer");
    let error = answer.expect_err("nobody may not");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let source = error.get_ref().and_then(|error| error.downcast_ref::<FilterError>());
    assert!(matches!(source, Some(FilterError::Forbidden { condition: "mark", .. })), "{error}");
    println!("forbidden as it says");
}
