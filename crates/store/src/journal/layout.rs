//! The bytes of a segment: its header, its records, and the checks that tell them from anything else.
//!
//! A record is covered whole by a CRC32C that starts from the segment's salt, so that neither the
//! leftovers of an earlier use of the file nor bytes chosen by a caller can pass for one. Each record
//! also carries the checksum of the one before it: what does not follow does not count.
//!
//! This file knows no files. `docs/format.md` says the same in prose; a change here is a new format
//! version.

use duly_engine::zoo::{self, Bug};

use crate::FORMAT_VERSION;

/// The segment header has the first page for itself, so that no later write can tear it.
pub(super) const FIRST_RECORD: u64 = 4096;
/// The part of the first page that is used.
pub(super) const SEGMENT_HEADER: usize = 64;
/// What a record takes besides its facts.
pub(super) const RECORD_HEADER: usize = 56;
/// Every record begins at a multiple of this.
const ALIGNMENT: usize = 8;

const MAGIC: &[u8; 8] = b"duly-seg";

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The facts every segment opens with: all that does not belong to a single deadline.
    Base,
    /// The facts of one step.
    Facts,
}

const BASE: u8 = 1;
const FACTS: u8 = 2;
const SEAL: u8 = 3;

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Base => BASE,
            Kind::Facts => FACTS,
        }
    }
}

/// What stands at the front of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) salt: u32,
    pub(super) number: u64,
    /// Unique among all uses of all segment files of this directory.
    pub(super) incarnation: u64,
    pub(super) directory: [u8; 8],
    pub(super) length: u64,
    /// The sequence its first record begins with.
    pub(super) first_seq: u64,
    /// The checksum of the last record of the segment before.
    pub(super) previous: u32,
}

/// Why bytes are not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    Newer(u32),
}

impl SegmentHeader {
    /// The bytes, and their checksum, which the first record links to.
    pub(super) fn encode(&self) -> ([u8; SEGMENT_HEADER], u32) {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.directory);
        bytes[40..48].copy_from_slice(&self.length.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.previous.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Magic, version and checksum keep their places in every version, so that damage is never taken
    /// for a newer format.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<(SegmentHeader, u32), BadHeader> {
        let crc = u32_at(bytes, 60);
        if !bytes.starts_with(MAGIC) || crc32c::crc32c(&bytes[..60]) != crc {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(BadHeader::Newer(version));
        }
        let header = SegmentHeader {
            salt: u32_at(bytes, 12),
            number: u64_at(bytes, 16),
            incarnation: u64_at(bytes, 24),
            directory: bytes[32..40].try_into().expect("eight bytes"),
            length: u64_at(bytes, 40),
            first_seq: u64_at(bytes, 48),
            previous: u32_at(bytes, 56),
        };
        Ok((header, crc))
    }

    /// Where a segment's checksums start from. Whoever chooses payloads does not know the seed, and
    /// so cannot write a payload that recovery would take for a record.
    pub(super) fn salt(hash_seed: [u8; 16], number: u64, incarnation: u64) -> u32 {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&hash_seed);
        bytes[16..24].copy_from_slice(&number.to_le_bytes());
        bytes[24..].copy_from_slice(&incarnation.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// What stands before a record's facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) crc: u32,
    /// Bytes of facts.
    pub(super) length: u32,
    pub(super) incarnation: u64,
    pub(super) first_seq: u64,
    pub(super) time_ms: u64,
    /// The highest sequence known to be synced when this was written.
    pub(super) durable_seq: u64,
    pub(super) count: u32,
    /// The checksum of the record before, or of the segment header.
    pub(super) link: u32,
    /// `None` is the seal: nothing follows, and all before it is on the disk.
    pub(super) kind: Option<Kind>,
}

impl RecordHeader {
    /// Appends the whole record to `out` and returns its checksum. `self.crc` is not looked at.
    pub(super) fn encode(&self, salt: u32, facts: &[u8], out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.durable_seq.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.link.to_le_bytes());
        out.push(self.kind.map_or(SEAL, Kind::code));
        out.extend_from_slice(&[0; 7]);
        out.extend_from_slice(facts);
        out.resize(start + record_bytes(facts.len()), 0);
        let crc = crc32c::crc32c_append(salt, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads the fixed part; `None` when it cannot be a header of this incarnation. Nothing is
    /// believed until [`RecordHeader::matches`] has seen the whole record.
    pub(super) fn decode(bytes: &[u8], incarnation: u64) -> Option<RecordHeader> {
        let bytes = bytes.first_chunk::<RECORD_HEADER>()?;
        if u64_at(bytes, 8) != incarnation {
            return None;
        }
        let kind = match bytes[48] {
            BASE => Some(Kind::Base),
            FACTS => Some(Kind::Facts),
            SEAL => None,
            _ => return None,
        };
        let (first_seq, count) = (u64_at(bytes, 16), u32_at(bytes, 40));
        // There is no sequence after the last one.
        first_seq.checked_add(count.into())?;
        Some(RecordHeader {
            crc: u32_at(bytes, 0),
            length: u32_at(bytes, 4),
            incarnation,
            first_seq,
            time_ms: u64_at(bytes, 24),
            durable_seq: u64_at(bytes, 32),
            count,
            link: u32_at(bytes, 44),
            kind,
        })
    }

    /// Whether the whole record, padding included, is what was written.
    pub(super) fn matches(&self, salt: u32, record: &[u8]) -> bool {
        zoo::bites(Bug::ChecksumIgnored) || crc32c::crc32c_append(salt, &record[4..]) == self.crc
    }

    /// The sequence after this record's last.
    pub(super) fn next_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }
}

/// How many bytes of facts were meant to follow, if these bytes look like the start of a record of
/// this incarnation that was never finished.
pub(super) fn claimed_length(bytes: &[u8], incarnation: u64) -> Option<u32> {
    let bytes = bytes.first_chunk::<16>()?;
    (u64_at(bytes, 8) == incarnation).then(|| u32_at(bytes, 4))
}

/// Makes the header of a record say that it belongs to this incarnation.
pub(super) fn own(header: &mut [u8], incarnation: u64) {
    header[8..16].copy_from_slice(&incarnation.to_le_bytes());
}

/// The bytes a record with so many bytes of facts takes.
pub(super) fn record_bytes(facts: usize) -> usize {
    (RECORD_HEADER + facts).next_multiple_of(ALIGNMENT)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
