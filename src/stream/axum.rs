//! For axum: a listener that watches what it accepts, and handlers that ask about their connection.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::serve::{self, IncomingStream, ListenerExt, TapIo};

use crate::info::TcpInfo;
use crate::monitor::{Group, Observation, SocketProbe, Watched};

impl Group {
    /// Watches every connection that a listener of [`axum::serve`](axum::serve()) accepts.
    ///
    /// The listener handles errors of `accept` itself. With a listener of tokio, axum sleeps for a
    /// second when the process has no descriptors left. [`watch`](Self::watch) the listener too, to
    /// report its accept queue.
    ///
    /// Handlers get the connection's address as before, with
    /// `into_make_service_with_connect_info::<SocketAddr>()`. Use [`Peer`] instead of `SocketAddr`
    /// to let them ask about the connection itself, by an argument of type [`TcpInfo`]. Handlers
    /// and layers that still take a `ConnectInfo<SocketAddr>` then need [`addressed`].
    ///
    /// ```no_run
    /// use axum::Router;
    /// use axum::routing::get;
    /// use tcpinfo::axum::Peer;
    /// use tcpinfo::{Monitor, TcpInfo};
    ///
    /// # async fn run() -> std::io::Result<()> {
    /// let public = Monitor::new().group([]);
    /// let app = Router::new().route("/", get(|info: TcpInfo| async move { info.to_string() }));
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// let listener = public.listen(public.watch(listener));
    /// axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
    /// # }
    /// ```
    ///
    /// A `UnixListener` does not compile, because it has no TCP:
    ///
    /// ```compile_fail,E0271
    /// # fn listen(group: tcpinfo::Group, listener: tokio::net::UnixListener) {
    /// group.listen(listener);
    /// # }
    /// ```
    pub fn listen<L>(&self, listener: L) -> Listener<L>
    where
        L: serve::Listener<Addr = SocketAddr>,
        L::Io: AsFd,
    {
        Accept { listener, group: self.clone() }.tap_io(|_| ())
    }
}

/// What [`Group::listen`] returns: a listener of axum around ours.
///
/// axum gives a `ConnectInfo<SocketAddr>` to handlers only if the listener has one of its own
/// types. [`TapIo`] is such a type.
pub type Listener<L> = TapIo<Accept<L>, fn(&mut Watched<<L as serve::Listener>::Io>)>;

/// Accepts connections and watches them in a group; see [`Group::listen`].
#[derive(Debug)]
pub struct Accept<L> {
    listener: L,
    group: Group,
}

impl<L> serve::Listener for Accept<L>
where
    L: serve::Listener<Addr = SocketAddr>,
    L::Io: AsFd,
{
    type Io = Watched<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.listener.accept().await;
        (self.group.watch(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Serves a listener that is watched itself: for its accept queue, not for its connections.
impl<L: serve::Listener> serve::Listener for Watched<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        serve::Listener::accept(self.socket_mut()).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        serve::Listener::local_addr(&**self)
    }
}

/// The address of the client that sent a request, and a way to ask about its connection.
///
/// Handlers take it as `ConnectInfo<Peer>` if the program is served with
/// `into_make_service_with_connect_info::<Peer>()`. axum keeps one type of connect info only, so
/// there is no `ConnectInfo<SocketAddr>` then. A handler or layer that takes one, such as a limiter
/// of rates, needs [`addressed`].
///
/// To call a closure for every stream, put it under [`Group::listen`]:
/// `group.listen(listener.tap_io(..))`. The other way round does not compile with [`Peer`], because
/// we can implement axum's trait for our own listener only.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The address of the other side.
    pub address: SocketAddr,
    /// Reads the connection, which the server owns.
    pub probe: SocketProbe,
}

impl<'a, L, F> Connected<IncomingStream<'a, TapIo<Accept<L>, F>>> for Peer
where
    L: serve::Listener<Addr = SocketAddr>,
    L::Io: AsFd,
    F: FnMut(&mut Watched<L::Io>) + Send + 'static,
{
    fn connect_info(stream: IncomingStream<'a, TapIo<Accept<L>, F>>) -> Self {
        Self { address: *stream.remote_addr(), probe: stream.io().probe() }
    }
}

/// Middleware for programs served with [`Peer`]: it adds the usual `ConnectInfo<SocketAddr>` to
/// each request, and the [`SocketProbe`] itself.
///
/// Add it as the last layer of the router. axum calls the last layer first, so all other layers
/// find the address. A `ConnectInfo<SocketAddr>` that exists already, such as one from a proxy's
/// header, stays. Requests without a [`Peer`] stay as they are.
///
/// ```
/// use std::net::SocketAddr;
///
/// use axum::Router;
/// use axum::extract::ConnectInfo;
/// use axum::middleware::map_request;
/// use axum::routing::get;
/// use tcpinfo::axum::Peer;
///
/// async fn greet(ConnectInfo(address): ConnectInfo<SocketAddr>) -> String {
///     format!("You are {address}.")
/// }
///
/// let app: Router = Router::new().route("/", get(greet));
/// let app = app.layer(map_request(tcpinfo::axum::addressed));
/// let app = app.into_make_service_with_connect_info::<Peer>();
/// ```
pub async fn addressed(mut request: Request) -> Request {
    let extensions = request.extensions_mut();
    if let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<Peer>>() {
        let Peer { address, probe } = peer.clone();
        extensions.get_or_insert(ConnectInfo(address));
        extensions.insert(probe);
    }
    request
}

/// The connection of the request, read when the handler begins.
///
/// This needs a [`Peer`] as connect info, or a [`SocketProbe`] among the request's extensions. If
/// there may be neither, take a `Result<TcpInfo, TcpInfoRejection>`.
impl<S: Sync> FromRequestParts<S> for TcpInfo {
    type Rejection = TcpInfoRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, TcpInfoRejection> {
        probe(parts)?.info().map_err(TcpInfoRejection::Unread)
    }
}

/// For a handler that asks about its connection later, or more than once.
///
/// It needs the same as [`TcpInfo`].
impl<S: Sync> FromRequestParts<S> for SocketProbe {
    type Rejection = TcpInfoRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, TcpInfoRejection> {
        probe(parts).cloned()
    }
}

/// For a handler that asks what limited its connection since the request came.
///
/// The observation begins when the handler's arguments are taken from the request, before the body
/// is read. It needs the same as [`TcpInfo`].
///
/// ```
/// use axum::Router;
/// use axum::body::Bytes;
/// use axum::routing::post;
/// use tcpinfo::Observation;
///
/// async fn upload(observation: Observation, body: Bytes) -> String {
///     // Who was slow, if it took long?
///     match observation.verdict() {
///         Ok(verdict) => format!("{} bytes: {verdict}\n", body.len()),
///         Err(error) => format!("{} bytes: {error}\n", body.len()),
///     }
/// }
///
/// let app: Router = Router::new().route("/", post(upload));
/// let app = app.into_make_service_with_connect_info::<tcpinfo::axum::Peer>();
/// ```
impl<S: Sync> FromRequestParts<S> for Observation {
    type Rejection = TcpInfoRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, TcpInfoRejection> {
        probe(parts)?.observe().map_err(TcpInfoRejection::Unread)
    }
}

fn probe(parts: &Parts) -> Result<&SocketProbe, TcpInfoRejection> {
    let peer = parts.extensions.get::<ConnectInfo<Peer>>();
    let probe = peer.map(|ConnectInfo(peer)| &peer.probe);
    probe.or_else(|| parts.extensions.get()).ok_or(TcpInfoRejection::NoProbe)
}

/// Why a handler did not get the [`TcpInfo`], the [`SocketProbe`] or the [`Observation`] it asked
/// for.
///
/// As a response it is a 500 with this text.
#[derive(Debug)]
#[non_exhaustive]
pub enum TcpInfoRejection {
    /// The program is not served with `into_make_service_with_connect_info::<Peer>()`, and there is
    /// no [`SocketProbe`] among the request's extensions.
    NoProbe,
    /// The connection could not be read. `NotConnected` if it was closed before the handler began,
    /// which HTTP/2 allows.
    Unread(io::Error),
}

impl fmt::Display for TcpInfoRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProbe => f.write_str(
                "no tcpinfo::SocketProbe: serve with \
                 `into_make_service_with_connect_info::<Peer>()`",
            ),
            Self::Unread(error) => write!(f, "tcp_info of the connection: {error}"),
        }
    }
}

impl Error for TcpInfoRejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoProbe => None,
            Self::Unread(error) => Some(error),
        }
    }
}

impl IntoResponse for TcpInfoRejection {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
