//! The way to a broker: a socket, and TLS over it where the operator wants that.
//!
//! Certificate and name are always verified. Words for what went wrong name no address.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::PublishAction;

/// A connection is made by then, encryption and login included.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes both ways, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a broker is reached, and as whom.
pub(super) struct Way {
    pub(super) action: PublishAction,
    tls: Option<Arc<ClientConfig>>,
}

impl Way {
    /// Connects nowhere; says what is wrong with the file of authorities.
    pub(super) fn new(action: &PublishAction) -> Result<Way, String> {
        let tls = action.tls.then(|| encryption(action.ca_file.as_deref())).transpose()?;
        Ok(Way { action: action.clone(), tls })
    }

    /// Connects; nothing is said yet.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let address = (self.action.host.as_str(), self.action.port);
        let tcp = TcpStream::connect(address).await.map_err(|error| words(&error))?;
        // Small messages, answered at once: waiting to fill a packet only adds delay.
        tcp.set_nodelay(true).map_err(|error| words(&error))?;
        let Some(config) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.action.host.clone())
            .map_err(|_| "TLS needs a host that is a name".to_owned())?;
        let encrypted = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
        Ok(Box::new(encrypted.map_err(|error| format!("tls: {error}"))?))
    }
}

/// What comes of opening a connection, which does not take for ever.
pub(super) async fn in_time<T>(
    opening: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(CONNECT, opening).await.unwrap_or_else(|_| Err("no connection within 5s".to_owned()))
}

/// Words for a fault, without names and addresses.
pub(super) fn words(error: &io::Error) -> String {
    match error.get_ref() {
        Some(own) => own.to_string(),
        None => error.kind().to_string(),
    }
}

/// Whom an encrypted connection trusts: the authorities of the web and those of a file.
fn encryption(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let said = |error: &dyn Error| format!("cannot be used: {error}");
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let found = CertificateDer::pem_file_iter(path).map_err(|error| said(&error))?;
        let before = roots.len();
        for authority in found {
            let authority = authority.map_err(|error| said(&error))?;
            roots.add(authority).map_err(|error| said(&error))?;
        }
        if roots.len() == before {
            return Err("cannot be used: no certificate is in it".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
