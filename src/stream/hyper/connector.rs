//! A connector that watches what it connects, and the connection while it is being established.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::Uri;
use tower_service::Service;

use super::{FindSocket, InTokioIo, WatchLayer};
use crate::monitor::Watched;

/// A connector whose connections are watched: see [`WatchLayer`].
pub struct WatchConnector<C, F = InTokioIo> {
    connector: C,
    layer: WatchLayer<F>,
}

impl<C, F> WatchConnector<C, F> {
    pub(super) fn new(connector: C, layer: WatchLayer<F>) -> Self {
        Self { connector, layer }
    }

    /// The connector under the layer.
    pub fn get_ref(&self) -> &C {
        &self.connector
    }

    /// The connector under the layer, to set its options.
    pub fn get_mut(&mut self) -> &mut C {
        &mut self.connector
    }
}

impl<C, F> Service<Uri> for WatchConnector<C, F>
where
    C: Service<Uri>,
    F: FindSocket<C::Response>,
{
    type Response = Watched<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Future, F>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connect = Box::pin(self.connector.call(target.clone()));
        Connecting { connect, target, layer: self.layer.clone() }
    }
}

impl<C: Clone, F> Clone for WatchConnector<C, F> {
    fn clone(&self) -> Self {
        Self { connector: self.connector.clone(), layer: self.layer.clone() }
    }
}

impl<C: fmt::Debug, F> fmt::Debug for WatchConnector<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchConnector").field(&self.connector).finish()
    }
}

/// A connection that is being established; it is watched as soon as it is.
pub struct Connecting<Fut, F = InTokioIo> {
    // Boxed, so that it is `Unpin`: hyper's client requires that.
    connect: Pin<Box<Fut>>,
    target: Uri,
    layer: WatchLayer<F>,
}

impl<Fut, F, T, E> Future for Connecting<Fut, F>
where
    Fut: Future<Output = Result<T, E>>,
    F: FindSocket<T>,
{
    type Output = Result<Watched<T>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { connect, target, layer } = self.get_mut();
        let connection = ready!(connect.as_mut().poll(context))?;
        // Not earlier: a target that cannot be reached must not make a group.
        let group = (layer.choose)(target);
        let may_close = layer.find.may_close(&connection);
        let watched = group.watch_within(connection, may_close, |t| layer.find.find(t));
        Poll::Ready(Ok(watched.show_probe(layer.probes)))
    }
}

impl<Fut, F> fmt::Debug for Connecting<Fut, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of the target may hold secrets: a password, or a token in the query.
        f.debug_struct("Connecting")
            .field("scheme", &self.target.scheme_str())
            .field("host", &self.target.host())
            .field("port", &self.target.port_u16())
            .finish_non_exhaustive()
    }
}
