//! What the end of a command means, and what is found wrong before anything is run. Processes are run by
//! the suite `exec`, which has the whole program: commands are started through it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use duly_engine::command::Verdict;
use duly_engine::time::Span;

use super::running::Ended;
use super::{check, hindrance, ours, verdict};
use crate::config::{ExecAction, ExecLimits};
use crate::deliver::tests::{delivery, delivery_id, error};

fn ended(status: i32, words: &str) -> Ended {
    Ended { status: ExitStatus::from_raw(status), timed_out: false, words: words.to_owned() }
}

fn exited(code: i32, words: &str) -> Verdict {
    verdict("cancel", &ended(code << 8, words), Span::from_secs(60))
}

#[test]
fn the_exit_status_is_the_verdict() {
    for code in 0..=255 {
        match (code, exited(code, "no such order")) {
            (0, verdict) => assert_eq!(verdict, Verdict::Done),
            (99, verdict) => assert_eq!(verdict, Verdict::Superseded),
            (code, verdict) => {
                assert!(
                    matches!(verdict, Verdict::Retry { after: None, .. }),
                    "{code}: {verdict:?}"
                );
                let words = format!("exit: cancel ended with {code}: no such order");
                assert_eq!(error(&verdict), words);
            }
        }
    }
    assert_eq!(error(&exited(1, "")), "exit: cancel ended with 1");
    assert_eq!(error(&exited(1, "two\nlines")), "exit: cancel ended with 1: two lines");
}

#[test]
fn a_command_that_was_killed_or_took_too_long_is_tried_again() {
    let killed = verdict("cancel", &ended(9, ""), Span::from_secs(60));
    assert_eq!(error(&killed), "killed: cancel by SIGKILL");
    let unknown = verdict("cancel", &ended(63, "why"), Span::from_secs(60));
    assert_eq!(error(&unknown), "killed: cancel by a signal: why");
    for status in [0, 99 << 8, 15] {
        let late = Ended { timed_out: true, ..ended(status, "") };
        let late = verdict("cancel", &late, Span::from_secs(60));
        assert_eq!(error(&late), "timeout: cancel took longer than 1m");
    }
}

#[test]
fn a_command_that_never_ran_is_told_from_one_that_failed() {
    let never = exited(127, "duly: cannot be run: No such file or directory (os error 2)");
    let words = "cannot_run: cancel cannot be run: No such file or directory (os error 2)";
    assert_eq!(error(&never), words);
    for (code, words) in [(127, "php: not found"), (1, "duly: cannot be run")] {
        assert!(error(&exited(code, words)).starts_with("exit: cancel ended with"), "{words}");
    }
}

#[test]
fn every_command_is_told_what_it_is_for() {
    let environment = BTreeMap::from(ours(&delivery(42).again()));
    let expected = [
        ("DULY_ATTEMPT", "2"),
        ("DULY_DELIVERY_ID", &delivery_id(42).to_string()),
        ("DULY_DUE", "2026-11-22T12:30:00.000Z"),
        ("DULY_KEY", "42"),
        ("DULY_LAPSED_AT", "2026-11-22T12:30:00.007Z"),
        ("DULY_QUEUE", "orders"),
    ];
    assert!(environment.iter().map(|(name, value)| (*name, value.as_str())).eq(expected));
}

#[test]
fn a_program_that_cannot_be_run_is_known_before() {
    for (program, why) in [
        ("/bin/true", None),
        ("/nowhere/at/all", Some("No such file")),
        ("/etc", Some("not a file")),
        ("/etc/passwd", Some("not executable")),
    ] {
        match (hindrance(Path::new(program)), why) {
            (None, None) => {}
            (Some(found), Some(why)) => assert!(found.contains(why), "{program}: {found}"),
            (found, _) => panic!("{program}: {found:?}"),
        }
    }
}

#[test]
fn a_bad_argument_is_found_by_the_name_of_its_setting() {
    let action = ExecAction {
        argv: vec!["/bin/true".to_owned(), ":id".to_owned()],
        env: BTreeMap::new(),
        cwd: "/".into(),
        user: None,
        group: None,
        timeout: Span::from_secs(60),
        limits: ExecLimits::default(),
    };
    let bad = check(&BTreeMap::from([("cancel".to_owned(), action)])).expect_err("there is no :id");
    assert_eq!(bad.key, "exec.cancel.argv[1]");
}
