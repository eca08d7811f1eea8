//! The rows of a small archive damaged in every way, each alone.
//!
//! Every bit of every column flipped as SQL would write it, every bit of the pages they lie in
//! flipped as a disk would, every entry of every index lost or left over. What the archive answers
//! may then be an error, the right record, or, while an index is damaged, nothing; never a wrong
//! record. And whatever is not as it was, looking over the archive (as `duly doctor` does) finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use duly_engine::command::{Address, Filter};
use duly_engine::deadline::Deadline;
use duly_engine::id::{DeadlineId, Generation};
use duly_store::archive::{self, Reader};
use duly_store::disk::MemoryDisk;
use duly_store::{Directory, Error, FreshIdentity};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, params};

use super::archived::catch_up;
use super::folder::Folder;
use super::many;
use super::server::{DIRECTORY, SMALL, Server};
use super::story::Story;
use crate::counters::Counters;

const NAME: &str = "small rows";

/// Turns of the story whose archive is damaged.
const TURNS: usize = 200;

/// Records that are kept of it: few, so that all of their bits can be tried.
const ROWS: usize = 6;

/// Bits of a page that one case flips.
const TOGETHER: u64 = 1024;

/// An archive as it should be, and what it should say.
struct Sound {
    bytes: Vec<u8>,
    last_seq: u64,
    records: BTreeMap<(DeadlineId, Generation), Deadline>,
    latest: BTreeMap<Address, Deadline>,
}

/// One kind of damage, of which there are several places.
enum Case {
    /// Every bit of one column of one row.
    Column { row: i64, column: String },
    /// Some bits of the file.
    Bits { from: u64 },
    /// The entry of a row in an index: lost, or left over.
    Entry { index: String, row: i64, is_lost: bool },
}

/// Damages the archives of as many stories as are asked for.
pub(super) fn run(seed: u64, times: u64) -> anyhow::Result<Counters> {
    let mut counters = Counters::new(NAME);
    for (figure, floor) in
        [("column_bits", 10_000), ("file_bits", 32_768), ("entries", 48), ("found", 30_000)]
    {
        counters.floor(figure, floor * times);
    }
    for seed in seed..seed + times {
        let sound = sound(seed)?;
        let cases = cases(&sound)?;
        let part = many::each(NAME, &cases, |case, counters| {
            let told = case.try_all(&sound, counters);
            for wrong in told.unwrap_or_else(|error| vec![format!("cannot be tried: {error:#}")]) {
                let again = format!("`duly-sim small rows --seed {seed}` does it again");
                counters.violation(&format!("{wrong}; {again}"));
            }
        });
        counters.take_in(&part);
        counters.add("archives", 1);
    }
    Ok(counters)
}

/// A directory that the archive can belong to.
fn directory() -> Result<Directory, Error> {
    let identity = FreshIdentity { id: DIRECTORY, hash_seed: [7; 16] };
    Directory::open(Arc::new(MemoryDisk::new()), identity)
}

fn sound(seed: u64) -> anyhow::Result<Sound> {
    let disk = MemoryDisk::new();
    let mut server = Server::over(&disk, SMALL);
    let mut story = Story::new(seed);
    server.open()?;
    story.begin(&mut server)?;
    for _ in 0..TURNS {
        story.turn(&mut server)?;
    }
    let folder = Folder::new()?;
    let path = folder.archive();
    let last_seq = catch_up(&disk, &path)?;
    let connection = Connection::open(&path)?;
    connection.execute(
        "DELETE FROM records WHERE row NOT IN (SELECT row FROM records ORDER BY row LIMIT ?1)",
        [i64::try_from(ROWS)?],
    )?;
    connection.execute_batch("PRAGMA journal_mode = DELETE; VACUUM;")?;
    drop(connection);
    let reader = Reader::at(&path)?;
    let mut records = BTreeMap::new();
    for (id, generation) in numbers(&path)? {
        let found = reader.by_id(id, generation)?.context("it was just listed")?;
        records.insert((id, generation), found);
    }
    drop(reader);
    ensure!(records.len() == ROWS, "the story has {} final records", records.len());
    let mut latest = BTreeMap::new();
    for deadline in records.values() {
        let at = Address { queue: deadline.queue.clone(), key: deadline.key.clone() };
        latest.insert(at, deadline.clone());
    }
    Ok(Sound { bytes: fs::read(&path)?, last_seq, records, latest })
}

fn numbers(path: &Path) -> anyhow::Result<Vec<(DeadlineId, Generation)>> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT id, generation FROM records ORDER BY row")?;
    let rows = statement.query_map([], |row| {
        Ok((DeadlineId(row.get::<_, i64>(0)?.unsigned_abs()), Generation(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn cases(sound: &Sound) -> anyhow::Result<Vec<Case>> {
    let folder = Folder::new()?;
    let path = folder.archive();
    fs::write(&path, &sound.bytes)?;
    let connection = Connection::open(&path)?;
    let texts = |sql: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let columns = texts("SELECT name FROM pragma_table_info('records') WHERE name <> 'row'")?;
    let indexes =
        texts("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'records'")?;
    let rows: Vec<i64> = connection
        .prepare("SELECT row FROM records")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let pages: Vec<u64> = connection
        .prepare("SELECT pgoffset FROM dbstat WHERE name = 'records'")?
        .query_map([], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?
        .collect::<rusqlite::Result<_>>()?;
    let page_bytes: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let mut cases = Vec::new();
    for &row in &rows {
        cases.extend(columns.iter().map(|column| Case::Column { row, column: column.clone() }));
        for index in &indexes {
            for is_lost in [false, true] {
                cases.push(Case::Entry { index: index.clone(), row, is_lost });
            }
        }
    }
    for page in pages {
        let bits = page * 8..(page + page_bytes.unsigned_abs()) * 8;
        let step = usize::try_from(TOGETHER)?;
        cases.extend(bits.step_by(step).map(|from| Case::Bits { from }));
    }
    Ok(cases)
}

impl Case {
    /// Tries all of it; says what came out wrong.
    fn try_all(&self, sound: &Sound, counters: &mut Counters) -> anyhow::Result<Vec<String>> {
        let folder = Folder::new()?;
        let path = folder.archive();
        let mut wrong = Vec::new();
        match self {
            Case::Column { row, column } => {
                start_over(sound, &path)?;
                let connection = Connection::open(&path)?;
                connection.execute_batch("PRAGMA synchronous = OFF;")?;
                let sql = format!("SELECT {column} FROM records WHERE row = ?1");
                let before: Value = connection.query_row(&sql, [row], |found| found.get(0))?;
                let sql = format!("UPDATE records SET {column} = ?1 WHERE row = ?2");
                let mut update = connection.prepare(&sql)?;
                let reader = Reader::at(&path)?;
                for bit in 0..bits(&before) {
                    // Two rows cannot have the same number, not even by such an accident.
                    if update.execute(params![flipped(&before, bit), row]).is_err() {
                        counters.add("refused", 1);
                        continue;
                    }
                    counters.add("column_bits", 1);
                    let judged = sound.judge(&path, Ok(&reader), true, counters);
                    let what = format!("bit {bit} of {column} of row {row}");
                    wrong.extend(judged.map(|why| format!("{what}: {why}")));
                }
            }
            Case::Bits { from } => {
                for bit in *from..*from + TOGETHER {
                    let mut bytes = sound.bytes.clone();
                    bytes[usize::try_from(bit / 8)?] ^= 1 << (bit % 8);
                    fs::write(&path, &bytes)?;
                    counters.add("file_bits", 1);
                    let reader = Reader::at(&path);
                    let what = format!("bit {bit} of the file");
                    let judged = sound.judge(&path, reader.as_ref(), false, counters);
                    wrong.extend(judged.map(|why| format!("{what}: {why}")));
                }
            }
            Case::Entry { index, row, is_lost } => {
                start_over(sound, &path)?;
                damage_index(&path, index, *row, *is_lost)?;
                counters.add("entries", 1);
                let word = if *is_lost { "lost" } else { "left over" };
                let what = format!("the entry of row {row} in {index} {word}");
                let judged = sound.judge(&path, Reader::at(&path).as_ref(), true, counters);
                wrong.extend(judged.map(|why| format!("{what}: {why}")));
            }
        }
        Ok(wrong)
    }
}

/// Puts the sound archive there, and nothing beside it.
fn start_over(sound: &Sound, path: &Path) -> anyhow::Result<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        fs::remove_file(PathBuf::from(beside)).unwrap_or_default();
    }
    Ok(fs::write(path, &sound.bytes)?)
}

/// How many bits a value has that can be flipped.
fn bits(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        // SQLite has no sign bit of zero and no number beyond 63 bits for us.
        Value::Integer(_) => 63,
        Value::Real(_) => 64,
        Value::Text(text) => text.len() * 8,
        Value::Blob(bytes) => bytes.len() * 8,
    }
}

/// A value that may be no good text.
struct Raw(Value, Vec<u8>);

impl rusqlite::ToSql for Raw {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            Value::Text(_) => ValueRef::Text(&self.1),
            Value::Blob(_) => ValueRef::Blob(&self.1),
            other => other.into(),
        }))
    }
}

fn flipped(value: &Value, bit: usize) -> Raw {
    let in_bytes = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    match value {
        Value::Integer(number) => Raw(Value::Integer(number ^ (1 << bit)), Vec::new()),
        Value::Text(text) => Raw(value.clone(), in_bytes(text.as_bytes())),
        Value::Blob(bytes) => Raw(value.clone(), in_bytes(bytes)),
        Value::Null | Value::Real(_) => Raw(value.clone(), Vec::new()),
    }
}

/// Hides an index from the database while a row goes or comes, so that it does not hear of it.
fn damage_index(path: &Path, index: &str, row: i64, is_lost: bool) -> anyhow::Result<()> {
    let hide = format!(
        "PRAGMA writable_schema = ON;
         CREATE TABLE hidden AS SELECT * FROM sqlite_schema WHERE name = '{index}';
         DELETE FROM sqlite_schema WHERE name = '{index}';
         PRAGMA writable_schema = RESET;"
    );
    let delete = format!("DELETE FROM records WHERE row = {row};");
    let show = "PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema SELECT * FROM hidden;
         PRAGMA writable_schema = RESET;
         DROP TABLE hidden;";
    let keep = format!("CREATE TABLE kept AS SELECT * FROM records WHERE row = {row};");
    let restore = "INSERT INTO records SELECT * FROM kept; DROP TABLE kept;";
    let steps = if is_lost {
        [keep.as_str(), &delete, &hide, restore, show]
    } else {
        [keep.as_str(), &hide, &delete, show, "DROP TABLE kept;"]
    };
    for step in steps {
        // A new connection each: the schema is read anew.
        Connection::open(path)?.execute_batch(step).context(step.to_owned())?;
    }
    Ok(())
}

impl Sound {
    /// Asks a damaged archive everything and looks it over; says what is wrong with what came of it.
    fn judge(
        &self,
        path: &Path,
        reader: Result<&Reader, &Error>,
        must_be_found: bool,
        counters: &mut Counters,
    ) -> Option<String> {
        let found = {
            let directory = directory().expect("a disk in memory works");
            match archive::examine(path, &directory, Some(self.last_seq), &mut |_| {}) {
                Ok(Some(examined)) => !examined.faults.is_empty(),
                Ok(None) | Err(_) => true,
            }
        };
        counters.add(if found { "found" } else { "unfound" }, 1);
        let answers = match reader.map(|reader| self.ask(reader)) {
            Ok(Ok(answers)) => answers,
            Ok(Err(wrong)) => return Some(wrong),
            Err(_) => Answers::Refused,
        };
        counters.add(answers.word(), 1);
        match answers {
            _ if must_be_found && !found => Some("looking it over finds nothing".to_owned()),
            Answers::Lacking if !found => Some("a record is lost and nobody knows".to_owned()),
            // An error that nobody finds beforehand would come as a surprise.
            Answers::Refused if !found => {
                Some("it fails and looking it over is content".to_owned())
            }
            Answers::Right | Answers::Lacking | Answers::Refused => None,
        }
    }

    /// Asks about every record in every way; the error is a wrong record.
    fn ask(&self, reader: &Reader) -> Result<Answers, String> {
        let mut worst = Answers::Right;
        for ((id, generation), sound) in &self.records {
            worst = worst.max(self.one(reader.by_id(*id, *generation), sound)?);
        }
        for (at, sound) in &self.latest {
            worst = worst.max(self.one(reader.latest(at), sound)?);
            worst = worst.max(self.page(reader, at)?);
        }
        Ok(worst)
    }

    fn one(
        &self,
        said: Result<Option<Deadline>, Error>,
        sound: &Deadline,
    ) -> Result<Answers, String> {
        match said {
            Ok(Some(deadline)) if deadline == *sound => Ok(Answers::Right),
            Ok(Some(deadline)) if self.is_known(&deadline) => Ok(Answers::Lacking),
            Ok(Some(deadline)) => Err(format!("a wrong record: {deadline:?}")),
            Ok(None) => Ok(Answers::Lacking),
            Err(_) => Ok(Answers::Refused),
        }
    }

    fn page(&self, reader: &Reader, at: &Address) -> Result<Answers, String> {
        match reader.page(&at.queue, &Filter::default(), None, 100) {
            Ok(page) => {
                let of_queue = self.records.values().filter(|one| one.queue == at.queue).count();
                match page.deadlines.iter().find(|one| !self.is_known(one)) {
                    Some(wrong) => Err(format!("a wrong record in a list: {wrong:?}")),
                    None if page.deadlines.len() == of_queue => Ok(Answers::Right),
                    None => Ok(Answers::Lacking),
                }
            }
            Err(_) => Ok(Answers::Refused),
        }
    }

    fn is_known(&self, deadline: &Deadline) -> bool {
        self.records.get(&(deadline.id, deadline.generation)) == Some(deadline)
    }
}

/// What the answers of a damaged archive were, at worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    /// All right.
    Right,
    /// Some were errors.
    Refused,
    /// Something was not found.
    Lacking,
}

impl Answers {
    fn word(self) -> &'static str {
        match self {
            Answers::Right => "answered_right",
            Answers::Refused => "answered_by_errors",
            Answers::Lacking => "answered_in_part",
        }
    }
}
