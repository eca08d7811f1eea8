//! The architecture, as a test: reads the repository's own sources and fails when a rule of
//! ARCHITECTURE.md or CONTRIBUTING.md is broken.
//!
//! The rules are data (`table.rs`), the reading is `source.rs`, the checks are pure functions over
//! what was read (`rules.rs`), and `proof.rs` shows on made-up sources that each of them can fail:
//! a check that cannot fail says nothing. It never compiles or runs anything.

mod manifest;
mod papers;
mod proof;
mod rules;
mod source;
mod table;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// One broken rule, as it is shown: where, and what to do about it.
type Complaint = String;

/// The root of the repository, two folders above this crate.
fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder
        .parent()
        .and_then(Path::parent)
        .expect("the crate lies in `crates/server`")
        .to_path_buf()
}

/// Every file below `folder` (relative to the root), sorted, without what is built or installed.
fn files_below(folder: &str) -> Vec<String> {
    const SKIPPED: [&str; 4] = ["target", "node_modules", "__pycache__", "duly-data"];
    let root = root();
    let mut found = Vec::new();
    let mut waiting = vec![root.join(folder)];
    while let Some(here) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&here) else { continue };
        for entry in entries {
            let entry = entry.expect("a folder of the repository can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let path = path.strip_prefix(&root).expect("the walk started at the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file given relative to the root.
fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file just listed can be read as UTF-8")
}

/// All Rust sources of the repository, read.
fn sources() -> Vec<Source> {
    let read: Vec<Source> = files_below("")
        .into_iter()
        .filter(|path| Path::new(path).extension().is_some_and(|end| end == "rs"))
        .map(|path| Source::read(&path, &text_of(&path)))
        .collect();
    assert!(read.len() >= 8, "only {} sources were found: the walk is broken", read.len());
    read
}

/// Fails with every complaint at once, so that one run is enough to put all of them right.
fn nothing_of(complaints: &[Complaint]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_source_opens_with_its_essay_and_is_short_enough_to_read() {
    let sources = sources();
    nothing_of(&sources.iter().flat_map(rules::shape).collect::<Vec<_>>());
}

#[test]
fn no_folder_or_file_is_a_drawer_for_anything() {
    nothing_of(&files_below("").iter().flat_map(|path| rules::names(path)).collect::<Vec<_>>());
}

#[test]
fn modules_of_the_server_import_only_downward() {
    nothing_of(&sources().iter().flat_map(rules::imports).collect::<Vec<_>>());
}

#[test]
fn only_their_own_modules_touch_the_engine_the_clock_and_the_environment() {
    nothing_of(&sources().iter().flat_map(rules::privileges).collect::<Vec<_>>());
}

#[test]
fn one_word_is_used_for_one_thing() {
    nothing_of(&sources().iter().flat_map(rules::words).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later() {
    nothing_of(&sources().iter().flat_map(rules::leftovers).collect::<Vec<_>>());
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let manifests: Vec<String> = files_below("crates")
        .into_iter()
        .filter(|path| path.ends_with("/Cargo.toml") && path.matches('/').count() == 2)
        .collect();
    assert!(manifests.len() >= 3, "only {manifests:?} were found: the walk is broken");
    let complaints: Vec<Complaint> =
        manifests.iter().flat_map(|path| manifest::check(path, &text_of(path))).collect();
    nothing_of(&complaints);
}

#[test]
fn every_code_a_user_can_meet_is_explained() {
    let codes: Vec<(String, String)> = sources().iter().flat_map(papers::codes).collect();
    assert!(codes.len() >= 20, "only {} codes were found: the search is blind", codes.len());
    nothing_of(&papers::unexplained(&codes, &text_of(papers::ERRORS)));
}

#[test]
fn every_test_that_holds_a_promise_is_there() {
    let sources = sources();
    let scripts = files_below("crates/engine/scripts");
    let is_test = |name: &str| {
        sources.iter().any(|source| !rules::bodies(source, name).is_empty())
            || scripts.iter().any(|path| path.ends_with(&format!("/{name}.script")))
    };
    let promises = text_of(papers::PROMISES);
    nothing_of(&papers::untested(&promises, is_test, |path| root().join(path).exists()));
}

#[test]
fn every_suite_is_run_by_a_script() {
    let scripts: String = files_below("scripts").iter().map(|path| text_of(path)).collect();
    let suites: Vec<String> = files_below("tests")
        .into_iter()
        .filter_map(|path| Some(path.strip_prefix("tests/")?.strip_suffix(".py")?.to_owned()))
        .filter(|name| !name.contains('/') && name != "blackbox")
        .collect();
    assert!(suites.len() >= 8, "only {suites:?} were found: the walk is broken");
    nothing_of(&papers::unrun(&suites, &scripts));
}

#[test]
fn every_document_can_be_reached_and_no_link_is_dead() {
    let files = files_below("");
    let documents: Vec<(String, String)> = files
        .iter()
        .filter(|path| Path::new(path).extension().is_some_and(|end| end == "md"))
        .map(|path| (path.clone(), text_of(path)))
        .collect();
    nothing_of(&papers::links(&documents, |path| root().join(path).exists()));
}
