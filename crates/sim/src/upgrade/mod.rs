//! Directories of earlier formats, frozen: what was once written must open for ever.
//!
//! `duly-sim freeze` tells a story that has everything in it, keeps the data directory that comes of
//! it, and writes down what a server over it answers to every question. The directories are in
//! `fixtures/`, one for each format version; once made they are never made again. The tests open
//! copies of them.

mod asked;
mod making;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use anyhow::ensure;
use serde_json::Value;

use crate::counters::Counters;

/// What a frozen directory must answer, by request.
const ANSWERS: &str = "answers.json";

/// Makes a frozen directory of the present format in an empty place.
pub(crate) fn freeze(into: &Path, seed: u64) -> anyhow::Result<Counters> {
    let is_empty = fs::read_dir(into).map_or(true, |mut files| files.next().is_none());
    ensure!(is_empty, "{} is not empty: what is frozen is never made again", into.display());
    fs::create_dir_all(into.join("journal"))?;
    let questions = making::make(into, seed)?;
    let copy = crate::small::Folder::new()?;
    copy_all(into, copy.path())?;
    let answers = asked::answers(copy.path(), &questions)?;
    let mut counters = Counters::new("freeze");
    counters.add("questions", answers.len() as u64);
    counters.floor("questions", 100);
    // One line for each question, so that a difference can be seen.
    let lines: Vec<String> = answers
        .iter()
        .map(|(asked, said)| format!("{}:{said}", Value::from(asked.as_str())))
        .collect();
    fs::write(into.join(ANSWERS), format!("{{\n{}\n}}\n", lines.join(",\n")))?;
    Ok(counters)
}

/// Copies a data directory.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            fs::create_dir_all(to.join(&name))?;
            copy_all(&path, &to.join(&name))?;
        } else {
            fs::copy(&path, to.join(&name))?;
        }
    }
    Ok(())
}
