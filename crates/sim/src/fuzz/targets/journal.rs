//! The journal: segments with records that are right but for what the input says.
//!
//! Random bytes never get past a checksum, so the input is a script: what stands in the header, then
//! one record after the other, each right or wrong in a way of its own, checksums made last. The
//! layout is written here once more, from `docs/format.md`, not from the product. What is replayed
//! must be exactly the good records from the front, or the journal is refused as damaged or newer;
//! what was opened once opens again with the same records.

use std::sync::Arc;

use duly_store::disk::{Disk, MemoryDisk, Open};
use duly_store::journal::{self, Options, Report};
use duly_store::{Directory, Error, FORMAT_VERSION, FreshIdentity};

use super::Fate;

const FRESH: FreshIdentity = FreshIdentity { id: [1; 8], hash_seed: [2; 16] };
const SEGMENT: usize = 16 << 10;
const FIRST_RECORD: usize = 4_096;
const OPTIONS: Options = Options { segment_bytes: SEGMENT as u64, reserve: 0 };
const NAME: &str = "journal/00000000000000000001.seg";
const SALT: u32 = 0x5eed;
const INCARNATION: u64 = 3;

/// What may be wrong with the header, each by a bit.
const HEADER_FLAWS: u8 = 0b0011_1111;
/// What may be wrong with a record, each by a bit; the two lowest are its kind.
const RECORD_FLAWS: u8 = 0b1111_0000;

/// A record as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    first_seq: u64,
    count: u32,
    facts: Vec<u8>,
}

/// A segment, and what of it must be replayed.
struct Script {
    bytes: Vec<u8>,
    good: Vec<Made>,
    flawed: bool,
}

/// The input is a script.
pub(super) fn feed(input: &[u8]) -> Fate {
    let script = Script::read(input);
    let disk = MemoryDisk::new();
    let directory = Directory::open(Arc::new(disk.clone()), FRESH).expect("the disk is good");
    disk.create_dir("journal").expect("the disk is good");
    let file = disk.open(NAME, Open::New).expect("the disk is good");
    let written = file.write_at(&script.bytes, 0).expect("the disk is good");
    assert_eq!(written, script.bytes.len(), "memory takes everything at once");
    match open(&directory) {
        Ok((report, replayed)) => {
            assert_eq!(replayed, script.good, "other records were replayed: {report:?}");
            let (again, same) = open(&directory).expect("what was opened opens again");
            assert_eq!(same, replayed, "the second time other records were replayed");
            assert!(again.torn.is_none(), "a tail that was cut is torn again: {again:?}");
            Fate::taken((replayed.len(), report.torn.is_some()))
        }
        Err(error @ (Error::Corrupt { .. } | Error::NewerFormat { .. })) => {
            assert!(script.flawed, "a good journal was refused: {error}");
            let words = error.to_string();
            Fate::refused(words.chars().filter(|char| !char.is_ascii_digit()).collect::<String>())
        }
        Err(other) => panic!("a journal is right, damaged or newer: {other}"),
    }
}

fn open(directory: &Directory) -> Result<(Report, Vec<Made>), Error> {
    let mut replayed = Vec::new();
    let journal = journal::open(directory, OPTIONS, &mut |record| {
        let (first_seq, count, facts) = (record.first_seq, record.count, record.facts.to_vec());
        replayed.push(Made { first_seq, count, facts });
        Ok(())
    })?;
    assert_eq!(journal.report.records, replayed.len() as u64, "records were not counted");
    let last = replayed.last().map_or(0, |last| last.first_seq + u64::from(last.count));
    assert!(journal.report.next_seq >= last, "a sequence would be given twice");
    Ok((journal.report, replayed))
}

impl Script {
    fn read(input: &[u8]) -> Script {
        let mut input = input.iter().copied();
        let mut next = || input.next();
        let flaws = next().unwrap_or(0) & HEADER_FLAWS;
        let first_seq = match next().unwrap_or(0) {
            0..=199 => 1,
            200..=229 => 1 << 40,
            close => u64::MAX - u64::from(255 - close),
        };
        let (bytes, mut link) = header(flaws, first_seq);
        let mut script = Script { bytes, good: Vec::new(), flawed: flaws != 0 };
        let (mut at, mut seq, mut ended) = (FIRST_RECORD, first_seq, flaws != 0);
        while let (Some(what), Some(length)) = (next(), next()) {
            let facts: Vec<u8> = std::iter::from_fn(&mut next).take(length.into()).collect();
            let kind = [2, 1, 3, 9][usize::from(what & 0b11)];
            let facts = if kind == 3 { Vec::new() } else { facts };
            // A seal takes no sequence.
            let count = if kind == 3 { 0 } else { u32::from(what >> 2 & 0b11) };
            let record = Record { flaws: what & RECORD_FLAWS, kind, seq, count, link };
            let made = record.bytes(&facts);
            if at + made.len() > SEGMENT {
                break;
            }
            script.bytes[at..at + made.len()].copy_from_slice(&made);
            at += made.len();
            let base = kind == 1;
            let follows = kind != 9 && (kind == 3 || base == script.good.is_empty());
            let counts = seq.checked_add(count.into()).is_some();
            let good = record.flaws == 0 && follows && counts;
            script.flawed |= !good;
            ended |= !good;
            if !ended && kind != 3 {
                script.good.push(Made { first_seq: seq, count, facts });
            }
            // Nothing counts behind a seal.
            ended |= kind == 3;
            link = u32::from_le_bytes([made[0], made[1], made[2], made[3]]);
            seq = seq.saturating_add(count.into());
        }
        // Segments before this one are gone, so its base was on the disk once.
        script.flawed |= script.good.is_empty() && first_seq > 1;
        script
    }
}

/// The segment with its header, and the checksum that the first record links to.
fn header(flaws: u8, first_seq: u64) -> (Vec<u8>, u32) {
    let flaw = |bit: u8| u64::from(flaws >> bit & 1);
    let mut bytes = vec![0; SEGMENT];
    bytes[0..8].copy_from_slice(b"duly-seg");
    bytes[8..12].copy_from_slice(&(FORMAT_VERSION + u32::from(flaws & 1)).to_le_bytes());
    bytes[12..16].copy_from_slice(&SALT.to_le_bytes());
    bytes[16..24].copy_from_slice(&(1 + flaw(1)).to_le_bytes());
    bytes[24..32].copy_from_slice(&INCARNATION.to_le_bytes());
    bytes[32..40].copy_from_slice(&[1 + u8::from(flaws >> 2 & 1 == 1); 8]);
    bytes[40..48].copy_from_slice(&(SEGMENT as u64 + flaw(3) * (1 << 50)).to_le_bytes());
    bytes[48..56].copy_from_slice(&first_seq.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]) ^ u32::from(flaws >> 4 & 1);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    if flaws >> 5 & 1 == 1 {
        bytes[0] = b'D';
    }
    (bytes, crc)
}

struct Record {
    flaws: u8,
    kind: u8,
    seq: u64,
    count: u32,
    link: u32,
}

impl Record {
    fn bytes(&self, facts: &[u8]) -> Vec<u8> {
        let flaw = |bit: u8| u64::from(self.flaws >> bit & 1);
        let mut bytes = vec![0; 4];
        let length = u32::try_from(facts.len()).expect("it is at most 255");
        bytes.extend_from_slice(
            &(length + u32::from(self.flaws >> 4 & 1) * (1 << 30)).to_le_bytes(),
        );
        bytes.extend_from_slice(&INCARNATION.to_le_bytes());
        bytes.extend_from_slice(&self.seq.wrapping_add(flaw(5)).to_le_bytes());
        bytes.extend_from_slice(&1_795_348_800_000_u64.to_le_bytes());
        // Synced is what was before.
        bytes.extend_from_slice(&self.seq.saturating_sub(1).to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&(self.link ^ u32::from(self.flaws >> 6 & 1)).to_le_bytes());
        bytes.push(self.kind);
        bytes.extend_from_slice(&[0; 7]);
        bytes.extend_from_slice(facts);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let crc = crc32c::crc32c_append(SALT, &bytes[4..]) ^ u32::from(self.flaws >> 7);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}
