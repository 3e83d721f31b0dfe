//! The page as a route of axum.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http_body::Frame;

use super::writing::Writing;
use super::{Page, PageFormat};

impl Page {
    /// A route that answers with the page, in the format that the request prefers.
    ///
    /// The sweep is made on a thread that may block. The page is written as the reader takes it, a
    /// chunk at a time: a slow reader holds a chunk and the snapshot, no thread and no lock.
    ///
    /// ```
    /// let monitor = tcpinfo::Monitor::new();
    /// let app: axum::Router = axum::Router::new().route("/metrics", monitor.page().route());
    /// # drop(app);
    /// ```
    pub fn route<S>(self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let page = Arc::new(self);
        get(move |headers: HeaderMap| respond(Arc::clone(&page), headers))
    }
}

async fn respond(page: Arc<Page>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let format = PageFormat::negotiate(&accept.collect::<Vec<_>>().join(","));
    let begun = tokio::task::spawn_blocking(move || page.begin(format)).await;
    match begun {
        Ok(writing) => {
            let body = Body::new(PageBody(writing));
            ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
        }
        // The runtime ends.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Text that is made when it is asked for.
struct PageBody(Writing);

impl http_body::Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take_chunk().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
    }
}
