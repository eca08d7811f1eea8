//! Proof that the checks can fail: small made-up sources that break one rule each, and the nearest
//! thing that keeps it. A rule without both here is a rule nobody has seen working.

use super::source::Source;
use super::{manifest, papers, rules};

/// A made-up source of the server.
fn server(file: &str, text: &str) -> Source {
    Source::read(&format!("crates/server/src/{file}"), text)
}

#[test]
fn a_source_without_its_essay_is_refused() {
    assert_eq!(rules::shape(&server("run.rs", "use std::fs;\n")).len(), 1);
    assert!(rules::shape(&server("run.rs", "//! Starts everything.\n")).is_empty());
}

#[test]
fn a_source_of_701_lines_is_refused() {
    let head = "//! Long.\n".to_owned();
    assert!(rules::shape(&server("run.rs", &(head.clone() + &"\n".repeat(699)))).is_empty());
    assert_eq!(rules::shape(&server("run.rs", &(head + &"\n".repeat(700)))).len(), 1);
}

#[test]
fn a_drawer_is_refused_as_a_folder_and_as_a_file() {
    assert_eq!(rules::names("crates/server/src/utils/mod.rs").len(), 1);
    assert_eq!(rules::names("crates/server/src/helpers.rs").len(), 1);
    assert!(rules::names("crates/server/src/units.rs").is_empty());
}

#[test]
fn an_import_against_the_direction_is_refused_however_it_is_written() {
    for text in [
        "use crate::listen::http::Router;",
        "use crate::{config, listen};",
        "use crate::{clock::Clock, listen::{self, http}};",
        "pub(crate) use super::super::listen as l;",
        "fn f() { crate::listen::start(); }",
        "mod tests { use super::super::super::listen; }",
    ] {
        let found = rules::imports(&server("deliver/webhook.rs", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    for (file, text) in [
        ("driver/mod.rs", "use crate::handle::Handle;"),
        ("listen/http/mod.rs", "use crate::driver::Driver;"),
        ("handle.rs", "use crate::run;"),
        ("cli/mod.rs", "use crate::handle::Handle;"),
        ("demo/mod.rs", "use crate::listen;"),
        ("demo/mod.rs", "use crate::cli;"),
        ("dashboard/mod.rs", "use crate::handle;"),
        ("units.rs", "use crate::config;"),
        ("main.rs", "use duly::driver;"),
    ] {
        assert_eq!(rules::imports(&server(file, text)).len(), 1, "{file}: {text}");
    }
}

#[test]
fn an_import_with_the_direction_is_accepted() {
    for (file, text) in [
        ("main.rs", "use duly::cli;"),
        ("run.rs", "use crate::{deliver, listen, handle::Handle};"),
        ("deliver/webhook.rs", "use crate::handle::Handle;\nuse super::Attempt;"),
        ("deliver/mod.rs", "mod tests { use super::*; }"),
        ("listen/http/mod.rs", "use crate::config::Settings; // not crate::deliver\n"),
        ("listen/http/mod.rs", "const TEXT: &str = \"crate::deliver::x\";"),
        ("config.rs", "use crate::units;"),
    ] {
        let found = rules::imports(&server(file, text));
        assert!(found.is_empty(), "{file}: {found:?}");
    }
}

#[test]
fn alternatives_that_know_each_other_are_refused() {
    for text in ["use super::sql::Dsn;", "use crate::deliver::{sql, Attempt};"] {
        assert_eq!(rules::imports(&server("deliver/webhook.rs", text)).len(), 1, "{text}");
    }
    assert_eq!(rules::imports(&server("listen/http/a.rs", "use super::super::redis;")).len(), 1);
    assert!(rules::imports(&server("deliver/mod.rs", "use self::sql::Dsn;")).is_empty());
}

#[test]
fn a_module_that_is_not_in_the_table_is_refused() {
    assert_eq!(rules::imports(&server("surprise.rs", "//! New.\n")).len(), 1);
}

#[test]
fn the_engine_is_named_only_by_the_driver() {
    for text in ["use duly_engine::Engine;", "use duly_engine::{Time, Engine};"] {
        assert_eq!(rules::privileges(&server("handle.rs", text)).len(), 1, "{text}");
        assert!(rules::privileges(&server("driver/step.rs", text)).is_empty());
    }
    assert!(rules::privileges(&server("handle.rs", "use duly_engine::Time;")).is_empty());
}

#[test]
fn time_is_read_only_by_the_clock() {
    for text in [
        "fn f() { std::time::SystemTime::now(); }",
        "fn f() { Instant::now(); }",
        "fn f() { tokio::time::Instant::now(); }",
    ] {
        assert_eq!(rules::privileges(&server("run.rs", text)).len(), 1, "{text}");
        assert!(rules::privileges(&server("clock.rs", text)).is_empty());
        assert_eq!(rules::privileges(&Source::read("crates/store/src/a.rs", text)).len(), 1);
        assert!(rules::privileges(&Source::read("crates/store/tests/it/a.rs", text)).is_empty());
    }
}

#[test]
fn the_environment_is_read_only_by_the_configuration() {
    for text in ["use std::env;", "fn f() { std::env::var(\"DULY_HTTP\"); }"] {
        assert_eq!(rules::privileges(&server("run.rs", text)).len(), 1, "{text}");
        assert!(rules::privileges(&server("config.rs", text)).is_empty());
    }
    assert!(rules::privileges(&server("run.rs", "fn f() { std::env::temp_dir(); }")).is_empty());
}

#[test]
fn a_foreign_word_is_refused_as_part_of_any_identifier() {
    for word in ["job", "next_job", "JobQueue", "ttr", "bury", "tubeName"] {
        let text = format!("fn {word}() {{}}");
        assert_eq!(rules::words(&server("run.rs", &text)).len(), 1, "{word}");
        assert!(rules::words(&Source::read("crates/wire/src/a.rs", &text)).is_empty());
    }
    let innocent = "fn attribute() {} // a job\nconst A: &str = \"job\";";
    assert!(rules::words(&server("run.rs", innocent)).is_empty());
}

#[test]
fn unfinished_work_is_refused() {
    for text in [concat!("// TO", "DO: later"), concat!("// FIX", "ME"), "#[ignore] fn f() {}"] {
        assert_eq!(rules::leftovers(&server("run.rs", text)).len(), 1, "{text}");
    }
    assert_eq!(rules::leftovers(&server("run.rs", "#[ignore = \"slow\"]")).len(), 1);
    assert!(rules::leftovers(&server("run.rs", "// Nothing to do.")).is_empty());
}

#[test]
fn a_forbidden_dependency_is_refused() {
    let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}\n");
    for (name, rest) in [
        ("duly-engine", "[dependencies]\nserde = \"1\""),
        ("duly-engine", "[target.'cfg(unix)'.dependencies]\nlibc = \"1\""),
        ("duly-store", "[dependencies]\ntokio = \"1\""),
        ("duly-store", "[dependencies]\nd = { package = \"duly\", path = \"../server\" }"),
        ("duly-wire", "[dependencies]\nduly-store.workspace = true"),
        ("duly-surprise", ""),
    ] {
        let found = manifest::check("crates/x/Cargo.toml", &manifest(name, rest));
        assert_eq!(found.len(), 1, "{name}: {rest}: {found:?}");
    }
    for (name, rest) in [
        ("duly-engine", "[dev-dependencies]\nproptest = \"1\""),
        ("duly-store", "[dependencies]\nduly-engine.workspace = true\nrusqlite = \"1\""),
    ] {
        assert!(manifest::check("crates/x/Cargo.toml", &manifest(name, rest)).is_empty());
    }
}

#[test]
fn a_code_without_its_explanation_is_refused() {
    let source = Source::read(
        "crates/engine/src/answer.rs",
        "fn code(&self) -> &str { match self { A => \"too_late\", B => \"lease_lost\" } }\n\
         fn other() { \"not_a_code\"; }\n\
         kinds! { BAD_KEY = \"bad_key\", 400, \"no\"; }\n fn f() { Problem { code: \"bad_json\" } }",
    );
    let codes = papers::codes(&source);
    let names: Vec<&str> = codes.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(names, ["bad_json", "bad_key", "lease_lost", "too_late"]);
    assert_eq!(papers::unexplained(&codes, "## `too_late`\n## bad_key\n`bad_json`").len(), 1);
}

#[test]
fn a_document_nobody_links_to_and_a_dead_link_are_refused() {
    let document = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let documents = [
        document("README.md", "See [HTTP](docs/http.md#settle) and [gone](docs/gone.md)."),
        document("docs/http.md", "Back to [the top](../README.md), [me](http.md)."),
        document("docs/lonely.md", "[out](https://example.com)\n```\n[no](nothing.md)\n```"),
    ];
    let found = papers::links(&documents, |path| documents.iter().any(|(known, _)| known == path));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("gone.md") && found[1].starts_with("docs/lonely.md"));
}

#[test]
fn a_promise_without_its_test_is_refused() {
    let page = "| `too_late` | `a_settle_wins`, `a_lapse_wins`; `tests/race.py`, `tests/gone.py` |";
    let found =
        papers::untested(page, |name| name == "a_settle_wins", |path| path == "tests/race.py");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("a_lapse_wins") && found[1].contains("gone.py"));
}

#[test]
fn a_suite_that_nobody_runs_is_refused() {
    let suites = ["race".to_owned(), "lonely".to_owned()];
    assert_eq!(papers::unrun(&suites, "SUITES=(race kill)").len(), 1);
}
