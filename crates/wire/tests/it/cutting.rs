//! However the bytes of a client are cut, the same is asked and the same is told.

use crate::script::{all, report, sent, step};
use crate::world::World;

/// How much is asked and told, whole and cut: less than this, and somebody has lost the streams.
const LINES: usize = 500;

/// What one client sends, in a conversation where time stands still and nobody comes between.
fn stream(said: &str) -> Option<Vec<u8>> {
    let is_still = said.lines().all(|line| {
        let is_of_another = sent(line).is_some_and(|(name, _)| !name.is_empty());
        !line.starts_with("tick ") && !line.starts_with("meanwhile ") && !is_of_another
    });
    let bytes = said.lines().filter_map(sent).flat_map(|(_, bytes)| bytes).collect();
    is_still.then_some(bytes)
}

/// All that is seen when the stream arrives in pieces of this size.
fn seen(said: &str, stream: &[u8], piece: usize) -> Vec<String> {
    let mut world = World::new();
    said.lines().filter(|line| line.starts_with("queue ")).for_each(|line| step(&mut world, line));
    for piece in stream.chunks(piece) {
        world.receive("", piece);
        if world.seen.last().is_some_and(|line| line == "hangs up") {
            break;
        }
    }
    // What is told and what is asked are in their order each; how they mix depends on the pieces.
    let (asked, told): (Vec<_>, Vec<_>) =
        world.seen.drain(..).partition(|line| line.starts_with("? "));
    // A reply may have been told in pieces, but never in other bytes.
    let told: String = told.iter().map(|line| line.trim_start_matches("< ")).collect();
    asked.into_iter().chain([told]).collect()
}

#[test]
fn any_cutting_of_the_bytes_gives_the_same_commands_and_replies() {
    let mut lines = 0;
    for (path, said) in all() {
        let Some(stream) = stream(&said).filter(|stream| !stream.is_empty()) else { continue };
        let whole = seen(&said, &stream, stream.len());
        for piece in (1..40).chain([64, 100, 1_000]) {
            let cut = seen(&said, &stream, piece);
            assert_eq!(cut, whole, "{path} in pieces of {piece}");
            lines += cut.len();
        }
    }
    assert!(lines >= LINES, "only {lines} lines");
    report(&format!("{lines} lines asked and told"));
}
