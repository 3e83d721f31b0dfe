//! A server, and a page of its connections' metrics for Prometheus:
//! `cargo run --example prometheus`. The argument may be another address for the page.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::{env, error::Error, thread, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tcpinfo::Monitor;

fn main() -> Result<(), Box<dyn Error>> {
    // OpenTelemetry's provider for Prometheus, and the monitor that feeds it.
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let monitor = Monitor::new();
    monitor.instrument(&provider);

    // Your server: its listener is watched, and what that accepts, as one group.
    let clients = monitor.group([KeyValue::new("listener", "echo")]);
    let listener = clients.watch(TcpListener::bind("127.0.0.1:0")?);
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let stream = clients.watch(stream); // read and written as before
            thread::spawn(move || io::copy(&mut &*stream, &mut &*stream));
        }
    });
    (0..3).for_each(|_| drop(thread::spawn(move || talk(address))));

    let page = env::args().nth(1).unwrap_or("127.0.0.1:9464".into());
    let page = TcpListener::bind(&page).map_err(|error| format!("{page}: {error}"))?;
    let metrics = move || TextEncoder::new().encode_to_string(&registry.gather());
    thread::sleep(Duration::from_secs(1)); // something to see
    let (url, all) = (format!("http://{}/metrics", page.local_addr()?), metrics()?);
    let counted = all.lines().filter(|it| it.contains("_total{") && !it.ends_with(" 0"));
    let totals = counted.collect::<Vec<_>>().join("\n");
    let next = format!("All metrics: curl {url}\nFor a server of your own: examples/README.md");
    let said = writeln!(io::stdout(), "{totals}\n{next}");
    let Ok(()) = said else { return Ok(()) }; // nobody reads, as in `| head`
    for mut stream in page.incoming().flatten() {
        let patience = Some(Duration::from_secs(1)); // who is slow holds nobody up
        stream.set_read_timeout(patience).and(stream.set_write_timeout(patience))?;
        BufReader::new(&stream).lines().map_while(Result::ok).find(String::is_empty); // its head
        let (head, all) = (format!("HTTP/1.0 200 OK\r\nContent-Type: {TEXT_FORMAT}"), metrics()?);
        let _ = write!(stream, "{head}\r\n\r\n{all}"); // who left needs no answer
    }
    Ok(())
}

fn talk(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    loop {
        stream.write_all(&[b'a'; 10_000])?;
        stream.read_exact(&mut [0; 10_000])?;
        thread::sleep(Duration::from_millis(50));
    }
}
