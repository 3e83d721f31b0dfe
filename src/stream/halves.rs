//! The two directions of a watched tokio stream, owned by two tasks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
    /// Puts two halves of one stream together again.
    ///
    /// # Errors
    ///
    /// Gives both back where they are halves of different streams.
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
            // The peer may have gone already; then there is nobody to tell.
            let _ = read::end_writing(&*self.stream);
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl WriteHalf {
    fn poll_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = read::end_writing(&*this.stream);
        this.sends_end &= ended.is_err();
        Poll::Ready(ended)
    }
}
