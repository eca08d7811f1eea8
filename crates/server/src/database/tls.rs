//! TLS to a database server: whom it trusts, and what went wrong in words.
//!
//! The authorities of the web and those of the operator's file are trusted; certificate and name are
//! always verified, and there is no way to switch that off.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::Fault;
use crate::config::Reach;

/// The settings of a connection to this server.
pub(super) fn config(reach: &Reach) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &reach.ca_file {
        for authority in authorities(path).map_err(|why| unusable(&why))? {
            roots.add(authority).map_err(|why| unusable(&why.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The authorities in a file, at least one.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = fs::read(path).map_err(|error| error.kind().to_string())?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate is in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn unusable(why: &str) -> Fault {
    Fault::gone(format!("tls: its ca_file cannot be used: {why}"))
}

/// Words for an error under which a connection was not made, without names and addresses.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // An error inside of one of the system's is not counted as its source.
            return match io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => of_tls(tls),
                None => io.kind().to_string(),
            };
        }
        next = error.source();
    }
    error.to_string()
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "tls: its certificate is for another name".to_owned(),
        other => format!("tls: {other}"),
    }
}
