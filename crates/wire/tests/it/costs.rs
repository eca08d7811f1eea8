//! What one client asks at once is bounded, whatever it sends; and small commands are still asked by
//! the thousand.

use duly_engine::limits::PAYLOAD_BYTES;

use crate::world::World;

/// What comes of these bytes: for each thing that was done, what was asked and how much was told.
fn done(world: &mut World, bytes: &[u8]) -> Vec<(usize, usize)> {
    world.arrive("", bytes);
    let mut all = Vec::new();
    loop {
        let goes_on = world.go_on("");
        let asked = world.seen.iter().filter(|line| line.starts_with("? ")).count();
        let told = world.seen.iter().filter(|line| line.starts_with("< ")).map(String::len).sum();
        all.push((asked, told));
        world.seen.clear();
        if !goes_on {
            return all;
        }
    }
}

fn most_asked(done: &[(usize, usize)]) -> usize {
    done.iter().map(|(asked, _)| *asked).max().unwrap_or(0)
}

fn most_told(done: &[(usize, usize)]) -> usize {
    done.iter().map(|(_, told)| *told).max().unwrap_or(0)
}

#[test]
fn small_commands_are_asked_by_the_thousand() {
    let done = done(&mut World::new(), "SETEX k 60 v\r\n".repeat(10_000).as_bytes());
    let asked: Vec<usize> = done.iter().map(|it| it.0).filter(|asked| *asked > 0).collect();
    assert_eq!(asked, [4_096, 4_096, 1_808]);
}

#[test]
fn what_walks_all_records_or_queues_is_asked_alone() {
    for line in ["SCAN 0\r\n", "DBSIZE\r\n", "INFO\r\n", "DULY.STATS\r\n", "GET k\r\nSCAN 0\r\n"] {
        let done = done(&mut World::new(), line.repeat(20).as_bytes());
        // The statistics come with the time.
        assert!(most_asked(&done) <= 2, "{line}: {done:?}");
        let asked: usize = done.iter().map(|it| it.0).sum();
        let of_one = if line.starts_with("DULY") || line.starts_with("GET") { 2 } else { 1 };
        assert_eq!(asked, 20 * of_one, "{line}");
    }
}

#[test]
fn a_request_about_many_keys_is_asked_in_slices_and_answered_once() {
    let mut world = World::new();
    let line = format!("EXISTS{}\r\nPING\r\n", " k".repeat(10_000));
    world.receive("", b"SETEX k 60 v\r\n");
    world.seen.clear();
    world.receive("", line.as_bytes());
    world.seen.retain(|line| line.starts_with("< "));
    assert_eq!(world.seen, ["< :10000\\r\\n", "< +PONG\\r\\n"]);
    let asked = done(&mut world, line.as_bytes());
    assert_eq!(most_asked(&asked), 4_096);
}

#[test]
fn replies_wait_where_they_are_few() {
    let mut world = World::new();
    let done = done(&mut world, &[b"DBSIZE\r\n", "COMMAND\r\n".repeat(2_000).as_bytes()].concat());
    assert!(most_told(&done) < 2 << 20, "{} bytes at once", most_told(&done));
    assert!(done.iter().map(|it| it.1).sum::<usize>() > 4 << 20, "all of it was told");
}

#[test]
fn values_are_told_as_they_are_taken() {
    let value = "v".repeat(PAYLOAD_BYTES);
    let set =
        format!("*4\r\n$5\r\nSETEX\r\n$1\r\nk\r\n$2\r\n60\r\n${}\r\n{value}\r\n", value.len());
    for line in ["GET k\r\n", "SET k v GET KEEPTTL\r\n+", "GETDEL k\r\n+", "DULY.GET default k\r\n"]
    {
        let mut world = World::new();
        world.receive("", set.as_bytes());
        world.seen.clear();
        // What is taken away is set again.
        let line = line.replace('+', &set);
        let done = done(&mut world, line.repeat(100).as_bytes());
        assert!(most_told(&done) < 512 << 10, "{line:.20}: {} bytes at once", most_told(&done));
        let told: usize = done.iter().map(|it| it.1).sum();
        assert!(told >= 99 * PAYLOAD_BYTES, "{line:.20}: {told} bytes in all");
    }
}

#[test]
fn values_that_are_too_long_together_are_refused() {
    let mut world = World::new();
    let value = "v".repeat(PAYLOAD_BYTES);
    let set =
        format!("*4\r\n$5\r\nSETEX\r\n$1\r\nk\r\n$2\r\n60\r\n${}\r\n{value}\r\n", value.len());
    world.receive("", set.as_bytes());
    world.seen.clear();
    world.receive("", format!("MGET{}\r\nPING\r\n", " k".repeat(257)).as_bytes());
    world.seen.retain(|line| line.starts_with("< "));
    let refused = "< -ERR the values are longer than 16 MiB together: ask for fewer at once\\r\\n";
    assert_eq!(world.seen, [refused, "< +PONG\\r\\n"]);
}

#[test]
fn a_pattern_that_takes_too_many_steps_is_refused() {
    let mut world = World::new();
    let key = "a".repeat(500);
    for number in 0..2_000 {
        world.receive("", format!("SETEX {key}{number} 60 v\r\n").as_bytes());
    }
    world.seen.clear();
    world.receive("", format!("SCAN 0 MATCH *{}b\r\n", "a".repeat(250)).as_bytes());
    world.receive("", b"SCAN 0 MATCH *aaa1\r\n");
    world.seen.retain(|line| line.starts_with("< "));
    assert!(
        world.seen[0].starts_with("< -ERR the pattern takes too many steps"),
        "{:.80}",
        world.seen[0]
    );
    assert!(!world.seen[1].starts_with("< -"), "{:.80}", world.seen[1]);
}

#[test]
fn what_is_kept_of_a_client_is_short() {
    for line in [
        format!("CLIENT SETNAME {}\r\n", "n".repeat(513)),
        format!("SUBSCRIBE{}\r\n", format!(" {}", "c".repeat(1_024)).repeat(17)),
    ] {
        let mut world = World::new();
        world.receive("", line.as_bytes());
        world.receive("", b"PING\r\n");
        assert!(world.seen[0].starts_with("< -ERR"), "{:.80}", world.seen[0]);
        assert_eq!(world.seen[1], "< +PONG\\r\\n");
    }
}

#[test]
fn what_is_answered_with_much_takes_few_words() {
    for (line, most) in [("COMMAND DOCS", 1_026), ("CONFIG GET", 66), ("INFO", 1_026)] {
        let mut world = World::new();
        let words = most - line.split(' ').count();
        world.receive("", format!("{line}{}\r\n", " set".repeat(words)).as_bytes());
        assert!(!world.seen.iter().any(|line| line.starts_with("< -")), "{line} {words}");
        world.seen.clear();
        world.receive("", format!("{line}{}\r\n", " set".repeat(words + 1)).as_bytes());
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        assert_eq!(world.seen, [format!("< -ERR '{name}' takes {most} words at most\\r\\n")]);
    }
}
