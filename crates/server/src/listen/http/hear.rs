//! Hears a request out before it is answered.
//!
//! Many clients write all of a request before they read a byte of the answer. Closing the
//! connection on a body that nobody read (the key in the address was bad, the body is too large)
//! would break their pipe, and they would never learn why. So whatever is left of a body is read and
//! thrown away first, within a bound of bytes and of time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// How much is thrown away; whoever sends more is cut off.
const BYTES: usize = 64 * 1024 * 1024;
/// For how long.
const WAIT: Duration = Duration::from_secs(30);

/// A body that the handler reads from and that is still there when the handler has gone.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// Answers when the whole body has come.
pub(super) async fn hear_out<Answer: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> Answer,
) -> Response {
    if request.body().is_end_stream() {
        return answer(request).await;
    }
    let (parts, body) = request.into_parts();
    let rest = Shared(Arc::new(Mutex::new(body)));
    let response = answer(Request::from_parts(parts, Body::new(rest.clone()))).await;
    if !rest.is_end_stream() {
        // Whoever takes longer is answered all the same, and then cut off.
        drop(tokio::time::timeout(WAIT, discard(rest)).await);
    }
    response
}

async fn discard(mut rest: Shared) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        bytes += frame.into_data().map_or(0, |data| data.len());
        if bytes > BYTES {
            return;
        }
    }
}
