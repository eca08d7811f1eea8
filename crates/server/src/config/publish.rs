//! Brokers of the operator's: where a `publish` target may say that a deadline has lapsed.
//!
//! The form as it is typed and what it means. A URL is never repeated in a message, for it may hold a
//! password. Nothing is resolved or connected to here.

use std::borrow::Cow;
use std::path::PathBuf;

use hyper::Uri;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::Secret;
use super::typed::Wrong;

/// A place in a broker that lapses are published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAction {
    /// Its host, as name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Is the way there encrypted?
    pub tls: bool,
    /// An authority to be trusted beside those of the web.
    pub ca_file: Option<PathBuf>,
    /// Who publishes.
    pub user: Option<String>,
    /// And with which password.
    pub password: Option<Secret>,
    /// The number of the database inside the server.
    pub database: u32,
    /// Where in it.
    pub destination: PublishDestination,
}

/// What a lapse becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishDestination {
    /// An entry of a stream.
    Stream {
        /// Its key.
        key: String,
        /// About how many entries it keeps; all of them unless set.
        maxlen: Option<u64>,
    },
    /// The last element of a list.
    List {
        /// Its key.
        key: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishForm {
    url: String,
    ca_file: Option<PathBuf>,
    stream: Option<String>,
    list: Option<String>,
    maxlen: Option<u64>,
}

const FORM: &str = "write redis://user:password@host:6379/0, or rediss:// for TLS";
const PORT: u16 = 6379;

impl PublishForm {
    pub(super) fn mean(self) -> Result<PublishAction, Wrong> {
        let url = |why: &str| ("url", format!("{why}; {FORM}"));
        let parsed: Uri = self.url.parse().map_err(|_| url("is not a URL"))?;
        let tls = match parsed.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(url("is of no broker that is known")),
        };
        if self.ca_file.is_some() && !tls {
            return Err(("ca_file", "is given, but the url is not of rediss://".to_owned()));
        }
        let authority = parsed.authority().map_or("", |authority| authority.as_str());
        let userinfo = authority.rsplit_once('@').map(|(userinfo, _)| userinfo);
        let plain = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(Cow::into_owned).map_err(|_| url("has what is no UTF-8 in it"))
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, "")))
        {
            None => (None, None),
            Some((user, password)) => (
                Some(plain(user)?).filter(|user| !user.is_empty()),
                Some(plain(password)?).filter(|word| !word.is_empty()).map(Secret::new),
            ),
        };
        if user.is_some() && password.is_none() {
            return Err(url("has a user without a password"));
        }
        let database = match parsed.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| url("has a database that is no number"))?,
        };
        let host = parsed.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(url("names no host"));
        }
        let destination = match (self.stream, self.list) {
            (Some(key), None) => PublishDestination::Stream { key, maxlen: self.maxlen },
            (None, Some(_)) if self.maxlen.is_some() => {
                return Err(("maxlen", "is for streams; a list is never cut".to_owned()));
            }
            (None, Some(key)) => PublishDestination::List { key },
            _ => return Err(("stream", "or `list` is needed, one of the two".to_owned())),
        };
        let port = parsed.port_u16().unwrap_or(PORT);
        let ca_file = self.ca_file;
        Ok(PublishAction { host, port, tls, ca_file, user, password, database, destination })
    }
}
