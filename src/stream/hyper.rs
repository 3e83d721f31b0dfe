//! For clients of hyper-util, tonic and tower: a layer that watches what a connector connects.

mod connector;

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use tokio::net::TcpStream;
use tower_layer::Layer;

pub use connector::{Connecting, WatchConnector};

use crate::monitor::{Group, Monitor, Watched};

/// Watches every connection that a connector makes, in a group chosen by its target.
///
/// It works with hyper-util's `HttpConnector`, and with any other `Service<Uri>` whose response
/// holds a socket. A connection is opened when it is established, and closed when the client's pool
/// drops it, however many requests it served. An attempt that fails or is cancelled is not counted
/// and makes no group. Errors, and what [`Connected`] says of ALPN and proxies, are not changed.
///
/// # Examples
///
/// ```
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use hyper_util::rt::TokioExecutor;
/// use tcpinfo::hyper::WatchLayer;
/// use tcpinfo::Monitor;
///
/// let monitor = Monitor::new();
/// let connector = WatchLayer::new(&monitor).layer(HttpConnector::new());
/// let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(connector);
/// ```
///
/// A tonic channel takes the same connector: `endpoint.connect_with_connector(connector)`.
///
/// With TLS, put the layer under TLS, where the TCP connection is: around an `HttpConnector` with
/// `enforce_http(false)`, and the result into `wrap_connector` of hyper-rustls. With the connector
/// of a proxy, the group is the proxy's if the layer is under that connector, and the target's if
/// it is around it.
///
/// # Few groups
///
/// Each target has a group, which stays for [an hour](crate::MonitorBuilder::with_group_retention)
/// after its last connection. A crawler, for example, has too many targets. Beyond
/// [`with_max_groups`](crate::MonitorBuilder::with_max_groups), the connections to further targets
/// are summed under `otel.metric.overflow=true`. To avoid that, choose [coarser
/// attributes](Self::by) or [one group](Self::in_group).
///
/// # Clients that hide their sockets
///
/// reqwest's `connector_layer` shows a layer neither the target nor the socket, so the connections
/// of its pool cannot be watched. The same is true for any other client that connects by itself and
/// does not show its sockets. The [limits](crate::docs::limits#sockets-that-nobody-hands-over) have
/// a way to read them all the same.
pub struct WatchLayer<F = InTokioIo> {
    choose: Choose,
    find: Arc<F>,
    probes: bool,
}

/// The group of a connection to a target.
type Choose = Arc<dyn Fn(&Uri) -> Group + Send + Sync>;

impl WatchLayer {
    /// Groups connections by `server.address` and `server.port` of their targets.
    ///
    /// The address is the host in the target, not the address it resolved to. If the target names
    /// no port, the port is that of the scheme (`http`, `https`, `ws`, `wss`). A server has one
    /// group however its host is written: names are in lower case and without a dot at their end,
    /// IPv6 addresses are in their shortest form, and an IPv4 address within an IPv6 one is the
    /// IPv4 address.
    pub fn new(monitor: &Monitor) -> Self {
        Self::by(monitor, server)
    }

    /// Chooses groups by a function from the target to attributes. It is called once for each
    /// connection.
    pub fn by<A>(monitor: &Monitor, attributes: impl Fn(&Uri) -> A + Send + Sync + 'static) -> Self
    where
        A: IntoIterator<Item = KeyValue>,
    {
        let monitor = monitor.clone();
        Self::choosing(move |target| monitor.group(attributes(target)))
    }

    /// Watches all connections in one group.
    pub fn in_group(group: &Group) -> Self {
        let group = group.clone();
        Self::choosing(move |_| group.clone())
    }

    fn choosing(choose: impl Fn(&Uri) -> Group + Send + Sync + 'static) -> Self {
        Self { choose: Arc::new(choose), find: Arc::new(InTokioIo), probes: false }
    }
}

impl<F> WatchLayer<F> {
    /// Says where the socket is in what the connector returns, if that is not a [`TokioIo`].
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use tcpinfo::Monitor;
    /// use tcpinfo::hyper::WatchLayer;
    ///
    /// struct Throttled {
    ///     stream: tokio::net::TcpStream,
    /// }
    ///
    /// let layer = WatchLayer::new(&Monitor::new())
    ///     .with_socket(|connection: &Throttled| connection.stream.as_fd());
    /// ```
    pub fn with_socket<T, G>(self, find: G) -> WatchLayer<G>
    where
        G: Fn(&T) -> BorrowedFd<'_>,
    {
        WatchLayer { choose: self.choose, find: Arc::new(find), probes: self.probes }
    }

    /// Adds the connection's [`SocketProbe`](crate::SocketProbe) to the extensions of each response
    /// of hyper-util's client. That costs 0.2 us for each response.
    ///
    /// ```
    /// use tcpinfo::hyper::WatchLayer;
    /// use tcpinfo::{Monitor, SocketProbe};
    ///
    /// let layer = WatchLayer::new(&Monitor::new()).with_probes();
    ///
    /// fn log<B>(response: &hyper::Response<B>) {
    ///     if let Some(Ok(info)) = response.extensions().get().map(SocketProbe::info) {
    ///         println!("{} {:?}", response.status(), info.rtt);
    ///     }
    /// }
    /// # log(&hyper::Response::new(()));
    /// ```
    pub fn with_probes(self) -> Self {
        Self { probes: true, ..self }
    }

    /// Wraps a connector: its connections are watched.
    pub fn layer<C>(&self, connector: C) -> WatchConnector<C, F> {
        WatchConnector::new(connector, self.clone())
    }
}

impl<C, F> Layer<C> for WatchLayer<F> {
    type Service = WatchConnector<C, F>;

    fn layer(&self, connector: C) -> Self::Service {
        self.layer(connector)
    }
}

impl<F> Clone for WatchLayer<F> {
    fn clone(&self) -> Self {
        Self { choose: Arc::clone(&self.choose), find: Arc::clone(&self.find), probes: self.probes }
    }
}

impl<F> fmt::Debug for WatchLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchLayer").finish_non_exhaustive()
    }
}

/// The attributes of a target, by OpenTelemetry's semantic conventions.
fn server(target: &Uri) -> Vec<KeyValue> {
    let port = target.port_u16().or(match target.scheme_str() {
        Some("http" | "ws") => Some(80),
        Some("https" | "wss") => Some(443),
        _ => None,
    });
    let host = target.host().map(canonical).filter(|host| !host.is_empty());
    let address = host.map(|host| KeyValue::new("server.address", host));
    let port = port.map(|port| KeyValue::new("server.port", i64::from(port)));
    address.into_iter().chain(port).collect()
}

/// A host in one form, however it is written.
fn canonical(host: &str) -> String {
    // Only a URI puts an IPv6 address in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A dot alone is the root of all names: it stays.
    let host = host.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// Finds the socket in what a connector returns.
///
/// Implemented by closures, see [`WatchLayer::with_socket`], and by [`InTokioIo`].
pub trait FindSocket<T> {
    /// The connection's socket.
    fn find<'t>(&self, connection: &'t T) -> BorrowedFd<'t>;

    /// Whether the connection may close its socket, or put another in its place, before it is
    /// dropped.
    ///
    /// If so, each reading is verified by the socket's cookie, which costs 0.2 us. On a kernel
    /// without cookies the connection is then reported as an error instead of read. Return `false`
    /// only for a type that keeps the same socket as long as it lives, whatever a caller does to it
    /// by `&mut`.
    fn may_close(&self, _: &T) -> bool {
        true
    }
}

/// The socket in a [`TokioIo`], which is what hyper-util's connectors return.
///
/// A tokio [`TcpStream`] keeps its socket as long as it lives. Any other stream [may
/// close](FindSocket::may_close) it; a stream that reconnects does.
#[derive(Clone, Copy, Debug)]
pub struct InTokioIo;

impl<S: AsFd + 'static> FindSocket<TokioIo<S>> for InTokioIo {
    fn find<'t>(&self, connection: &'t TokioIo<S>) -> BorrowedFd<'t> {
        connection.inner().as_fd()
    }

    fn may_close(&self, connection: &TokioIo<S>) -> bool {
        !(connection.inner() as &dyn Any).is::<TcpStream>()
    }
}

impl<T, F: Fn(&T) -> BorrowedFd<'_>> FindSocket<T> for F {
    fn find<'t>(&self, connection: &'t T) -> BorrowedFd<'t> {
        self(connection)
    }
}

/// What the socket says of itself, and its probe if [`WatchLayer::with_probes`] asked for that.
impl<S: Connection> Connection for Watched<S> {
    fn connected(&self) -> Connected {
        let connected = (**self).connected();
        if self.shows_probe() { connected.extra(self.probe()) } else { connected }
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket_mut()).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().socket_mut()).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().socket_mut()).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket_mut()).poll_shutdown(context)
    }
}
