//! tonic: connection details for handlers, with a way to ask about the connection itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

use crate::monitor::{SocketProbe, Watched};

/// Handlers see the connection info of the stream itself: `Request::remote_addr` works as before.
///
/// ```
/// # use tonic::codegen::tokio_stream;
/// use tokio_stream::StreamExt;
/// use tonic::transport::server::{Router, TcpIncoming};
///
/// async fn serve(router: Router, listener: tokio::net::TcpListener) {
///     let group = tcpinfo::Monitor::new().group([]);
///     let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
///     let incoming = incoming.map(|stream| stream.map(|stream| group.watch(stream)));
///     router.serve_with_incoming(incoming).await.expect("a listener");
/// }
/// ```
///
/// tonic's `serve(address)` sets `TCP_NODELAY` by default. A server that is given its streams sets
/// no option, whatever `tcp_nodelay` and `tcp_keepalive` of its builder say: that is left to
/// [`TcpIncoming`](tonic::transport::server::TcpIncoming). Without `TCP_NODELAY` an answer may wait
/// until the client has acknowledged the one before.
impl<S: Connected> Connected for Watched<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        (**self).connect_info()
    }
}

impl<S> Watched<S> {
    /// The same stream for a tonic server whose handlers may ask about their connection: with
    /// [`probed`] as an interceptor, the extensions of their requests hold a [`SocketProbe`].
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

/// What tonic's handlers learn of a [`Probed`] stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbedInfo<I> {
    /// What they learn of the stream without us.
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

/// An interceptor that puts the [`SocketProbe`] of a [`Probed`] TCP stream among the request's
/// extensions, and beside it the `TcpConnectInfo` that `Request::remote_addr` looks for.
///
/// tonic keeps one type of connection info, so without it only [`ProbedInfo`] is there. Requests
/// of other streams pass as they are.
///
/// Under tonic's own TLS it works as well, but `Request::peer_certs` looks only for tonic's own
/// type: certificates are with `TlsConnectInfo<ProbedInfo<TcpConnectInfo>>`, among the extensions.
///
/// # Errors
///
/// None: the type is tonic's.
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
