//! What was frozen is opened by the binary itself, and what is newer than it is refused by name.
//!
//! `duly-sim serve` is `duly serve`; only the zoo of defects is in it too, locked up.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use duly::client::Client;
use duly_store::FORMAT_VERSION;
use hyper::Method;
use serde_json::{Map, Value};

/// A copy of a frozen directory; gone with the test.
struct Copy(PathBuf);

impl Copy {
    fn of(version: &str) -> Copy {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("duly-upgrade-{}-{number}", std::process::id());
        let copy = Copy(std::env::temp_dir().join(name));
        fs::create_dir_all(copy.0.join("journal")).expect("a folder for this test");
        for folder in ["", "journal"] {
            for entry in fs::read_dir(frozen(version).join(folder)).expect("it is there") {
                let path = entry.expect("it can be listed").path();
                if path.is_file() {
                    let to = copy.0.join(folder).join(path.file_name().expect("a file"));
                    fs::copy(&path, to).expect("it can be copied");
                }
            }
        }
        copy
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_duly-sim"));
        command
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--redis",
                "off",
                "--clock",
                "manual",
                "--data",
            ])
            .arg(&self.0)
            .env("DULY_LOG_FORMAT", "json")
            .env("DULY_JOURNAL_SEGMENT_SIZE", "1MiB")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// The first segment of its journal.
    fn segment(&self) -> PathBuf {
        let entries = fs::read_dir(self.0.join("journal")).expect("it is there");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        let segments = paths.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
        segments.min().expect("there is one")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version)
}

/// A server; it is killed when its test is over.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_binary_opens_what_was_frozen_and_answers_as_it_did() {
    for version in ["v1", "v2"] {
        opened(version);
    }
}

/// It starts on a copy of what that version left, and answers every question as written beside it.
fn opened(version: &str) {
    let copy = Copy::of(version);
    let mut server = Server(copy.serve().spawn().expect("it can be started"));
    let log = BufReader::new(server.0.stderr.take().expect("its log was asked for"));
    let mut lines = log.lines().map(|line| line.expect("the log is text"));
    let address = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line).expect("each line is JSON"))
        .find_map(|line| line["http"].as_str().map(str::to_owned))
        .expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    let text = fs::read_to_string(frozen(version).join("answers.json")).expect("it is there");
    let expected: Map<String, Value> = serde_json::from_str(&text).expect("it is JSON");
    let client = Client::new(&format!("http://{address}")).expect("a good address");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime can be made");
    for (question, answer) in &expected {
        let Some(path) = question.strip_prefix("GET ") else { continue };
        let said = runtime.block_on(client.send(Method::GET, path, "")).expect("it answers");
        assert_eq!(Value::from(said.status), answer["status"], "{question}");
        assert_eq!(said.json(), answer["body"], "{question}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_name_and_left_alone() {
    // Where the version stands, and how many bytes before the checksum it is covered by.
    for (file, covered) in [("identity", 36), ("segment", 60), ("spare", 60)] {
        let copy = Copy::of("v2");
        let path = match file {
            "identity" => copy.0.join("identity"),
            "segment" => copy.segment(),
            _ => {
                let spare = copy.0.join("journal/00000000000000000099.spare");
                fs::copy(copy.segment(), &spare).expect("it can be copied");
                spare
            }
        };
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..covered]).to_le_bytes();
        bytes[covered..covered + 4].copy_from_slice(&checksum);
        fs::write(&path, &bytes).expect("it can be written");
        refused(&copy, &path, FORMAT_VERSION);
        assert_eq!(fs::read(&path).expect("it is still there"), bytes, "{file}");
    }
    let copy = Copy::of("v2");
    let path = copy.0.join("archive.db");
    let connection = rusqlite::Connection::open(&path).expect("it opens");
    let known: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it says so");
    connection.pragma_update(None, "user_version", known + 1).expect("it can be written");
    drop(connection);
    refused(&copy, &path, known);
}

/// It does not start, and says which file has a format that is one more than it knows.
fn refused(copy: &Copy, path: &Path, known: u32) {
    let mut server = Server(copy.serve().spawn().expect("it can be started"));
    let log = BufReader::new(server.0.stderr.take().expect("its log was asked for"));
    let mut said = String::new();
    for line in log.lines() {
        let line = line.expect("the log is text");
        assert!(!line.contains("\"http\":"), "it serves a format it does not know: {line}");
        said = said + &line + "\n";
    }
    let ended = server.0.wait().expect("it was started");
    assert_eq!(ended.code(), Some(65), "{said}");
    let name = path.file_name().expect("a file").to_string_lossy();
    assert!(said.contains(&*name), "{name}: {said}");
    let newer = known + 1;
    let expected = format!("has format {newer}, and this version of Duly reads up to {known}");
    assert!(said.contains(&expected), "{said}");
}
