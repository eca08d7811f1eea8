//! The documents: every code a user can meet is explained in one place, every document can be
//! found by following links, and no link leads nowhere. It never judges what they say.

use super::source::{Kind, Source};
use super::{Complaint, rules};
use std::collections::BTreeSet;

/// Where the promises stand, with the tests that hold them.
pub(super) const PROMISES: &str = "docs/promises.md";

/// Where every code is explained.
pub(super) const ERRORS: &str = "docs/errors.md";

/// Codes in the product's source, each with the file it stands in: the strings of every function
/// named `code` or `as_code`, every string given to a field named `code`, and every string that a
/// table gives to a name in capitals (`BAD_KEY = "bad_key", …`).
pub(super) fn codes(source: &Source) -> Vec<(String, String)> {
    let product = source.path.starts_with("crates/") && source.path.contains("/src/");
    if !product || source.path.starts_with("crates/sim/") {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for body in ["code", "as_code"].into_iter().flat_map(|name| rules::bodies(source, name)) {
        for token in body {
            if let Kind::Text(text) = &token.kind {
                found.insert(text.clone());
            }
        }
    }
    for window in source.tokens.windows(3) {
        let named = window[0].word() == Some("code")
            || matches!(&window[0].kind, Kind::Text(text) if text == "code");
        if let (true, true, Kind::Text(text)) = (named, window[1].is(':'), &window[2].kind) {
            found.insert(text.clone());
        }
    }
    for window in source.tokens.windows(4) {
        let capitals = window[0].word().is_some_and(|word| word == word.to_uppercase());
        let given = window[1].is('=') && window[3].is(',');
        if let (true, true, Kind::Text(text)) = (capitals, given, &window[2].kind) {
            found.insert(text.clone());
        }
    }
    found
        .into_iter()
        .filter(|text| text.contains('_') || text.len() > 3)
        .filter(|text| {
            text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .map(|text| (text, source.path.clone()))
        .collect()
}

/// Codes that the document names neither as `` `code` `` nor as a heading.
pub(super) fn unexplained(codes: &[(String, String)], document: &str) -> Vec<Complaint> {
    codes
        .iter()
        .filter(|(code, _)| !document.contains(&format!("`{code}`")))
        .filter(|(code, _)| {
            !document.lines().any(|line| line.trim_start_matches('#').trim() == code)
        })
        .map(|(code, path)| format!("{path}: `{code}` is not explained in {ERRORS}"))
        .collect()
}

/// Documents below `docs/` that nothing links to, and links to files that are not there.
pub(super) fn links(
    documents: &[(String, String)],
    exists: impl Fn(&str) -> bool,
) -> Vec<Complaint> {
    let mut reached = BTreeSet::new();
    let mut complaints = Vec::new();
    for (path, text) in documents {
        for target in targets(text) {
            let resolved = resolve(path, target);
            if !exists(&resolved) {
                complaints.push(format!("{path}: links to `{target}`, which is not there"));
            }
            if resolved != *path {
                reached.insert(resolved);
            }
        }
    }
    for (path, _) in documents {
        if path.starts_with("docs/") && !reached.contains(path) {
            complaints.push(format!("{path}: no other document links here"));
        }
    }
    complaints
}

/// Tests that a document names and that are not there: a sentence in snake case is a test function or
/// a script of the engine, `tests/….py` is a suite.
pub(super) fn untested(
    document: &str,
    is_test: impl Fn(&str) -> bool,
    exists: impl Fn(&str) -> bool,
) -> Vec<Complaint> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            let sentence = name.matches('_').count() >= 2
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let suite = name.starts_with("tests/");
            (sentence && !is_test(name)) || (suite && !exists(name))
        })
        .map(|name| format!("{PROMISES}: names the test `{name}`, which is not there"))
        .collect()
}

/// Suites that no script names as a word.
pub(super) fn unrun(suites: &[String], scripts: &str) -> Vec<Complaint> {
    let words: BTreeSet<&str> = scripts.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    suites
        .iter()
        .filter(|name| !words.contains(name.as_str()))
        .map(|name| format!("tests/{name}.py: no script in scripts/ runs it"))
        .collect()
}

/// Local targets of `[text](target)` in a document, outside blocks of code.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (_, after) in line.match_indices("](").map(|(at, mark)| (at, &line[at + mark.len()..]))
        {
            let target = after.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target);
            }
        }
    }
    found
}

/// `../README.md` seen from `docs/http.md` is `README.md`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
