//! For tonic: details of the connection for handlers, and a way to ask about it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

use crate::monitor::{Observation, SocketProbe, Watched};

/// Handlers get the connection info of the stream itself: `Request::remote_addr` works as before.
///
/// ```
/// # use tcpinfo::Group;
/// # async fn f(group: Group, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let (stream, _) = listener.accept().await?;
/// stream.set_nodelay(true)?;
/// let stream = group.watch(stream); // an item of the stream that `serve_with_incoming` takes
/// # fn takes(_: impl tonic::transport::server::Connected) {}
/// # takes(stream);
/// # Ok(())
/// # }
/// ```
///
/// `TcpIncoming::map` of `tokio_stream` does it for every connection: see `examples/tonic`.
///
/// tonic's `serve(address)` sets `TCP_NODELAY` by default. A server that gets its streams from the
/// program sets no option, and ignores `tcp_nodelay` and `tcp_keepalive` of its builder. Set them
/// by [`TcpIncoming`](tonic::transport::server::TcpIncoming). Without `TCP_NODELAY` an answer may
/// wait until the client has acknowledged the one before.
impl<S: Connected> Connected for Watched<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        (**self).connect_info()
    }
}

impl<S> Watched<S> {
    /// Lets the handlers of a tonic server ask about their connection. Use [`probed`] as an
    /// interceptor: then the extensions of each request hold a [`SocketProbe`].
    ///
    /// ```
    /// use tonic::service::InterceptorLayer;
    ///
    /// # fn f() {
    /// let server = tonic::transport::Server::builder();
    /// let server = server.layer(InterceptorLayer::new(tcpinfo::tonic::probed));
    /// # }
    /// ```
    pub fn with_probe(self) -> Probed<S> {
        Probed(self)
    }
}

/// A watched stream that gives tonic's handlers its [`SocketProbe`]; see [`Watched::with_probe`].
#[derive(Debug)]
pub struct Probed<S>(Watched<S>);

/// The connection info of a [`Probed`] stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbedInfo<I> {
    /// The connection info of the stream itself.
    pub inner: I,
    /// Reads the connection, which the server owns.
    pub probe: SocketProbe,
}

impl<S: Connected> Connected for Probed<S> {
    type ConnectInfo = ProbedInfo<S::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        ProbedInfo { inner: self.0.connect_info(), probe: self.0.probe() }
    }
}

/// What limited the connection of a request since the handler began: see
/// [`Observation`](crate::Observation). It needs [`probed`] as an interceptor.
///
/// ```
/// use tonic::{Request, Response, Status};
///
/// async fn upload<T>(request: Request<T>) -> Result<Response<String>, Status> {
///     let observation = tcpinfo::tonic::observe(&request);
///     // ... a long stream of messages ...
///     let verdict = observation.and_then(|it| it.verdict());
///     Ok(Response::new(verdict.map_or_else(|error| error.to_string(), |it| it.to_string())))
/// }
/// ```
///
/// # Errors
///
/// As for [`SocketProbe::info`]. `NotFound` if there is no [`SocketProbe`] among the request's
/// extensions.
pub fn observe<T>(request: &Request<T>) -> io::Result<Observation> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no tcpinfo::SocketProbe: see `probed`");
    request.extensions().get::<SocketProbe>().ok_or_else(none)?.observe()
}

/// An interceptor for requests over a [`Probed`] TCP stream. It adds the [`SocketProbe`] to the
/// request's extensions, and the `TcpConnectInfo` that `Request::remote_addr` looks for.
///
/// tonic keeps one type of connection info only: without this interceptor there is [`ProbedInfo`]
/// and nothing else. Requests over other streams stay as they are.
///
/// It works with tonic's own TLS too, but `Request::peer_certs` looks for tonic's own type only.
/// Look for the certificates in the extension `TlsConnectInfo<ProbedInfo<TcpConnectInfo>>`.
///
/// # Errors
///
/// It never fails: tonic requires a `Result`.
pub fn probed(mut request: Request<()>) -> Result<Request<()>, Status> {
    let extensions = request.extensions_mut();
    if let Some(info) = extensions.get::<ProbedInfo<TcpConnectInfo>>() {
        let ProbedInfo { inner, probe } = info.clone();
        extensions.insert(inner);
        extensions.insert(probe);
    }
    Ok(request)
}

impl<S: AsyncRead + Unpin> AsyncRead for Probed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Probed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
