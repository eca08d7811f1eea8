//! What is too large is refused in words, to the byte, and the conversation goes on.

use duly_engine::limits::{KEY_BYTES, PAYLOAD_BYTES};
use duly_engine::time::Span;

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

#[test]
fn a_page_ends_when_it_is_long_and_the_next_one_goes_on() {
    let mut world = World::new();
    let value = vec![b'v'; PAYLOAD_BYTES];
    for number in 0..80 {
        let key = format!("orders:{number}");
        world.receive("", &request(&[b"SETEX", key.as_bytes(), b"60", &value]));
    }
    let (mut seen, mut cursor) = (0, None::<String>);
    let mut pages = 0;
    while pages == 0 || cursor.is_some() {
        world.seen.clear();
        let mut words = vec![&b"DULY.LIST"[..], b"orders", b"LIMIT", b"1000"];
        if let Some(cursor) = &cursor {
            words.extend([&b"CURSOR"[..], cursor.as_bytes()]);
        }
        world.receive("", &request(&words));
        let said = |line: &&String| line.starts_with("< ");
        assert!(world.seen.iter().filter(said).map(String::len).sum::<usize>() < 5 << 20);
        seen += world.seen.iter().filter(|line| line.starts_with("< vvvv")).count();
        let last = world.seen.last().expect("there is an answer");
        let next = last.trim_start_matches("< ").trim_end_matches("\\r\\n");
        cursor = (next != "$-1").then(|| next.to_owned());
        pages += 1;
    }
    assert_eq!((seen, pages), (80, 2));
}

#[test]
fn what_a_worker_is_handed_is_told_whole_however_long_it_is() {
    let value = vec![b'v'; PAYLOAD_BYTES];
    for before in [&b""[..], b"PING\r\n"] {
        let mut world = World::new();
        // More than one reply may show of values that were asked for.
        for number in 0..260 {
            let key = number.to_string();
            let words = [b"orders", key.as_bytes(), b"AFTER", b"1m", b"PAYLOAD", &value];
            world.receive("", &request(&[&[&b"DULY.SCHEDULE"[..]], &words[..]].concat()));
        }
        world.tick(Span::from_secs(60));
        world.seen.clear();
        let lease = request(&[b"DULY.LEASE", b"orders", b"MAX", b"1000"]);
        world.receive("", &[before, &lease].concat());
        let whole = world.seen.iter().filter(|line| line.starts_with("< vvvv")).count();
        let gone = world.seen.iter().any(|line| line.contains("payload_gone"));
        assert_eq!((whole, gone), (260, false));
    }
}

#[test]
fn a_lease_that_waits_keeps_nothing_of_what_was_told_before_it() {
    let mut world = World::new();
    world.receive("", b"ZADD jobs 1795348860 a\r\n");
    world.arrive("", b"ZSCORE jobs a\r\nBZPOPMIN jobs 0\r\n");
    assert!(world.go_on(""), "both are asked and the first is told");
    assert!(!world.is_under_way(""), "what is told may be let go, however long the other waits");
    while world.go_on("") {}
    let waits = world.seen.iter().filter(|line| line.contains(", wait ")).count();
    assert_eq!(waits, 1, "and then it waits: {:?}", world.seen);
}

#[test]
fn a_pattern_is_short_and_who_asks_for_too_much_has_nothing_done() {
    let long = vec![b'['; 1_025];
    let refused = "< -ERR a pattern or a channel's name has 1,024 bytes at most\\r\\n";
    for words in [
        vec![&b"SCAN"[..], b"0", b"MATCH", &long],
        vec![b"CONFIG", b"GET", &long],
        vec![b"PSUBSCRIBE", b"a", &long],
        vec![b"SUBSCRIBE", b"a", &long],
    ] {
        // A subscribed client would be told something else than PONG.
        assert_eq!(told(&words), [refused, "< +PONG\\r\\n"]);
    }
    let names: Vec<String> = (0..1_025).map(|number| format!("c{number}")).collect();
    let each = || names.iter().map(String::as_bytes);
    let subscribe: Vec<&[u8]> = std::iter::once(&b"SUBSCRIBE"[..]).chain(each()).collect();
    let refused =
        "< -ERR there would be more subscriptions than one client may have\\r\\n".to_owned();
    assert_eq!(told(&subscribe), [refused, "< +PONG\\r\\n".to_owned()]);
    let mget: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(each()).collect();
    let refused = "< -ERR MGET takes 1,024 keys at most: each may have 64 KiB\\r\\n".to_owned();
    assert_eq!(told(&mget), [refused, "< +PONG\\r\\n".to_owned()]);
}
