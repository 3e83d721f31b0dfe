//! The two directions of a watched tokio stream, owned by two tasks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::monitor::Watched;
use crate::read;

impl Watched<TcpStream> {
    /// Splits the stream into two halves that two tasks can own, as
    /// [`TcpStream::into_split`] does, without a lock.
    ///
    /// The watch lasts until both halves are gone, and the last read comes before the socket is
    /// closed.
    ///
    /// ```
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # async fn run(stream: tcpinfo::Watched<tokio::net::TcpStream>) -> std::io::Result<()> {
    /// let (mut reader, mut writer) = stream.into_split();
    /// let reading = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
    /// writer.write_all(b"request").await?;
    /// drop(writer); // the peer sees the end
    /// reading.await??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let stream = Arc::new(self);
        (ReadHalf(Arc::clone(&stream)), WriteHalf { stream, sends_end: true })
    }
}

/// The reading half of a watched stream; see [`Watched::into_split`].
#[derive(Debug)]
pub struct ReadHalf(Arc<Watched<TcpStream>>);

/// The writing half of a watched stream; see [`Watched::into_split`].
///
/// Dropping it shuts down writing, as tokio's does.
#[derive(Debug)]
pub struct WriteHalf {
    stream: Arc<Watched<TcpStream>>,
    sends_end: bool,
}

impl ReadHalf {
    /// Joins the two halves of one stream again.
    ///
    /// # Errors
    ///
    /// Returns both halves if they are of different streams.
    pub fn reunite(self, mut other: WriteHalf) -> Result<Watched<TcpStream>, (Self, WriteHalf)> {
        if !Arc::ptr_eq(&self.0, &other.stream) {
            return Err((self, other));
        }
        other.sends_end = false;
        drop(other);
        Ok(Arc::into_inner(self.0).expect("there are two halves, and both were here"))
    }
}

impl AsRef<Watched<TcpStream>> for ReadHalf {
    fn as_ref(&self) -> &Watched<TcpStream> {
        &self.0
    }
}

impl AsRef<Watched<TcpStream>> for WriteHalf {
    fn as_ref(&self) -> &Watched<TcpStream> {
        &self.stream
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if self.sends_end {
            // It fails if the connection has ended already: nothing is left to do then.
            let _ = read::end_writing(&*self.stream);
        }
    }
}

/// Makes one system call when the stream is ready for it.
///
/// A call that moved fewer than `wanted` bytes has emptied the receive buffer, or filled the send
/// buffer. So it clears the readiness, as tokio does: that saves a call which would only return
/// `WouldBlock`. Readiness that arrives during the call stays.
fn poll_io(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    context: &mut Context<'_>,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(match interest {
            Interest::READABLE => stream.poll_read_ready(context),
            _ => stream.poll_write_ready(context),
        })?;
        let mut short = None;
        let done = stream.try_io(interest, || {
            let count = call()?;
            if 0 < count && count < wanted {
                short = Some(count);
                // Clears the readiness.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match (done, short) {
            (Err(_), Some(count)) => return Poll::Ready(Ok(count)),
            (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {}
            (done, _) => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (stream, wanted) = (&self.0, buffer.remaining());
        // Not `try_read`: it needs a buffer that was zeroed.
        let read = || stream.try_read_buf(buffer);
        poll_io(stream, Interest::READABLE, wanted, context, read).map_ok(drop)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (stream, wanted) = (&self.stream, buffer.len());
        poll_io(stream, Interest::WRITABLE, wanted, context, || stream.try_write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        // A short write proves nothing here: one call takes at most 1,024 buffers.
        let write = || stream.try_write_vectored(buffers);
        poll_io(stream, Interest::WRITABLE, 0, context, write)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = match read::end_writing(&*this.stream) {
            // The peer has reset the connection: for tokio that is no error.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        };
        this.sends_end &= ended.is_err();
        Poll::Ready(ended)
    }
}
