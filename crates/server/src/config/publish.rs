//! Brokers of the operator's: where a `publish` target may say that a deadline has lapsed.
//!
//! The form as it is typed and what it means. A URL is never repeated in a message, for it may hold a
//! password. Nothing is resolved or connected to here.

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
    /// What kind of broker it is, and where in it.
    pub destination: PublishDestination,
}

/// A place in one kind of broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishDestination {
    /// Redis.
    Redis(RedisDestination),
    /// AMQP 0.9.1: `RabbitMQ`.
    Amqp(AmqpDestination),
}

/// A place in a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisDestination {
    /// The number of the database inside the server.
    pub database: u32,
    /// What a lapse becomes there.
    pub entry: RedisEntry,
}

/// What a lapse becomes in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisEntry {
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

/// A place in an AMQP broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpDestination {
    /// The virtual host.
    pub vhost: String,
    /// The exchange; the nameless one leads to the queue that the routing key names.
    pub exchange: String,
    /// What the exchange decides by.
    pub routing_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishForm {
    url: Option<String>,
    url_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    stream: Option<String>,
    list: Option<String>,
    maxlen: Option<u64>,
    queue: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
}

/// What a scheme stands for.
struct Scheme {
    word: &'static str,
    port: u16,
    tls: bool,
    read: fn(&PublishForm, &str) -> Result<PublishDestination, Wrong>,
}

const SCHEMES: [Scheme; 4] = [
    Scheme { word: "redis", port: 6379, tls: false, read: redis },
    Scheme { word: "rediss", port: 6379, tls: true, read: redis },
    Scheme { word: "amqp", port: 5672, tls: false, read: amqp },
    Scheme { word: "amqps", port: 5671, tls: true, read: amqp },
];

const FORM: &str = "write redis://user:password@host:6379/0 or amqp://user:password@host:5672/vhost; \
                    rediss:// and amqps:// are encrypted";
/// The longest name that AMQP can say, in bytes.
const AMQP_NAME: usize = 255;

impl PublishForm {
    pub(super) fn mean(self) -> Result<PublishAction, Wrong> {
        let (key, text) = match (&self.url, &self.url_file) {
            (Some(text), None) => ("url", text.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    ("url_file", format!("cannot read {}: {error}", file.display()))
                })?;
                ("url_file", text.trim().to_owned())
            }
            (None, None) => return Err(("url", format!("is missing; {FORM}"))),
            (Some(_), Some(_)) => {
                return Err(("url_file", "is given beside `url`; keep one".to_owned()));
            }
        };
        self.read(&text).map_err(|(wrong, why)| match wrong {
            "url" => (key, format!("{why}; {FORM}")),
            other => (other, why),
        })
    }

    fn read(&self, text: &str) -> Result<PublishAction, Wrong> {
        let url: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let Some(scheme) = SCHEMES.iter().find(|known| url.scheme_str() == Some(known.word)) else {
            return Err(wrong("is of no broker that is known"));
        };
        if self.ca_file.is_some() && !scheme.tls {
            return Err(("ca_file", "is given, but the url is of no encrypted way".to_owned()));
        }
        if url.query().is_some() {
            return Err(wrong("has options, and there are none"));
        }
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let (user, password) = match authority.rsplit_once('@').map(|(userinfo, _)| userinfo) {
            None => (None, None),
            Some(userinfo) => {
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                (
                    Some(plain(user)?).filter(|user| !user.is_empty()),
                    Some(plain(password)?).filter(|word| !word.is_empty()).map(Secret::new),
                )
            }
        };
        if user.is_some() && password.is_none() {
            return Err(wrong("has a user without a password"));
        }
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        Ok(PublishAction {
            host,
            port: url.port_u16().unwrap_or(scheme.port),
            tls: scheme.tls,
            ca_file: self.ca_file.clone(),
            user,
            password,
            destination: (scheme.read)(self, url.path().trim_start_matches('/'))?,
        })
    }
}

/// Refuses what is for another kind of broker.
fn refuse(foreign: [(&'static str, bool); 3], why: &str) -> Result<(), Wrong> {
    match foreign.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err((field, why.to_owned())),
        None => Ok(()),
    }
}

fn redis(form: &PublishForm, path: &str) -> Result<PublishDestination, Wrong> {
    let foreign = [
        ("queue", form.queue.is_some()),
        ("exchange", form.exchange.is_some()),
        ("routing_key", form.routing_key.is_some()),
    ];
    refuse(foreign, "is for amqp://; name a `stream` or a `list`")?;
    let database = match path {
        "" => 0,
        number => number.parse().map_err(|_| wrong("has a database that is no number"))?,
    };
    let entry = match (form.stream.clone(), form.list.clone()) {
        (Some(key), None) => RedisEntry::Stream { key, maxlen: form.maxlen },
        (None, Some(_)) if form.maxlen.is_some() => {
            return Err(("maxlen", "is for streams; a list is never cut".to_owned()));
        }
        (None, Some(key)) => RedisEntry::List { key },
        _ => return Err(("stream", "or `list` is needed, one of the two".to_owned())),
    };
    Ok(PublishDestination::Redis(RedisDestination { database, entry }))
}

fn amqp(form: &PublishForm, path: &str) -> Result<PublishDestination, Wrong> {
    let foreign = [
        ("stream", form.stream.is_some()),
        ("list", form.list.is_some()),
        ("maxlen", form.maxlen.is_some()),
    ];
    refuse(foreign, "is for redis://; name a `queue` or an `exchange`")?;
    let (exchange, routing_key) = match (&form.queue, &form.exchange) {
        (Some(_), None) if form.routing_key.is_some() => {
            return Err(("routing_key", "is for an `exchange`; a queue has its name".to_owned()));
        }
        // Every queue is bound to the nameless exchange by its own name.
        (Some(queue), None) if !queue.is_empty() => (String::new(), queue.clone()),
        (None, Some(exchange)) if !exchange.is_empty() => {
            (exchange.clone(), form.routing_key.clone().unwrap_or_default())
        }
        _ => return Err(("queue", "or `exchange` is needed, one of the two".to_owned())),
    };
    if path.contains('/') {
        return Err(wrong("has a virtual host with a slash; write it %2F"));
    }
    let vhost = if path.is_empty() { "/".to_owned() } else { plain(path)? };
    for (field, name) in [("url", &vhost), ("exchange", &exchange), ("routing_key", &routing_key)] {
        if name.len() > AMQP_NAME {
            let field =
                if form.queue.is_some() && field == "routing_key" { "queue" } else { field };
            return Err((field, "has a name of more than 255 bytes".to_owned()));
        }
    }
    Ok(PublishDestination::Amqp(AmqpDestination { vhost, exchange, routing_key }))
}

/// A part of a URL without its percent signs.
fn plain(text: &str) -> Result<String, Wrong> {
    match percent_decode_str(text).decode_utf8() {
        // PLAIN puts NUL characters between user and password.
        Ok(text) if text.contains('\0') => Err(wrong("has a NUL character in it")),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(wrong("has what is no UTF-8 in it")),
    }
}

fn wrong(why: &str) -> Wrong {
    ("url", why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(lines: &str) -> Result<PublishAction, Wrong> {
        toml::from_str::<PublishForm>(lines).expect("known fields").mean()
    }

    fn place(lines: &str) -> (PublishAction, AmqpDestination) {
        let action = form(lines).expect(lines);
        match action.destination.clone() {
            PublishDestination::Amqp(place) => (action, place),
            PublishDestination::Redis(_) => panic!("{lines} is of Redis"),
        }
    }

    #[test]
    fn a_queue_is_reached_through_the_nameless_exchange() {
        let (action, found) = place("url = 'amqp://d:p%2Fw@mq.example/shop'\nqueue = 'lapses'");
        assert_eq!((action.host.as_str(), action.port, action.tls), ("mq.example", 5672, false));
        assert_eq!(action.password.expect("one is given").reveal(), "p/w");
        let expected = AmqpDestination {
            vhost: "shop".to_owned(),
            exchange: String::new(),
            routing_key: "lapses".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_exchange_may_have_a_routing_key() {
        for (lines, routing_key) in [("routing_key = 'order.lapsed'", "order.lapsed"), ("", "")] {
            let (_, found) = place(&format!("url = 'amqp://h'\nexchange = 'shop'\n{lines}"));
            assert_eq!(
                (found.exchange.as_str(), found.routing_key.as_str()),
                ("shop", routing_key)
            );
        }
    }

    #[test]
    fn the_virtual_host_is_the_path() {
        for (url, vhost, port, tls) in [
            ("amqp://h", "/", 5672, false),
            ("amqp://h/", "/", 5672, false),
            ("amqps://h/%2F", "/", 5671, true),
            ("amqps://d:p@[::1]:99/a%2Fb", "a/b", 99, true),
        ] {
            let (action, found) = place(&format!("url = '{url}'\nqueue = 'q'"));
            assert_eq!(
                (found.vhost.as_str(), action.port, action.tls),
                (vhost, port, tls),
                "{url}"
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key_and_without_the_password() {
        let long = format!("url = 'amqp://h'\nqueue = '{}'", "q".repeat(256));
        for (lines, key, why) in [
            ("url = 'amqp://u:hunter2@h'", "queue", "or `exchange`"),
            ("url = 'amqp://u:hunter2@h'\nqueue = ''", "queue", "or `exchange`"),
            ("url = 'amqp://u:hunter2@h'\nqueue = 'a'\nexchange = 'b'", "queue", "or `exchange`"),
            (
                "url = 'amqp://u:hunter2@h'\nqueue = 'a'\nrouting_key = 'b'",
                "routing_key",
                "is for an",
            ),
            ("url = 'amqp://u:hunter2@h'\nstream = 'a'", "stream", "is for redis://"),
            ("url = 'amqp://u:hunter2@h'\nqueue = 'a'\nmaxlen = 5", "maxlen", "is for redis://"),
            ("url = 'redis://u:hunter2@h'\nqueue = 'a'", "queue", "is for amqp://"),
            ("url = 'amqp://u:hunter2@h/a/b'\nqueue = 'a'", "url", "virtual host"),
            ("url = 'amqp://u:hunter2@h/?heartbeat=5'\nqueue = 'a'", "url", "has options"),
            ("url = 'amqp://u:hunter2%00@h/'\nqueue = 'a'", "url", "NUL character"),
            ("url = 'amqp://u@h'\nqueue = 'a'", "url", "a user without a password"),
            ("url = 'amqp://u:hunter2@h'\nqueue = 'a'\nca_file = '/x'", "ca_file", "no encrypted"),
            ("url = 'http://u:hunter2@h'\nqueue = 'a'", "url", "no broker that is known"),
            ("queue = 'a'", "url", "is missing"),
            ("url = 'amqp://h'\nurl_file = '/x'\nqueue = 'a'", "url_file", "keep one"),
            ("url_file = '/nowhere/x'\nqueue = 'a'", "url_file", "cannot read"),
            (&long, "queue", "more than 255 bytes"),
        ] {
            let (wrong, said) = form(lines).expect_err(lines);
            assert!(wrong == key && said.contains(why), "{lines}: {wrong}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
