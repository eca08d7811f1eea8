//! What was frozen opens, answers as it did, and survives a death at any moment of its opening.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use duly_engine::command::{Address, Command};
use duly_engine::id::{Key, QueueName};
use duly_engine::time::Span;
use duly_store::disk::{Disk, Fault, MemoryDisk, Open};
use serde_json::{Map, Value};

use super::{ANSWERS, asked, copy_all};
use crate::small::{Folder, SMALL, Server};
use crate::world::Death;

/// Every format there has ever been.
const VERSIONS: [&str; 2] = ["v1", "v2"];

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version)
}

#[test]
fn every_format_there_was_answers_as_it_did() {
    for version in VERSIONS {
        let copy = Folder::new().expect("a folder for this test");
        copy_all(&frozen(version), copy.path()).expect("it can be copied");
        let expected = frozen_answers(&frozen(version)).expect("it is there");
        let questions: Vec<String> = expected.keys().cloned().collect();
        let answers = asked::answers(copy.path(), &questions).expect("it opens and answers");
        assert!(questions.len() > 100, "only {} questions", questions.len());
        for question in questions {
            assert_eq!(answers[&question], expected[&question], "{version}: {question}");
        }
    }
}

#[test]
fn a_death_at_any_moment_of_the_opening_changes_no_answer() {
    for version in VERSIONS {
        let expected = frozen_answers(&frozen(version)).expect("it is there");
        let keys: Vec<Address> = expected.keys().filter_map(|asked| key_of(asked)).collect();
        let now = expected["GET /v1/clock"]["body"]["clock"]["now"].clone();
        let sound = load(&frozen(version)).expect("it can be read");
        let undisturbed = sound.fork();
        let told = open(&undisturbed, &now, &keys).expect("it opens");
        // The questions cost calls too; a death in one of them is a death after the opening.
        let calls = undisturbed.calls() - sound.calls();
        let mut deaths = 0;
        for nth in 1..=calls {
            for power_cut in [None, Some(nth), Some(nth + calls), Some(nth + 2 * calls)] {
                let disk = sound.fork();
                disk.fail(disk.calls() + nth, Fault::Death);
                deaths += u32::from(open(&disk, &now, &keys).is_err());
                match power_cut {
                    Some(seed) => disk.crash(seed),
                    None => disk.kill(),
                }
                let again = open(&disk, &now, &keys);
                let again = again.unwrap_or_else(|death| panic!("call {nth}: {death}"));
                assert_eq!(again, told, "{version}: a death at call {nth}, {power_cut:?}");
            }
        }
        assert!(deaths > 100, "{deaths} deaths");
    }
}

/// Opens a journal at this time and asks about every key.
fn open(disk: &MemoryDisk, now: &Value, keys: &[Address]) -> Result<Vec<String>, Death> {
    let mut server = Server::over(disk, SMALL);
    let now = now.as_str().and_then(|now| duly::units::instant(now).ok()).expect("an instant");
    server.pass(Span::from_millis(now.since(server.now()).millis()));
    server.open()?;
    let mut told = vec![format!("{:?}", server.ask_one(Command::ListQueues)?)];
    for at in keys {
        told.push(format!("{:?}", server.ask_one(Command::Get(at.clone()))?));
    }
    Ok(told)
}

/// The key that a request for one deadline names.
fn key_of(asked: &str) -> Option<Address> {
    let rest = asked.strip_prefix("GET /v1/queues/")?;
    let (queue, key) = rest.split_once("/deadlines/")?;
    let key = key.replace("%20", " ");
    Some(Address { queue: QueueName::new(queue).ok()?, key: Key::new(&key).ok()? })
}

/// The requests that a frozen directory has answers to, and the answers.
fn frozen_answers(frozen: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = fs::read_to_string(frozen.join(ANSWERS)).context("what it must answer")?;
    Ok(serde_json::from_str(&text)?)
}

/// A frozen journal on a disk in memory.
fn load(frozen: &Path) -> anyhow::Result<MemoryDisk> {
    let disk = MemoryDisk::new();
    disk.create_dir("journal")?;
    let mut names = vec!["identity".to_owned()];
    for entry in fs::read_dir(frozen.join("journal"))? {
        names.push(format!("journal/{}", entry?.file_name().to_string_lossy()));
    }
    for name in names {
        let bytes = fs::read(frozen.join(&name))?;
        let file = disk.open(&name, Open::New)?;
        ensure!(file.write_at(&bytes, 0)? == bytes.len(), "a disk in memory takes it whole");
        file.sync()?;
    }
    disk.sync_dir("")?;
    disk.sync_dir("journal")?;
    Ok(disk)
}
