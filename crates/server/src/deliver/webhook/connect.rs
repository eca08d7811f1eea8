//! Connections to webhook targets.
//!
//! The connector resolves a name once, lets the guard look at every answer, and dials exactly those
//! addresses: there is no second look-up that could tell something else. Those who want to connect to
//! the same name at the same time share one look-up: each takes one of the runtime's threads, for as
//! long as the resolver likes, and one name must not take them all. Nothing here follows a
//! redirect or reads a proxy from the environment. TLS trusts the roots of the web and verifies
//! names; there is no way to switch that off.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guard::{Destination, Guard};

/// Name, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(3);

type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// From a name and a port to addresses.
pub(super) type Resolve = Arc<dyn Fn(String, u16) -> Answer<Vec<IpAddr>> + Send + Sync>;

/// The machine's own resolver.
pub(super) fn system_resolver() -> Resolve {
    Arc::new(|host, port| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// TLS that trusts the roots of the web.
pub(super) fn web_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// A look-up of a name, and what it found.
type LookUp = OnceCell<Result<Vec<IpAddr>, String>>;

/// Makes connections.
pub(super) struct Connector {
    guard: Guard,
    resolve: Resolve,
    /// Look-ups that somebody waits for just now, by name and port.
    looking_up: Mutex<HashMap<(String, u16), Weak<LookUp>>>,
    tls: TlsConnector,
}

impl Connector {
    /// A connector behind `guard` that trusts `roots`.
    pub(super) fn new(guard: Guard, resolve: Resolve, roots: RootCertStore) -> Connector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Connector {
            guard,
            resolve,
            looking_up: Mutex::default(),
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A new connection, or why there is none.
    pub(super) async fn connect(&self, target: &Destination) -> io::Result<TokioIo<Stream>> {
        let late = |_| io::Error::other("connect: no connection within 3s");
        timeout(CONNECT, self.connect_at_leisure(target)).await.map_err(late)?
    }

    async fn connect_at_leisure(&self, target: &Destination) -> io::Result<TokioIo<Stream>> {
        let addresses = self.addresses(target).await?;
        let tcp = dial(&addresses, target.port).await?;
        // Small requests, answered at once: waiting to fill a packet only adds delay.
        tcp.set_nodelay(true)?;
        if !target.tls {
            return Ok(TokioIo::new(Stream::Plain(tcp)));
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| io::Error::other("bad_url: TLS needs a host that is a name"))?;
        let tls = self.tls.connect(name, tcp).await;
        let tls = tls.map_err(|error| io::Error::other(format!("tls: {error}")))?;
        Ok(TokioIo::new(Stream::Tls(Box::new(tls))))
    }

    /// The addresses of a target, all of them allowed.
    async fn addresses(&self, target: &Destination) -> io::Result<Vec<IpAddr>> {
        let addresses = match target.host.parse() {
            Ok(literal) => vec![literal],
            Err(_) => self
                .look_up(target)
                .await
                .map_err(|error| io::Error::other(format!("dns: {error}")))?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("dns: the name has no address"));
        }
        self.guard.check(&addresses, target.port).map_err(io::Error::other)?;
        Ok(addresses)
    }

    /// Looks a name up, or waits for whoever does; what was found before is not used again.
    async fn look_up(&self, target: &Destination) -> Result<Vec<IpAddr>, String> {
        let name = (target.host.clone(), target.port);
        let look_up = {
            let mut all = self.looking_up.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = all.get(&name).and_then(Weak::upgrade);
            under_way.unwrap_or_else(|| {
                all.retain(|_, look_up| look_up.strong_count() > 0);
                let begun = Arc::new(LookUp::new());
                all.insert(name.clone(), Arc::downgrade(&begun));
                begun
            })
        };
        let (host, port) = name;
        let look = || async { (self.resolve)(host, port).await.map_err(|error| error.to_string()) };
        look_up.get_or_init(look).await.clone()
    }
}

/// Tries the addresses in order; each has an equal share of the time, so that a dead first one does
/// not keep the second from being tried.
async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let share = CONNECT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::other("connect: no address");
    for &address in addresses {
        match timeout(share, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = io::Error::other(format!("connect: {error}")),
            Err(_) => last = io::Error::other("connect: no answer in time"),
        }
    }
    Err(last)
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    /// `http`.
    Plain(TcpStream),
    /// `https`.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
