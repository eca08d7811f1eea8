//! What a watch must know after a restart, in one small file of the data directory.
//!
//! Where it began, up to when every row has been seen, and whether the table's times have been seen
//! to fit the clock. The deadlines themselves remember the rest. A bookmark that is older than it
//! might be costs a wider reading and nothing else, so it is written seldom; its beginning is
//! written before the first row is armed. One that cannot be read stops the start: to begin anew by
//! itself would be to forget where it began.

use std::io;
use std::path::Path;

use duly_engine::id::QueueName;
use duly_engine::time::{Span, Time};
use serde::{Deserialize, Serialize};

use crate::config::{Watch, WatchStart};
use crate::note::Note;

/// What a restart begins with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bookmark {
    /// Which table, and how it is read: with another one it is another watch.
    table: String,
    /// What the configuration said about where to begin.
    start_said: String,
    /// The zone that its times were read in.
    zone: String,
    /// Rows created before this are left alone, in milliseconds since 1970.
    #[serde(with = "millis")]
    pub(super) start: Time,
    /// Every row created and committed before this has been seen.
    #[serde(with = "millis")]
    pub(super) covered: Time,
    /// The table's times have been seen to fit the server's clock.
    pub(super) agreed: bool,
}

mod millis {
    use super::{Deserialize, Time};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub(super) fn serialize<S: serde::Serializer>(at: &Time, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.millis())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        u64::deserialize(from).map(Time::from_millis)
    }
}

/// Columns with whole seconds would miss what was created in the second of the start.
const SECOND: Span = Span::from_secs(1);

impl Bookmark {
    /// Of a first start, now.
    pub(super) fn first(rules: &Watch, now: Time) -> Bookmark {
        let start = match rules.start {
            WatchStart::Now => now.minus(SECOND),
            WatchStart::All => Time::ZERO,
            WatchStart::At(at) => at,
        };
        Bookmark {
            table: identity(rules),
            start_said: said(rules),
            zone: zone(rules),
            start,
            covered: start,
            agreed: false,
        }
    }

    /// Is it about this watch, as the configuration has it now?
    fn is_of(&self, rules: &Watch) -> bool {
        self.table == identity(rules) && self.start_said == said(rules)
    }
}

/// Which rows are meant: another table or column is another watch.
fn identity(rules: &Watch) -> String {
    format!("{:?}", [&rules.database, &rules.table, &rules.key, &rules.created])
}

fn zone(rules: &Watch) -> String {
    let name = rules.time_zone.iana_name().map(str::to_owned);
    name.unwrap_or_else(|| format!("{:?}", rules.time_zone))
}

fn said(rules: &Watch) -> String {
    match rules.start {
        WatchStart::Now => "now".to_owned(),
        WatchStart::All => "all".to_owned(),
        WatchStart::At(at) => at.millis().to_string(),
    }
}

/// Where the bookmark of a watch is kept.
pub(super) fn note_of(data: &Path, watch: &QueueName) -> Note<Bookmark> {
    Note::of(data, "watches", watch.as_str())
}

/// What the note says about this watch; none at a first start, or when the watch has become another.
pub(super) fn read(note: &Note<Bookmark>, rules: &Watch) -> io::Result<Option<Bookmark>> {
    let Some(mut bookmark) = note.read()?.filter(|bookmark| bookmark.is_of(rules)) else {
        return Ok(None);
    };
    if bookmark.zone != zone(rules) {
        // It begins where it began; but its times have to be believed anew.
        (bookmark.zone, bookmark.agreed) = (zone(rules), false);
    }
    Ok(Some(bookmark))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::rules;
    use super::*;
    use crate::config::WatchDue;
    use crate::units::time_zone;

    const NOON: Time = Time::from_millis(1_795_348_800_000);

    fn file(name: &str) -> Note<Bookmark> {
        let folder =
            std::env::temp_dir().join(format!("duly-bookmark-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder takes folders");
        note_of(&folder, &QueueName::new("orders").expect("it is a good name"))
    }

    fn gone(file: &Note<Bookmark>) {
        let folder = file.path().parent().and_then(Path::parent).expect("it lies in two folders");
        fs::remove_dir_all(folder).expect("the folder is the test's own");
    }

    #[test]
    fn a_bookmark_is_read_as_it_was_written_and_replaced_as_a_whole() {
        let (file, rules) = (file("whole"), rules());
        assert_eq!(read(&file, &rules).expect("there is none"), None);
        let mut bookmark = Bookmark::first(&rules, NOON);
        for agreed in [false, true] {
            bookmark.agreed = agreed;
            bookmark.covered = bookmark.covered.plus(SECOND);
            file.write(&bookmark).expect("the folder can be written to");
            assert_eq!(read(&file, &rules).expect("it is there"), Some(bookmark.clone()));
        }
        gone(&file);
    }

    #[test]
    fn another_table_begins_anew_and_another_zone_only_loses_the_trust() {
        let (file, rules) = (file("other"), rules());
        let bookmark = Bookmark { agreed: true, ..Bookmark::first(&rules, NOON) };
        file.write(&bookmark).expect("the folder can be written to");
        let other = Watch { table: "invoices".to_owned(), ..rules.clone() };
        assert_eq!(read(&file, &other).expect("it can be read"), None);
        let other = Watch { start: WatchStart::All, ..rules.clone() };
        assert_eq!(read(&file, &other).expect("it can be read"), None);
        let other = Watch { due: WatchDue::After(SECOND), acts: false, ..rules.clone() };
        assert_eq!(read(&file, &other).expect("it can be read"), Some(bookmark.clone()));
        let zone = time_zone("Europe/Berlin").expect("it is known");
        let read = read(&file, &Watch { time_zone: zone, ..rules }).expect("it can be read");
        let read = read.expect("it is the same watch");
        assert_eq!(
            (read.start, read.covered, read.agreed),
            (bookmark.start, bookmark.covered, false)
        );
        gone(&file);
    }

    #[test]
    fn one_that_cannot_be_read_is_not_forgotten() {
        let (file, rules) = (file("torn"), rules());
        file.write(&Bookmark::first(&rules, NOON)).expect("the folder can be written to");
        fs::write(file.path(), "{\"table\":").expect("the folder can be written to");
        assert!(read(&file, &rules).is_err());
        gone(&file);
    }
}
