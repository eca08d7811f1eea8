//! The journal cut at every byte.
//!
//! Each record of a story is cut at each of its bytes, on the disk as it was when that record was
//! being written; behind the cut lie zeros, ones, or what an earlier use of the file left there. The
//! state after opening must be that of all whole records before the cut and of nothing else, nothing
//! that was promised may be called corrupt, and whatever was lost must be reported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::ensure;
use duly_store::Error;
use duly_store::disk::{Disk, MemoryDisk};
use duly_store::journal::Kind;

use super::digest::{Record, digest_of, read_back};
use super::many;
use super::server::{DIRECTORY, SMALL, Server};
use super::story::Story;
use crate::counters::Counters;

const NAME: &str = "small cut";

/// Different places where a journal was cut, in an ordinary run.
const FLOOR: u64 = 65_536;

/// The turns of a story whose writes are cut: of a young one the first, of an old one those after
/// its journal has gone round its files, so that what lies behind a cut was written before.
const YOUNG: Range<usize> = 0..120;
const OLD: Range<usize> = 900..1_400;

/// The seal that ends a segment, in bytes.
const SEAL: u64 = 56;

/// What of a record's header must be there to be known as the beginning of one.
const CLAIM: u64 = 16;

/// Every so many cuts the power goes again after the recovery.
const TWICE: u64 = 16;

/// What lies behind a cut.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Zeros,
    Ones,
    Stale,
}

/// A disk as it was just after something was written, which is now cut anywhere in it.
struct Case {
    disk: MemoryDisk,
    /// Every record on it.
    records: Arc<Vec<Record>>,
    /// The segment that is cut, and from where to where.
    segment: u32,
    from: u64,
    to: u64,
    /// Where the last byte was written.
    end: u64,
    /// What the file held before this use of it.
    stale: Vec<u8>,
}

/// Cuts the journals of as many stories as it takes.
pub(super) fn run(seed: u64, times: u64) -> anyhow::Result<Counters> {
    let mut counters = Counters::new(NAME);
    counters.floor("cut_points", FLOOR * times);
    counters.floor("seals_cut", 300);
    for figure in ["bases_cut", "torn", "stale_bytes", "cut_twice"] {
        counters.floor(figure, 1_000);
    }
    let mut seed = seed;
    while counters.value("cut_points") < FLOOR * times && counters.violations() == 0 {
        let mut cases = cases_of(seed, YOUNG)?;
        cases.extend(cases_of(seed, OLD)?);
        let part = many::each(NAME, &cases, |case, counters| case.cut(seed, counters));
        counters.take_in(&part);
        counters.add("stories", 1);
        seed += 1;
    }
    Ok(counters)
}

/// Tells the story of a seed and takes a picture of the disk after every write of these turns.
fn cases_of(seed: u64, turns: Range<usize>) -> anyhow::Result<Vec<Case>> {
    let images = pictures(seed, turns)?;
    let mut cases: Vec<Case> = Vec::new();
    let mut stale: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut before: Option<(MemoryDisk, u64)> = None;
    for disk in images {
        let records = Arc::new(read_back(&disk.fork())?.records);
        let Some((earlier, written)) = before.replace((disk.fork(), next_seq(&records))) else {
            continue;
        };
        let fresh = records.iter().position(|record| record.first_seq >= written);
        let fresh = fresh.expect("a picture is taken when something was written");
        let end = records.last().expect("something was written").end();
        for record in &records[fresh..] {
            let segment = record.segment;
            if record.kind == Kind::Base {
                stale.insert(segment, first_spare(&earlier));
                cases.extend(cut_seal(&disk, &records, segment, &stale));
            }
            cases.push(Case {
                disk: disk.fork(),
                records: Arc::clone(&records),
                segment,
                from: record.start(),
                to: record.end(),
                end,
                stale: stale.get(&segment).cloned().unwrap_or_else(empty),
            });
        }
    }
    Ok(cases)
}

/// The sequence of the next record.
fn next_seq(records: &[Record]) -> u64 {
    records.last().map_or(1, Record::next_seq)
}

/// What lies in a file that was never used.
fn empty() -> Vec<u8> {
    vec![0; usize::try_from(SMALL.segment_bytes).expect("small")]
}

/// The disk before and after each write of some turns of a story. A story that is told from its
/// beginning begins with an empty disk.
pub(super) fn pictures(seed: u64, turns: Range<usize>) -> anyhow::Result<Vec<MemoryDisk>> {
    let disk = MemoryDisk::new();
    let before = disk.fork();
    let mut server = Server::over(&disk, SMALL);
    if turns.start == 0 {
        server.pictures = Some(vec![before]);
    }
    let mut story = Story::new(seed);
    server.open()?;
    story.begin(&mut server)?;
    for turn in 0..turns.end {
        if turn == turns.start && turn > 0 {
            let before = disk.fork();
            before.kill();
            server.pictures = Some(vec![before]);
        }
        story.turn(&mut server)?;
        if turn % 8 == 7 {
            server.archive()?;
        }
    }
    let pictures = server.pictures.take().unwrap_or_default();
    let broken = story.heard.check(&mut server)?;
    ensure!(broken.is_empty(), "a story that nobody disturbed is not kept: {broken:?}");
    Ok(pictures)
}

/// What lies in the file that the next segment is begun in.
fn first_spare(disk: &MemoryDisk) -> Vec<u8> {
    let mut names = disk.list("journal").unwrap_or_default();
    names.retain(|name| name.strip_suffix("spare").is_some());
    names.sort();
    let first = names.first().and_then(|name| disk.contents(&format!("journal/{name}")));
    first.unwrap_or_else(empty)
}

/// The moment before a segment was begun, when only the seal of the one before it was new.
fn cut_seal(
    disk: &MemoryDisk,
    records: &[Record],
    begun: u32,
    stale: &BTreeMap<u32, Vec<u8>>,
) -> Option<Case> {
    let records: Vec<Record> =
        records.iter().filter(|record| record.segment < begun).cloned().collect();
    let last = records.last()?;
    let disk = disk.fork();
    let spare = format!("journal/{:020}.spare", u32::MAX);
    disk.rename(&name(begun), &spare).expect("it was begun");
    let (segment, from) = (last.segment, last.end());
    let stale = stale.get(&segment).cloned().unwrap_or_else(empty);
    let records = Arc::new(records);
    Some(Case { disk, segment, from, to: from + SEAL, end: from + SEAL, stale, records })
}

fn name(segment: u32) -> String {
    format!("journal/{segment:020}.seg")
}

impl Case {
    fn cut(&self, seed: u64, counters: &mut Counters) {
        let mut digests: BTreeMap<usize, u64> = BTreeMap::new();
        let original = self.disk.contents(&name(self.segment)).expect("it is there");
        for at in self.from..self.to {
            counters.add("cut_points", 1);
            let is_seal = self.records.last().is_some_and(|last| last.end() <= self.from);
            counters.add("seals_cut", u64::from(is_seal));
            counters.add("bases_cut", u64::from(self.from == 4096));
            for &fill in self.fills(at) {
                if let Some(wrong) = self.cut_at(at, fill, &original, &mut digests, counters) {
                    let segment = self.segment;
                    counters.violation(&format!(
                        "segment {segment} cut at byte {at}, then {fill:?}: {wrong}; \
                         `duly-sim small cut --seed {seed}` does it again"
                    ));
                    return;
                }
            }
        }
    }

    /// What is tried behind a cut. An old journal takes ten times as long to replay.
    fn fills(&self, at: u64) -> &'static [Fill] {
        match at % 8 {
            _ if self.records.first().is_none_or(|first| first.first_seq == 1) => {
                &[Fill::Zeros, Fill::Ones, Fill::Stale]
            }
            0 => &[Fill::Zeros, Fill::Stale],
            4 => &[Fill::Ones, Fill::Stale],
            _ => &[Fill::Stale],
        }
    }

    /// Cuts and opens; says what is wrong with what came of it.
    fn cut_at(
        &self,
        at: u64,
        fill: Fill,
        original: &[u8],
        digests: &mut BTreeMap<usize, u64>,
        counters: &mut Counters,
    ) -> Option<String> {
        let range = usize::try_from(at).expect("small")..usize::try_from(self.end).expect("small");
        let behind = match fill {
            Fill::Zeros => vec![0; range.len()],
            Fill::Ones => vec![0xFF; range.len()],
            Fill::Stale => self.stale[range.clone()].to_vec(),
        };
        let is_stale = matches!(fill, Fill::Stale) && behind.iter().any(|byte| *byte != 0);
        counters.add("stale_bytes", u64::from(is_stale));
        // What happens to be the same was not cut.
        let same = original[range].iter().zip(&behind).take_while(|(a, b)| a == b).count() as u64;
        let (cut, is_cut) = (at + same, at + same < self.end);
        let gone = |record: &&Record| record.segment == self.segment && record.end() > cut;
        let first_gone = self.records.iter().find(gone);
        let whole = self.records.len() - self.records.iter().filter(gone).count();

        let disk = self.disk.fork();
        disk.tamper(&name(self.segment), at, &behind);
        counters.add("opened", 1);
        let back = match read_back(&disk) {
            Ok(back) => back,
            Err(error) => return Some(format!("it does not open: {error}")),
        };
        let expected =
            *digests.entry(whole).or_insert_with(|| digest_of(DIRECTORY, &self.records[..whole]));
        if back.records.len() != whole || back.digest != expected {
            let came = back.records.len();
            return Some(format!("{whole} records are whole, {came} came back, or other ones"));
        }
        // A seal that is cut loses nothing; the front of a record that is cut must be named.
        let start = first_gone.map_or(self.from, Record::start);
        let shows = is_cut && cut >= start + CLAIM;
        let torn = back.report.torn.as_ref();
        counters.add("torn", u64::from(torn.is_some()));
        if shows && torn.is_none_or(|torn| torn.offset != start) {
            return Some(format!("what was lost at {start} is not reported: {torn:?}"));
        }
        if at == self.from && torn.is_some() && !matches!(fill, Fill::Ones) {
            return Some(format!("a clean end is called torn: {torn:?}"));
        }
        if counters.value("opened").is_multiple_of(TWICE) {
            counters.add("cut_twice", 1);
            disk.crash(at);
            return match read_back(&disk) {
                Ok(again) if again.digest == expected && again.report.torn.is_none() => None,
                Ok(_) => Some("after another power cut it is another state".to_owned()),
                Err(error @ Error::Corrupt { .. }) => Some(format!("and cut again: {error}")),
                Err(error) => Some(format!("and cut again it does not open: {error}")),
            };
        }
        None
    }
}
