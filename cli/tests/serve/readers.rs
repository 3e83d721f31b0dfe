//! Who reads the page: formats, several at the same time, slow ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::exposition::parsed;
use support::lateness::PATIENCE;
use support::loopback::{Pair, until};

use super::{ASKED, Served, ask, converse, ended, listen, page, sent};

#[test]
fn a_reader_gets_the_format_it_asks_for() {
    let pair = Pair::connect();
    let port = pair.listener.local_addr().expect("it is bound").port().to_string();
    let served = Served::start(&["--port", &port]);
    let open = "application/openmetrics-text;version=1.0.0";
    let get = format!("GET /metrics?a=b HTTP/1.1\r\nHost: a\r\naccept: {open}\r\n\r\n");
    let (status, headers, body) = ask(served.address, &get);
    assert_eq!(status, "200 OK");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(headers["content-type"], kind);
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    // HTTP/1.0 knows no chunks.
    let (status, headers, body) = ask(served.address, "GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((&*status, &*headers["content-length"]), ("200 OK", &*body.len().to_string()));
    assert!(parsed(&body).samples("tcp_connection_count").count() > 0);
    for (request, status, text) in [
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK", ""),
        ("GET /healthz HTTP/1.1\n\n", "200 OK", "ok\n"),
        ("HEAD /healthz HTTP/1.1\n\n", "200 OK", ""),
        ("GET / HTTP/1.1\r\n\r\n", "200 OK", "tcpinfo serve: /metrics, /healthz\n"),
        ("GET /other HTTP/1.1\r\n\r\n", "404 Not Found", "there is /metrics and /healthz\n"),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "405 Method Not Allowed",
            "GET or HEAD\n",
        ),
        ("hello\r\n\r\n", "400 Bad Request", "that is no HTTP/1.1\n"),
    ] {
        let (found, headers, body) = ask(served.address, request);
        assert_eq!((&*found, &*body), (status, text), "{request}");
        assert_eq!(headers["connection"], "close", "{request}");
    }
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    let (status, _, _) = ask(served.address, &long);
    assert_eq!(status, "431 Request Header Fields Too Large");
}

#[test]
fn readers_at_the_same_time_get_whole_pages() {
    let (listener, port) = listen();
    let served = Served::start(&["--port", &port]);
    let address = served.address;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut before = 0.0;
                    for _ in 0..20 {
                        let now = sent(&page(address), ("server_port", &port));
                        assert!(now >= before, "{now} after {before}");
                        before = now;
                    }
                })
            })
            .collect();
        converse(&listener, 50);
        readers.into_iter().for_each(|reader| reader.join().expect("pages were whole"));
    });
    let page = ended(&served, 100);
    assert_eq!(sent(&page, ("tcp_role", "client")), (50 * ASKED) as f64);
}

#[test]
fn who_reads_slowly_takes_one_place_of_a_few() {
    const PLACES: usize = 32;
    let (_listener, port) = listen();
    let served = Served::start(&["--port", &port]);
    let connect = |request: &str| {
        let mut stream = TcpStream::connect(served.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    };
    // They never ask to the end, or never read: the others do not notice.
    let mut slow: Vec<_> = (1..PLACES).map(|_| connect("GET /metrics HTTP/1.1\r\n")).collect();
    let begun = Instant::now();
    served.page();
    until("the last place is free again", || {
        let (status, _, _) = ask(served.address, "GET /healthz HTTP/1.1\r\n\r\n");
        (status == "200 OK").then_some(())
    });
    slow.push(connect("GET /metrics HTTP/1.1\r\n"));
    let mut refused = TcpStream::connect(served.address).expect("it listens");
    refused.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let mut said = String::new();
    refused.read_to_string(&mut said).expect("it has asked nothing");
    // Unless the machine was so slow that the first of them had their time.
    if begun.elapsed() < Duration::from_secs(5) {
        assert!(said.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{said}");
    } else {
        println!("SKIPPED: who_reads_slowly_takes_one_place_of_a_few: the machine was late");
    }
    drop(slow);
    // Who is refused before it has asked may find the connection reset.
    let try_to_ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(served.address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    until("a place is free again", || {
        try_to_ask().ok().filter(|text| text.starts_with("HTTP/1.1 200 OK")).map(drop)
    });
    assert_eq!(served.end(Signal::INT), (Some(0), String::new()));
}
