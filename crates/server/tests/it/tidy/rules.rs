//! The checks over one source: each takes what was read and returns its complaints, in words that
//! say what to do. They are pure, so that `proof.rs` can show each of them failing.
//!
//! No rule is written out here that could be a line of `table.rs`.

use super::Complaint;
use super::source::{Kind, Named, Source, Token};
use super::table::{
    ALTERNATIVES, DRAWERS, FOREIGN_HOME, FOREIGN_WORDS, GROUND, HARMLESS, LEFTOVERS, MOST_LINES,
    PRIVILEGES, SERVER,
};

/// The essay at the top and the length.
pub(super) fn shape(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !source.text.starts_with("//! ") {
        complaints.push(format!(
            "{}:1: opens without `//!`: say what it is, why it exists, what it never does",
            source.path
        ));
    }
    let lines = source.text.lines().count();
    if lines > MOST_LINES {
        complaints.push(format!(
            "{}: {lines} lines, {MOST_LINES} are allowed: split it by meaning",
            source.path
        ));
    }
    complaints
}

/// Names of folders and files.
pub(super) fn names(path: &str) -> Vec<Complaint> {
    path.split('/')
        .filter_map(|part| {
            let stem = part.split('.').next().unwrap_or(part);
            DRAWERS.contains(&stem).then(|| {
                format!(
                    "{path}: `{part}` says nothing about what is inside: name it by its subject"
                )
            })
        })
        .collect()
}

/// Directions of import inside the server.
pub(super) fn imports(source: &Source) -> Vec<Complaint> {
    let Some(here) = source.server_module() else { return Vec::new() };
    let Some((_, allowed)) = SERVER.iter().find(|(name, _)| *name == here) else {
        return vec![format!(
            "{}: the module `{here}` is not in the table: add what it may import",
            source.path
        )];
    };
    let mut complaints = Vec::new();
    for named in &source.paths {
        let Some(there) = own_module(named) else { continue };
        let known = SERVER.iter().any(|(name, _)| *name == there);
        let fine = there == here
            || allowed.contains(&there)
            || (GROUND.contains(&there) && !GROUND.contains(&here.as_str()));
        if known && !fine {
            complaints.push(format!(
                "{}:{}: `{here}` imports `{there}`, which the table does not allow",
                source.path, named.line
            ));
        }
    }
    complaints.extend(alternatives(source));
    complaints.dedup();
    complaints
}

/// Members of a folder of alternatives that know each other.
fn alternatives(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (folder, members) in ALTERNATIVES {
        let Some(inside) = source.path.strip_prefix(&format!("crates/server/src/{folder}/")) else {
            continue;
        };
        let member = inside.split(['/', '.']).next().unwrap_or_default();
        if !members.contains(&member) {
            continue;
        }
        for named in &source.paths {
            let segments: Vec<&str> = named.segments.iter().map(String::as_str).collect();
            if let ["crate", within, other, ..] = segments[..]
                && within == folder
                && other != member
                && members.contains(&other)
            {
                complaints.push(format!(
                    "{}:{}: `{folder}::{member}` imports its sibling `{folder}::{other}`: they \
                     meet in `Handle`",
                    source.path, named.line
                ));
            }
        }
    }
    complaints
}

/// The module at the root of the server that a path leads to.
fn own_module(named: &Named) -> Option<&str> {
    match &named.segments[..] {
        [first, module, ..] if first == "crate" => Some(module),
        _ => None,
    }
}

/// The engine, the clock and the environment, each in one module of the server only. In other
/// crates that are part of the product nobody reads the clock or the environment at all.
pub(super) fn privileges(source: &Source) -> Vec<Complaint> {
    let product = ["crates/engine/src/", "crates/store/src/", "crates/wire/src/"];
    let inside_server = source.path.starts_with("crates/server/src/");
    if !inside_server && !product.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let here = source.server_module();
    let mut complaints = Vec::new();
    for named in &source.paths {
        if HARMLESS.iter().any(|path| contains(&named.segments, path)) {
            continue;
        }
        for (path, home, why) in PRIVILEGES {
            if here.as_deref() == Some(home) || (path[0] == "duly_engine" && !inside_server) {
                continue;
            }
            if contains(&named.segments, path) {
                complaints.push(format!(
                    "{}:{}: names `{}`: {why}",
                    source.path,
                    named.line,
                    path.join("::")
                ));
                break;
            }
        }
    }
    complaints
}

/// Whether `path` stands in `segments` as a run.
fn contains(segments: &[String], path: &[&str]) -> bool {
    segments.windows(path.len()).any(|window| window.iter().zip(path).all(|(a, b)| a == b))
}

/// Words of other systems, as whole parts of an identifier.
pub(super) fn words(source: &Source) -> Vec<Complaint> {
    if source.path.starts_with(FOREIGN_HOME) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for token in &source.tokens {
        let Some(word) = token.word() else { continue };
        for part in parts(word) {
            if FOREIGN_WORDS.contains(&part.as_str()) {
                complaints.push(format!(
                    "{}:{}: `{word}` speaks another system's language (`{part}`)",
                    source.path, token.line
                ));
            }
        }
    }
    complaints
}

/// `next_jobId` is `next`, `job`, `id`.
fn parts(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in word.chars() {
        if c == '_' || (c.is_uppercase() && before.is_lowercase()) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().expect("one part is always open").extend(c.to_lowercase());
        }
        before = c;
    }
    parts
}

/// Marks of unfinished work anywhere in the text, and tests that do not run.
pub(super) fn leftovers(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(mark) = words.find(|word| LEFTOVERS.contains(word)) {
            complaints.push(format!(
                "{}:{}: {mark}: do it, or drop it and say in the documents that it is not there",
                source.path,
                number + 1
            ));
        }
    }
    for window in source.tokens.windows(3) {
        if let [hash, open, name] = window
            && hash.is('#')
            && open.is('[')
            && name.word() == Some("ignore")
        {
            complaints.push(format!("{}:{}: a test that does not run", source.path, name.line));
        }
    }
    complaints
}

/// The tokens of the bodies of every function called `name`.
pub(super) fn bodies<'a>(source: &'a Source, name: &str) -> Vec<&'a [Token]> {
    let tokens = &source.tokens;
    let mut bodies = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        if pair[0].word() != Some("fn") || pair[1].word() != Some(name) {
            continue;
        }
        let Some(open) = tokens[at..].iter().position(|token| token.is('{')) else { continue };
        let from = at + open;
        let mut depth = 0_usize;
        let end = tokens[from..].iter().position(|token| {
            match token.kind {
                Kind::Mark('{') => depth += 1,
                Kind::Mark('}') => depth -= 1,
                Kind::Mark(_) | Kind::Word(_) | Kind::Text(_) | Kind::PathSep => {}
            }
            depth == 0
        });
        bodies.push(&tokens[from..end.map_or(tokens.len(), |end| from + end)]);
    }
    bodies
}
