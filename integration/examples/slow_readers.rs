//! The example whose page people copy, and a client that does not read the page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::faults::namespace::in_two;
use support::lateness::PATIENCE;
use support::running::{Running, example};

/// Where the page takes more than the kernel keeps for who does not read, it is asked for twice:
/// by one who never reads it, and then by one who does.
fn ask_twice() -> String {
    let running = Running::start(Command::new(example("prometheus")).arg("127.0.0.1:0"));
    let url = loop {
        if let Some(url) = running.line().strip_prefix("All metrics: curl http://") {
            break url.to_owned();
        }
    };
    let address = url.strip_suffix("/metrics").expect("the page's address");
    let address: SocketAddr = address.parse().expect("an address");
    let request = b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n";

    let stuck = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    stuck.set_recv_buffer_size(1).expect("the kernel takes more");
    stuck.connect(&address.into()).expect("it listens");
    (&stuck).write_all(request).expect("room for it");

    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    client.write_all(request).expect("room for it");
    let mut page = String::new();
    client.read_to_string(&mut page).expect("the page, and its end");
    page
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    in_two(|[namespace, _]| {
        namespace.output("ip", &["link", "set", "lo", "up"]);
        namespace.set("ipv4/tcp_wmem", "4096 4096 4096");
        let page = namespace.inside(ask_twice);
        assert!(page.contains("tcp_connection_opened_total{"), "{page}");
    });
}
