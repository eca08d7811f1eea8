//! Query parameters: lists with their cursors, forecasts, followers of events.

use std::fmt::Write as _;

use duly::listen::http::reading::{self, Following, Listing};
use duly::units::show_instant;
use duly_engine::limits::KEY_BYTES;
use duly_engine::time::Span;

use super::{Fate, bodies};

pub(super) const WORDS: &[&str] = &[
    "state=pending",
    "state=lapsed",
    "delivery=dead",
    "due_from=",
    "due_to=",
    "key_prefix=",
    "limit=1000",
    "limit=0",
    "cursor=",
    "AAABoV3qXAAAAAAAAAAAEQ",
    "&",
    "=",
    "%",
    "%00",
    "%25",
    "+",
    "%C3%A9",
    "%FF",
    "2026-11-22T12:30:00Z",
    "2026-11-22T12%3A30%3A00%2B01%3A00",
    "1795348800000",
    "queue=orders",
    "key=42",
    "after=17",
    "ahead=24h",
    "ahead=1h",
    "ahead=0s",
    "#",
    "?",
    "/",
    "99999999999999999999",
];

/// The input is what stands behind the question mark, of a list, of a forecast and of a follower.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::refused("no text") };
    let Ok(address) = format!("/v1/queues/orders/deadlines?{text}").parse() else {
        return Fate::refused("no address");
    };
    let ahead = reading::forecast(&address);
    if let Ok(ahead) = &ahead {
        assert!(*ahead <= Span::from_hours(24), "a forecast of {ahead}");
    }
    let listing = reading::listing(&address);
    if let Ok(listing) = &listing {
        assert!((1..=1_000).contains(&listing.limit), "a page of {}", listing.limit);
        let prefix = listing.filter.key_prefix.as_ref().map_or(0, String::len);
        assert!(prefix <= KEY_BYTES, "a prefix of {prefix} bytes");
        let again = format!("/?{}", listed(listing));
        let read = reading::listing(&again.parse().expect("an address without bad characters"));
        assert_eq!(read.as_ref(), Ok(listing), "it is said again as {again}");
    }
    let following = reading::following(&address);
    if let Ok(following) = &following {
        let again = format!("/?{}", followed(following));
        let read = reading::following(&again.parse().expect("an address without bad characters"));
        assert_eq!(read.as_ref(), Ok(following), "it is said again as {again}");
    }
    let (ahead, listing, following) = (ahead.err(), listing.err(), following.err());
    for unread in [&ahead, &listing, &following].into_iter().flatten() {
        bodies::check(unread, input);
    }
    let codes = [&ahead, &listing, &following].map(|unread| unread.as_ref().map(|it| it.code));
    if codes.iter().all(Option::is_some) { Fate::refused(codes) } else { Fate::taken(codes) }
}

/// The query that asks for this list.
fn listed(listing: &Listing) -> String {
    let Listing { filter, limit, after } = listing;
    said(&[
        ("limit", Some(limit.to_string())),
        ("state", filter.state.map(|state| state.word().to_owned())),
        ("delivery", filter.delivery.map(|delivery| delivery.word().to_owned())),
        ("due_from", filter.due_from.map(show_instant)),
        ("due_to", filter.due_to.map(show_instant)),
        ("key_prefix", filter.key_prefix.clone()),
        ("cursor", after.map(reading::cursor)),
    ])
}

/// The query that follows these events.
fn followed(following: &Following) -> String {
    let Following { queue, key, after } = following;
    said(&[
        ("queue", queue.as_ref().map(ToString::to_string)),
        ("key", key.as_ref().map(ToString::to_string)),
        ("after", after.map(|after| after.to_string())),
    ])
}

fn said(parameters: &[(&str, Option<String>)]) -> String {
    let mut query = String::new();
    for (name, text) in parameters {
        let Some(text) = text else { continue };
        let and = if query.is_empty() { "" } else { "&" };
        let _infallible = write!(query, "{and}{name}=");
        for byte in text.bytes() {
            let _infallible = write!(query, "%{byte:02X}");
        }
    }
    query
}
