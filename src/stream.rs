//! Watched sockets for tokio: `AsyncRead` and `AsyncWrite`.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "tonic")]
pub mod tonic;

pub(crate) mod halves;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::monitor::Watched;

/// To serve a watched stream with hyper, wrap it in a `TokioIo`. For TLS, wrap the watched stream
/// in the TLS stream. The socket is read one last time when the server drops it.
///
/// ```
/// # use std::convert::Infallible;
/// use hyper::body::Incoming;
/// use hyper::server::conn::http1;
/// use hyper::service::service_fn;
/// use hyper::{Request, Response};
/// use hyper_util::rt::TokioIo;
/// use tokio::net::TcpStream;
///
/// async fn serve(group: tcpinfo::Group, stream: TcpStream) -> hyper::Result<()> {
///     let stream = group.watch(stream);
///     let probe = stream.probe();
///     let service = service_fn(move |_: Request<Incoming>| {
///         let rtt = probe.info().ok().and_then(|info| info.rtt);
///         let text = format!("your round-trip time: {rtt:?}");
///         async { Ok::<_, Infallible>(Response::new(text)) }
///     });
///     http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
/// }
/// ```
impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket_mut()).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
