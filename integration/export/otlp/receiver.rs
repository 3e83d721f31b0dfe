//! Two receivers of OTLP metrics, over HTTP and over gRPC, that hand on what was pushed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

use support::lateness::PATIENCE;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Accept,
    /// Status 503, over gRPC 14.
    Refuse,
    /// Not at all, until it is told something else.
    Hold,
}

/// One request.
pub(crate) struct Push {
    /// Names are in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) request: ExportMetricsServiceRequest,
}

type Gate = (Mutex<Answer>, Condvar);

pub(crate) struct Receiver {
    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` wants.
    pub(crate) endpoint: String,
    pushes: mpsc::Receiver<Push>,
    answer: Arc<Gate>,
    runtime: Option<Runtime>,
}

impl Receiver {
    pub(crate) fn http() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        Self::http_on(listener, Answer::Accept)
    }

    pub(crate) fn http_on(listener: TcpListener, answer: Answer) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let answer = Arc::new((Mutex::new(answer), Condvar::new()));
        let (sender, pushes) = mpsc::channel();
        let gate = Arc::clone(&answer);
        // It ends with the process; nobody connects to it for longer than its test takes.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (gate, sender) = (Arc::clone(&gate), sender.clone());
                thread::spawn(move || serve(stream?, &gate, &sender));
            }
        });
        Self { endpoint: format!("http://{address}"), pushes, answer, runtime: None }
    }

    pub(crate) fn grpc() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        Self::grpc_on(listener, Answer::Accept)
    }

    pub(crate) fn grpc_on(listener: TcpListener, answer: Answer) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let (sender, pushes) = mpsc::channel();
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let answer = Arc::new((Mutex::new(answer), Condvar::new()));
        let gate = Arc::clone(&answer);
        runtime.spawn(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            let service = Service { sender: Mutex::new(sender), gate };
            let service = MetricsServiceServer::new(service);
            let service = service.accept_compressed(CompressionEncoding::Gzip);
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(TcpIncoming::from(listener)).await
        });
        Self { endpoint: format!("http://{address}"), pushes, answer, runtime: Some(runtime) }
    }

    /// The runtime that an exporter over gRPC can be built in.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.runtime.as_ref()
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.0.lock().expect("nobody panics with it") = answer;
        self.answer.1.notify_all();
    }

    /// The next push.
    #[track_caller]
    pub(crate) fn next(&self) -> Push {
        self.next_within(PATIENCE).expect("something is pushed")
    }

    /// The next push, unless there is none.
    pub(crate) fn next_within(&self, time: Duration) -> Option<Push> {
        self.pushes.recv_timeout(time).ok()
    }

    /// What was pushed until now and not yet taken.
    pub(crate) fn so_far(&self) -> Vec<Push> {
        self.pushes.try_iter().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.answer(Answer::Accept);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Answers the requests of one connection until the client closes it.
fn serve(mut stream: TcpStream, gate: &Gate, sender: &Sender<Push>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        assert_eq!(lines[0].trim(), "POST /v1/metrics HTTP/1.1");
        let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<_, _> = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers["content-length"].parse().expect("it is a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let kind = headers["content-type"].clone();
        let request: ExportMetricsServiceRequest = match kind.as_str() {
            "application/x-protobuf" => Message::decode(&*body).expect("it is OTLP"),
            "application/json" => serde_json::from_slice(&body).expect("it is OTLP"),
            other => panic!("{other}"),
        };
        // A test that has ended wants nothing more.
        let _ = sender.send(Push { headers, request });

        let accepted = opened(gate) == Answer::Accept;
        let status = if accepted { "200 OK" } else { "503 Service Unavailable" };
        let body = if kind.ends_with("json") { "{}" } else { "" };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
    }
}

/// What to answer, once it is known.
fn opened(gate: &Gate) -> Answer {
    let answer = gate.0.lock().expect("nobody panics with it");
    let held = |answer: &mut Answer| *answer == Answer::Hold;
    *gate.1.wait_while(answer, held).expect("nobody panics with it")
}

struct Service {
    sender: Mutex<Sender<Push>>,
    gate: Arc<Gate>,
}

#[async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let headers = headers.iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let push = Push { headers: headers.collect(), request };
        let _ = self.sender.lock().expect("nobody panics with it").send(push);
        let gate = Arc::clone(&self.gate);
        let answer = tokio::task::spawn_blocking(move || opened(&gate)).await;
        match answer.expect("waiting does not panic") {
            Answer::Accept => Ok(Response::new(ExportMetricsServiceResponse::default())),
            _ => Err(Status::unavailable("refused")),
        }
    }
}
