//! Accepts connections and serves HTTP/1.1 on them until told to stop.
//!
//! The accept loop is our own because its limits are the product's: how many connections, how long
//! a head may take to arrive, how large it may be. Stopping is graceful: no new connections, the
//! requests under way are answered, streams and idle connections close at once. A peer that does not
//! take what it is sent is cut off by the kernel: neither a phone that has gone nor a reader that
//! never reads keeps a place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::door::{Door, Peer};
use super::guard::{guard, open};
use crate::listen::stopped;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS: u32 = 8_192;
/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_mins(1);
/// The largest head that is read at all; what the API allows is less and is refused with a problem.
const HEAD_BYTES: usize = 64 * 1024;
/// How long the requests under way may take when the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long a peer may leave unconfirmed what it was sent, in milliseconds.
const UNTAKEN_MS: u32 = 30_000;
/// How long to let go of a failing accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves, behind the guard, until `stopping` turns true and the requests under way are answered.
pub async fn serve(listener: TcpListener, router: axum::Router, stopping: watch::Receiver<bool>) {
    accept(listener, Door::new(router, guard), stopping).await;
}

/// The same for whoever comes, from wherever: the router must be one that gives nothing away.
pub async fn serve_public(
    listener: TcpListener,
    router: axum::Router,
    stopping: watch::Receiver<bool>,
) {
    accept(listener, Door::new(router, open), stopping).await;
}

async fn accept(listener: TcpListener, door: Door, mut stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    connection(stream, Peer(peer.ip()), door.clone(), stopping.clone());
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

async fn connection(
    stream: TcpStream,
    peer: Peer,
    door: Door,
    mut stopping: watch::Receiver<bool>,
) {
    let set = stream
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS)?));
    if let Err(error) = set {
        tracing::debug!(%error, "the connection is gone already");
        return;
    }
    let service = service_fn(|request| door.clone().pass(request, peer));
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

/// Who holds how many streams at the public listener. A proxy on this machine stands for everybody
/// behind it and is not counted.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One stream of somebody, until dropped.
#[derive(Debug, Default)]
pub(super) struct Place(Option<(Crowd, IpAddr)>);

impl Crowd {
    /// Nobody yet; each may hold `most`.
    pub(super) fn new(most: usize) -> Crowd {
        Crowd { held: Arc::default(), most }
    }

    /// A place for one more stream of this address, if it may hold another.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = household(address);
        if address.is_loopback() {
            return Some(Place::default());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = held.entry(address).or_default();
        if *streams >= self.most {
            return None;
        }
        *streams += 1;
        Some(Place(Some((self.clone(), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, address)) = self.0.take() else { return };
        let mut held = crowd.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = held.get_mut(&address) {
            *streams -= 1;
            if *streams == 0 {
                held.remove(&address);
            }
        }
    }
}

/// One customer of an access provider: of an IPv6 address its network, which has all of a /64.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_so_many_streams_and_a_proxy_on_this_machine_any_number() {
        let crowd = Crowd::new(2);
        let enter = |text: &str| crowd.enter(text.parse().expect("it is an address"));
        let first = enter("203.0.113.7").expect("there is room");
        let second = enter("::ffff:203.0.113.7").expect("there is room");
        assert!(enter("203.0.113.7").is_none());
        let other = enter("203.0.113.8").expect("it is another");
        drop(first);
        let again = enter("203.0.113.7").expect("one has gone");
        let network = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        let proxies: Vec<_> = (0..100).map(|_| enter("127.0.0.1")).chain([enter("::1")]).collect();
        assert!(proxies.iter().all(Option::is_some));
        drop((second, other, again, network));
        assert!(crowd.held.lock().expect("nobody panicked").is_empty());
    }
}
