//! What is too large is refused in words, to the byte, and the conversation goes on.

use duly_engine::limits::{KEY_BYTES, PAYLOAD_BYTES};

use crate::world::World;

/// A request as programs write it.
fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// What a new client is told when it says this, then `PING`.
fn told(words: &[&[u8]]) -> Vec<String> {
    let mut world = World::new();
    world.receive("", &request(words));
    world.receive("", b"PING\r\n");
    world.seen.retain(|line| line.starts_with("< "));
    world.seen
}

#[test]
fn a_value_and_a_key_may_be_so_long_and_no_longer() {
    let value = vec![b'v'; PAYLOAD_BYTES + 1];
    let key = vec![b'k'; KEY_BYTES + 1];
    let fine = ["< +OK\\r\\n", "< +PONG\\r\\n"];
    assert_eq!(told(&[b"SETEX", b"k", b"60", &value[1..]]), fine);
    assert_eq!(
        told(&[b"SETEX", b"k", b"60", &value]),
        ["< -PAYLOAD_TOO_LARGE a value has 64 KiB at most\\r\\n", fine[1]]
    );
    assert_eq!(told(&[b"SETEX", &key[1..], b"60", b"v"]), fine);
    assert_eq!(
        told(&[b"SETEX", &key, b"60", b"v"]),
        ["< -ERR a key has 1 to 512 bytes\\r\\n", fine[1]]
    );
}
