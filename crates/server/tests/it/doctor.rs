//! `duly doctor` against directories that a server left behind, sound and damaged.
//!
//! Each directory comes from a server that was killed, so that write-ahead files are there too. What
//! it looks at must stay as it is, to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use super::cli::{Said, Server, duly, said};

/// A server that has done something of everything, and is gone.
fn killed(name: &str) -> Server {
    let mut server = Server::start(name, &["--clock", "manual"]);
    for order in 1..=20 {
        let scheduled = server.ask(&format!("schedule orders {order} --after 30m"));
        assert_eq!(scheduled.status, 0, "{scheduled:?}");
    }
    for order in 1..=10 {
        assert_eq!(server.ask(&format!("settle orders {order} paid")).status, 0);
    }
    server.advance("1h");
    // Archived and evicted, which is when a final record is looked up.
    assert_eq!(server.ask("get orders 3").status, 0);
    archived(&server.directory.path("data"), 10);
    server.kill();
    server
}

/// Waits until so many records are in the archive.
fn archived(data: &Path, wanted: i64) {
    let connection = Connection::open_with_flags(
        data.join("archive.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .expect("the archive is there");
    let count = || connection.query_row("SELECT count(*) FROM records", [], |row| row.get(0));
    while count().unwrap_or(0) < wanted {
        std::thread::yield_now();
    }
}

fn doctor(server: &Server, more: &[&str]) -> Said {
    let data = server.directory.path("data");
    let data = data.to_str().expect("the path is text");
    said(duly(&["doctor", "--data", data]).args(more).env("DULY_CLOCK_SOURCE", "manual"))
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("it can be listed to the end").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("the file can be read"));
        }
    }
    found
}

#[test]
fn a_sound_directory_is_called_sound_and_left_as_it_is() {
    let server = killed("doctor-sound");
    let data = server.directory.path("data");
    let before = files(&data);
    assert!(before.keys().any(|path| path.ends_with("archive.db-wal")), "it was killed");
    let told = doctor(&server, &[]);
    assert_eq!(told.status, 0, "{told:?}");
    for words in ["journal", "archive", "10 records", "orders", "10 ready", "nobody acts"] {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
    let told = doctor(&server, &["--json"]);
    let read: Value = serde_json::from_str(&told.out).expect("it prints JSON");
    assert_eq!(read["in_use"], false);
    assert_eq!(read["healthy"], false, "nobody acts, which is for somebody to mend");
    assert!(files(&data) == before, "it changed something");
}

#[test]
fn a_copy_without_its_lock_gets_none() {
    let server = killed("doctor-copy");
    let data = server.directory.path("data");
    fs::remove_file(data.join("lock")).expect("it was there");
    let told = doctor(&server, &[]);
    assert_eq!(told.status, 0, "{told:?}");
    assert!(!data.join("lock").exists(), "it made a lock");
}

#[test]
fn a_flipped_bit_of_the_journal_is_named() {
    let server = killed("doctor-journal");
    let path = server.directory.path("data").join("journal/00000000000000000001.seg");
    let mut bytes = fs::read(&path).expect("the first segment is there");
    bytes[4096 + 60] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    let told = doctor(&server, &[]);
    assert_eq!(told.status, 65, "{told:?}");
    assert!(told.out.contains("00000000000000000001.seg is corrupt at byte 4096"), "{}", told.out);
    // The archive is looked at all the same.
    assert!(told.out.contains("10 records"), "{}", told.out);
}

#[test]
fn a_damaged_row_and_a_lost_index_entry_of_the_archive_are_found() {
    let server = killed("doctor-archive");
    let path = server.directory.path("data").join("archive.db");
    let connection = Connection::open(&path).expect("it opens");
    connection
        .execute_batch("UPDATE records SET outcome = 'paie' WHERE key = '7'")
        .expect("it can be written");
    let told = doctor(&server, &[]);
    assert_eq!(told.status, 65, "{told:?}");
    assert!(told.out.contains("does not match its checksum"), "{}", told.out);

    connection
        .execute_batch(
            "UPDATE records SET outcome = 'paid' WHERE key = '7';
             PRAGMA writable_schema = ON;
             CREATE TABLE hidden AS SELECT * FROM sqlite_schema WHERE name = 'records_by_key';
             DELETE FROM sqlite_schema WHERE name = 'records_by_key';
             PRAGMA writable_schema = RESET;",
        )
        .expect("it can be written");
    drop(connection);
    let connection = Connection::open(&path).expect("it opens");
    connection
        .execute_batch(
            "UPDATE records SET key = 'x' || key WHERE key = '7';
             PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema SELECT * FROM hidden;
             PRAGMA writable_schema = RESET;",
        )
        .expect("it can be written");
    drop(connection);
    let told = doctor(&server, &["--json"]);
    assert_eq!(told.status, 65, "{told:?}");
    assert!(told.out.contains("records_by_key"), "{}", told.out);
}

#[test]
fn a_server_that_runs_is_asked_instead() {
    let server = Server::start("doctor-running", &[]);
    assert_eq!(server.ask("schedule orders 1 --after 30m").status, 0);
    let url = server.url();
    let told = doctor(&server, &["--url", &url]);
    assert_eq!(told.status, 0, "{told:?}");
    for words in ["a server is using it", "ready at", "trusted", "1 pending", "nobody acts"] {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
    let told = doctor(&server, &["--json", "--url", "http://127.0.0.1:9"]);
    assert_eq!(told.status, 75, "{told:?}");
    assert!(told.out.contains("\"in_use\":true"), "{told:?}");
}

#[test]
fn a_directory_that_is_not_there_is_a_wrong_setting() {
    let told = said(&mut duly(&["doctor", "--data", "/nowhere/at/all"]));
    assert_eq!(told.status, 78, "{told:?}");
    assert!(told.err.contains("/nowhere/at/all"), "{told:?}");
}
