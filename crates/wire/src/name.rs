//! Which queue and key a Redis key means, and back.
//!
//! `orders:42` is key `42` of queue `orders`: split at the first colon, so `orders:a:b` is key `a:b`.
//! Without a colon the queue is `default`. Frameworks put prefixes before their keys; the operator
//! may have one taken off, and may name queues otherwise than the keys do. The way back gives each
//! deadline one Redis key; a deadline that no Redis key means has none.

use std::collections::BTreeMap;

use duly_engine::command::Address;
use duly_engine::id::{Key, QueueName};

/// The queue of a key without a colon.
const DEFAULT: &str = "default";

/// How keys are read.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Taken off the beginning of every key that has it.
    strip_prefix: String,
    /// What stands before the colon, and the queue that it means.
    queues: BTreeMap<String, QueueName>,
    /// The other way.
    written: BTreeMap<QueueName, String>,
}

impl Names {
    /// Takes this prefix off, and reads these names before a colon as these queues.
    pub fn new(strip_prefix: String, queues: BTreeMap<String, QueueName>) -> Names {
        let written = queues.iter().map(|(word, queue)| (queue.clone(), word.clone())).collect();
        Names { strip_prefix, queues, written }
    }

    /// The deadline that a key means; or why none.
    pub(crate) fn address(&self, key: &[u8]) -> Result<Address, String> {
        let text = str::from_utf8(key).map_err(|_| "a key is text in UTF-8".to_owned())?;
        let bare = text.strip_prefix(&self.strip_prefix).unwrap_or(text);
        let (queue, key) = bare.split_once(':').unwrap_or((DEFAULT, bare));
        let key = Key::new(key).map_err(|bad| bad.to_string())?;
        Ok(Address { queue: self.named(queue)?, key })
    }

    /// The queue that a word names where it stands alone.
    pub(crate) fn queue(&self, word: &[u8]) -> Result<QueueName, String> {
        let text = str::from_utf8(word).map_err(|_| "a queue's name is text".to_owned())?;
        self.named(text.strip_prefix(&self.strip_prefix).unwrap_or(text))
    }

    fn named(&self, word: &str) -> Result<QueueName, String> {
        match self.queues.get(word) {
            Some(queue) => Ok(queue.clone()),
            None => QueueName::new(word).map_err(|bad| bad.to_string()),
        }
    }

    /// The Redis key of a deadline; none if no key means it.
    pub(crate) fn written(&self, queue: &QueueName, key: &Key) -> Option<String> {
        let word = self.written.get(queue).map_or(queue.as_str(), String::as_str);
        let needs_queue = word != DEFAULT || key.as_str().contains(':');
        let name = if needs_queue {
            format!("{}{word}:{key}", self.strip_prefix)
        } else {
            format!("{}{key}", self.strip_prefix)
        };
        let meant = self.address(name.as_bytes()).ok()?;
        (meant.queue == *queue && meant.key == *key).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use duly_engine::id::QueueName;

    use super::Names;

    fn names(prefix: &str, queues: &[(&str, &str)]) -> Names {
        let queue = |name| QueueName::new(name).expect("a good name");
        let queues: BTreeMap<_, _> =
            queues.iter().map(|(word, name)| ((*word).to_owned(), queue(name))).collect();
        Names::new(prefix.to_owned(), queues)
    }

    #[test]
    fn a_key_means_one_deadline_and_comes_back() {
        let plain = names("", &[]);
        let laravel = names("laravel_database_", &[("order", "orders")]);
        for (names, key, queue, own, back) in [
            (&plain, "orders:42", "orders", "42", "orders:42"),
            (&plain, "orders:a:b", "orders", "a:b", "orders:a:b"),
            (&plain, "42", "default", "42", "42"),
            (&plain, "default:42", "default", "42", "42"),
            (&plain, "default:a:b", "default", "a:b", "default:a:b"),
            (&laravel, "laravel_database_order:42", "orders", "42", "laravel_database_order:42"),
            (&laravel, "order:42", "orders", "42", "laravel_database_order:42"),
            (&laravel, "cart:1", "cart", "1", "laravel_database_cart:1"),
        ] {
            let address = names.address(key.as_bytes()).expect("a good key");
            assert_eq!((address.queue.as_str(), address.key.as_str()), (queue, own), "{key}");
            assert_eq!(names.written(&address.queue, &address.key).as_deref(), Some(back));
        }
    }

    #[test]
    fn what_no_key_means_has_none() {
        let queue = QueueName::new("a:b").expect("a queue may have colons");
        let key = duly_engine::id::Key::new("c").expect("a good key");
        assert_eq!(names("", &[]).written(&queue, &key), None);
        assert_eq!(names("", &[("ab", "a:b")]).written(&queue, &key).as_deref(), Some("ab:c"));
        for bad in [&b""[..], b":", b":a", b"a:", b"a b:c", b"\xff", b"a:\x00"] {
            assert!(names("", &[]).address(bad).is_err());
        }
    }
}
