//! The example `push` as a program, against receivers of our own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use crate::export::otlp::points;
use crate::export::otlp::receiver::{Answer, Receiver};
use support::lateness::PATIENCE;
use support::running::{Running, example};

/// The example, and the address of its server.
fn push_to(collector: &str) -> (Running, String) {
    let running = Running::start(Command::new(example("push")).args([collector, "0.05"]));
    assert_eq!(running.line(), format!("Every 0.05 s to {collector}"));
    let line = running.line();
    let server = line.strip_prefix("The server: nc ").expect("its address");
    (running, server.to_owned())
}

/// What it says on standard error, line by line.
fn said(running: &mut Running) -> impl Iterator<Item = String> {
    let pipe = running.child.stderr.take().expect("it was piped");
    BufReader::new(pipe).lines().map_while(Result::ok)
}

fn converse(server: &str, bytes: usize) {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    stream.write_all(&vec![1; bytes]).expect("it reads");
    stream.read_exact(&mut vec![0; bytes]).expect("it answers");
}

#[test]
fn push_reaches_a_collector_and_counts_every_byte() {
    let receiver = Receiver::http();
    let collector = receiver.endpoint.strip_prefix("http://").expect("a URL").to_owned();
    let (_running, server) = push_to(&collector);
    converse(&server, 5_000);
    loop {
        let push = receiver.next();
        assert_eq!(push.headers["content-type"], "application/x-protobuf");
        assert_eq!(points::resource(&push.request), ["service.name=echo"]);
        let collected = points::collected(&push.request);
        let of = |name: &str| collected.counters.get(&format!("{name}{{listener=echo}}")).copied();
        // The client's FIN counts one, when it is there.
        if of("tcp.data.received").is_some_and(|received| received >= 5_000.0)
            && of("tcp.connection.opened") == Some(2.0)
        {
            let again = collected.counter("tcp.data.retransmitted{listener=echo}");
            let sent = of("tcp.data.sent").map(|sent| sent - again);
            if sent == Some(5_000.0) {
                return;
            }
        }
    }
}

#[test]
fn push_says_what_fails_and_loses_nothing_by_it() {
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 77, 7), 0)).expect("a port");
        listener.local_addr().expect("it is bound")
    };
    let (mut running, server) = push_to(&address.to_string());
    let mut said = said(&mut running);
    let mut line = || said.next().expect("it says something");
    converse(&server, 700);
    let first = line();
    assert!(first.starts_with("push failed, 1 in a row: "), "{first}");
    assert!(first.contains("refused"), "{first}");
    assert!(line().starts_with("push failed, 2 in a row: "));

    // A collector that has no time, and then has.
    let listener = TcpListener::bind(address).expect("nobody else has it");
    let receiver = Receiver::http_on(listener, Answer::Refuse);
    let refusal = "the answer is \"HTTP/1.1 503 Service Unavailable\"";
    while !line().ends_with(refusal) {}
    receiver.answer(Answer::Accept);
    let again = loop {
        let line = line();
        if line.starts_with("pushed again, after ") {
            break line;
        }
        assert!(line.ends_with(refusal), "{line}");
    };
    assert!(again.ends_with(" failures"), "{again}");
    let pushes = receiver.so_far();
    let last = points::collected(&pushes.last().expect("it pushed").request);
    assert!(last.counter("tcp.data.received{listener=echo}") >= 700.0);
    assert_eq!(last.counter("tcp.connection.opened{listener=echo}"), 2.0);
}
