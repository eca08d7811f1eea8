//! Keys, names of queues, outcomes, ids of deliveries.

use duly::listen::http::reading;
use duly_engine::id::{DeliveryId, DirectoryId, Key, Malformed, Outcome, QueueName};
use duly_engine::limits::{KEY_BYTES, OUTCOME_BYTES, QUEUE_NAME_BYTES};

use super::Fate;

pub(super) const WORDS: &[&str] = &[
    "orders",
    "shop1.orders",
    "a:b",
    "f3k9qwz0aaaaa-17-1",
    "0000000000000-1-1",
    "-1",
    "-0",
    "fzzzzzzzzzzzz-18446744073709551615-4294967295",
    "g000000000000-1-1",
    "-01-1",
    "+1",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{feff}",
    "é",
    "漢",
    "🦀",
    "paid",
    " ",
];

/// The input is taken for each of them.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::refused("no text") };
    let key = Key::new(text).map(|key| key.as_str().to_owned());
    let queue = QueueName::new(text).map(|queue| queue.as_str().to_owned());
    let outcome = Outcome::new(text).map(|outcome| outcome.as_str().to_owned());
    let limits = [(&key, KEY_BYTES), (&queue, QUEUE_NAME_BYTES), (&outcome, OUTCOME_BYTES)];
    for (name, longest) in limits {
        if let Ok(name) = name {
            assert_eq!(name, text, "a name is kept as it is");
            assert!((1..=longest).contains(&name.len()), "{text:?} is too long");
            assert!(!name.chars().any(char::is_control), "{text:?} would break a line");
        }
    }
    let id = text.parse::<DeliveryId>();
    if let Ok(id) = id {
        assert_eq!(id.to_string(), text, "a delivery has one name");
    }
    let directory = text.parse::<DirectoryId>();
    if let Ok(directory) = directory {
        assert_eq!(directory.to_string(), text, "a directory has one name");
    }
    let address = reading::address(text, text);
    assert_eq!(address.is_ok(), queue.is_ok() && key.is_ok(), "{text:?}");
    let whys = (why(&key), why(&queue), why(&outcome), why(&id), why(&directory));
    let taken = key.is_ok() || queue.is_ok() || outcome.is_ok() || id.is_ok() || directory.is_ok();
    if taken { Fate::taken(whys) } else { Fate::refused(whys) }
}

fn why<T>(read: &Result<T, Malformed>) -> &'static str {
    read.as_ref().err().map_or("", |bad| bad.0)
}
