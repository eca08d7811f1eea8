//! Accepts connections and serves HTTP/1.1 on them until told to stop.
//!
//! The accept loop is our own because its limits are the product's: how many connections, how long
//! a head may take to arrive, how large it may be. Stopping is graceful: no new connections, the
//! requests under way are answered, idle connections close at once.

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::guard::guard;
use super::hear::hear_out;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS: u32 = 8_192;
/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_mins(1);
/// The largest head that is read at all; what the API allows is less and is refused with a problem.
const HEAD_BYTES: usize = 64 * 1024;
/// How long the requests under way may take when the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long to let go of a failing accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves, behind the guard, until `stopping` turns true and the requests under way are answered.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    mut stopping: watch::Receiver<bool>,
) {
    let router = router.layer(from_fn(guard)).layer(from_fn(hear_out));
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), stopping.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Every connection holds a place: all places free means all are closed.
    let all_closed = tokio::time::timeout(LAST_REQUESTS, places.acquire_many(CONNECTIONS)).await;
    if all_closed.is_err() {
        tracing::warn!("requests still under way are cut off");
    }
}

async fn connection(stream: TcpStream, router: axum::Router, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is gone already");
        return;
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stopped(&mut stopping) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Returns when the server stops, or nobody is left who could say so.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the server is on its way out.
    drop(stopping.wait_for(|stopping| *stopping).await);
}
