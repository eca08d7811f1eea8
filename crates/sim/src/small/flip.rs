//! Every single bit of a small journal flipped.
//!
//! A flip must be found, or change nothing at all, or hit records that nothing on the disk proves to
//! have been promised; those are cut like a torn tail, and reported. Nothing else may come of it.

use std::ops::Range;

use duly_store::Error;
use duly_store::disk::MemoryDisk;
use duly_store::journal::Kind;

use super::cut::pictures;
use super::digest::{Record, digest_of, read_back};
use super::many;
use super::server::DIRECTORY;
use crate::counters::Counters;

const NAME: &str = "small flip";

/// Bits flipped in an ordinary run: those of 16 KiB.
const FLOOR: u64 = 131_072;

/// The turns of a story that pictures are taken of: it has filled some segments by then.
const TURNS: Range<usize> = 250..500;

/// Bits that one case flips, one after another.
const TOGETHER: usize = 512;

/// Some bits of one segment of one disk.
struct Case<'a> {
    picture: &'a Picture,
    segment: u32,
    from_bit: u64,
}

/// A journal as it is, and what of it nothing proves.
struct Picture {
    disk: MemoryDisk,
    records: Vec<Record>,
    digest: u64,
    /// Were the first records of its last segment just written?
    is_begun: bool,
    /// Where in the last segment the first record begins that may be taken for a torn tail.
    unproved: u64,
}

/// Flips every bit of as many journals as it takes.
pub(super) fn run(seed: u64, times: u64) -> anyhow::Result<Counters> {
    let mut counters = Counters::new(NAME);
    counters.floor("flips", FLOOR * times);
    for figure in ["found", "harmless", "cut"] {
        counters.floor(figure, 1_000);
    }
    let mut seed = seed;
    while counters.value("flips") < FLOOR * times && counters.violations() == 0 {
        let pictures = choose(seed)?;
        let mut cases = Vec::new();
        for picture in &pictures {
            let last = picture.records.last().expect("something was written");
            // The last segment and, once, the sealed one before it: whole files both.
            let sealed = (!picture.is_begun).then_some(last.segment - 1);
            for segment in sealed.into_iter().chain([last.segment]) {
                let length = picture.disk.contents(&name(segment)).expect("it is there").len();
                let end = if picture.is_begun { last.end() } else { length as u64 };
                for from_bit in (0..end * 8).step_by(TOGETHER) {
                    cases.push(Case { picture, segment, from_bit });
                }
            }
        }
        let part = many::each(NAME, &cases, |case, counters| case.flip(seed, counters));
        counters.take_in(&part);
        counters.add("journals", 1);
        seed += 1;
    }
    Ok(counters)
}

/// Two pictures of a story: one as it usually is, one just after a segment was begun, when its first
/// two records were written together and neither proves the other.
fn choose(seed: u64) -> anyhow::Result<Vec<Picture>> {
    let mut usual = None;
    let mut begun = None;
    for disk in pictures(seed, TURNS)? {
        let back = read_back(&disk.fork())?;
        let last = back.records.last().expect("something was written");
        let is_begun = back.records.iter().rev().nth(1).is_some_and(|one| one.kind == Kind::Base);
        if last.segment < 3 {
            continue;
        }
        let proven = |record: &&Record| {
            let later = back.records.iter().filter(|later| {
                later.segment == record.segment && later.first_seq > record.first_seq
            });
            later.map(|later| later.durable_seq).max().unwrap_or(0) < record.first_seq
        };
        let here = back.records.iter().filter(|record| record.segment == last.segment);
        let unproved = here.clone().find(proven).map_or(last.end(), Record::start);
        let digest = back.digest;
        let picture = Picture { disk, digest, is_begun, unproved, records: back.records };
        *(if is_begun { &mut begun } else { &mut usual }) = Some(picture);
    }
    Ok([usual, begun].into_iter().flatten().collect())
}

fn name(segment: u32) -> String {
    format!("journal/{segment:020}.seg")
}

impl Case<'_> {
    fn flip(&self, seed: u64, counters: &mut Counters) {
        for bit in self.from_bit..self.from_bit + TOGETHER as u64 {
            if let Some(wrong) = self.flip_bit(bit, counters) {
                let segment = self.segment;
                counters.violation(&format!(
                    "bit {bit} of segment {segment} flipped: {wrong}; \
                     `duly-sim small flip --seed {seed}` does it again"
                ));
            }
        }
    }

    /// Flips a bit and opens; says what is wrong with what came of it.
    fn flip_bit(&self, bit: u64, counters: &mut Counters) -> Option<String> {
        let Picture { disk, records, digest, unproved, .. } = self.picture;
        let disk = disk.fork();
        disk.flip(&name(self.segment), bit);
        counters.add("flips", 1);
        let back = match read_back(&disk) {
            Ok(back) => back,
            Err(Error::Corrupt { .. }) => {
                counters.add("found", 1);
                return None;
            }
            Err(error) => return Some(format!("neither opened nor corrupt: {error}")),
        };
        if back.digest == *digest && back.records == *records {
            // Leftovers of another use may look like the beginning of a record now: a false alarm.
            let is_alarm = back.report.torn.is_some();
            counters.add(if is_alarm { "false_alarms" } else { "harmless" }, 1);
            return None;
        }
        let last = records.last().expect("something was written");
        let byte = bit / 8;
        let is_unproved = self.segment == last.segment && (*unproved..last.end()).contains(&byte);
        if !is_unproved {
            return Some("what is proved is not found to be damaged".to_owned());
        }
        let hit = records.iter().filter(|record| record.segment == self.segment);
        let before = hit.clone().filter(|record| record.end() > byte).count();
        let kept = &records[..records.len() - before];
        if back.digest != digest_of(DIRECTORY, kept) {
            return Some(format!("{} records should be left", kept.len()));
        }
        counters.add("cut", 1);
        back.report.torn.is_none().then(|| "what was cut is not reported".to_owned())
    }
}
