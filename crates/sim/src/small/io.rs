//! Every call of a script to the disk failed in turn.
//!
//! A story of two hundred turns makes some hundreds of calls to the disk. Each of them goes wrong
//! in every way a call can, one per run; the server then ends, or goes on if it need not end, and is
//! started again: after a kill, when the cache still shows everything, and after a power cut, when
//! only what was synced is sure. Whatever had been told must be there, and stay there when the power
//! goes once more. Syncs that lie are left out: nobody can promise anything over such a disk.

use duly_store::disk::{Fault, MemoryDisk};

use super::many;
use super::server::{SMALL, Server};
use super::story::Story;
use crate::counters::Counters;
use crate::world::Death;

const NAME: &str = "small io";

/// Operations of a script.
const TURNS: usize = 200;

/// Scripts of an ordinary run.
const SCRIPTS: u64 = 5;

/// The ways a call goes wrong.
const FAULTS: [Fault; 5] = [Fault::Io, Fault::Full, Fault::Short, Fault::Torn, Fault::Death];

/// One run: which call goes wrong, and how.
struct Case {
    seed: u64,
    nth: u64,
    fault: Fault,
}

/// Fails every call of as many scripts as are asked for.
pub(super) fn run(seed: u64, times: u64) -> anyhow::Result<Counters> {
    let mut counters = Counters::new(NAME);
    let scripts = SCRIPTS * times;
    counters.floor("turns", TURNS as u64 * scripts);
    counters.floor("ended", 1_000 * scripts);
    counters.floor("survived", 200 * scripts);
    counters.floor("checked", 50_000 * scripts);
    let mut calls = 0;
    for seed in seed..seed + scripts {
        let disk = MemoryDisk::new();
        let mut story = Story::new(seed);
        tell(&mut story, &mut Server::over(&disk, SMALL))?;
        counters.add("turns", TURNS as u64);
        let all = 1..=disk.calls();
        calls += disk.calls();
        let cases: Vec<Case> =
            all.flat_map(|nth| FAULTS.map(|fault| Case { seed, nth, fault })).collect();
        counters.take_in(&many::each(NAME, &cases, Case::run));
    }
    counters.add("calls", calls);
    counters.floor("failures", calls * FAULTS.len() as u64);
    Ok(counters)
}

/// The script: all of the story, or as far as the disk lets it go.
fn tell(story: &mut Story, server: &mut Server) -> Result<(), Death> {
    server.open()?;
    story.begin(server)?;
    for turn in 0..TURNS {
        story.turn(server)?;
        if turn % 8 == 7 {
            server.archive()?;
        }
    }
    Ok(())
}

impl Case {
    fn run(&self, counters: &mut Counters) {
        let Case { seed, nth, fault } = *self;
        let disk = MemoryDisk::new();
        disk.fail(nth, fault);
        let mut server = Server::over(&disk, SMALL);
        let mut story = Story::new(seed);
        let ended = tell(&mut story, &mut server);
        counters.add("failures", 1);
        counters.add(if ended.is_err() { "ended" } else { "survived" }, 1);
        let before = disk.calls();
        for power_cut in [None, Some(nth), Some(nth + 1), Some(nth + 2)] {
            let mut again = server.after_its_end(power_cut);
            let how = if power_cut.is_some() { "a power cut" } else { "a kill" };
            let wrong = match check(&story, &mut again, nth) {
                Ok(wrong) => wrong,
                Err(death) => vec![format!("it does not start again: {death}")],
            };
            counters.add("checked", story.heard.count());
            for wrong in wrong {
                counters.violation(&format!(
                    "call {nth} of {before} failed by {fault:?}, then {how}: {wrong}; \
                     `duly-sim small io --seed {seed}` does it again"
                ));
            }
        }
    }
}

/// Starts again and asks about everything that was told; then the server must serve as before, and
/// what it has shown must survive another power cut.
fn check(story: &Story, server: &mut Server, seed: u64) -> Result<Vec<String>, Death> {
    server.open()?;
    let shown = story.heard.shown(server)?;
    let mut cut_off = server.after_its_end(Some(seed));
    let mut wrong = story.heard.check(server)?;
    Story::new(u64::MAX).turn(server)?;
    server.archive()?;
    cut_off.open()?;
    wrong.extend(shown.check(&mut cut_off)?);
    Ok(wrong)
}
