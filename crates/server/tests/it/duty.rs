//! A thread that holds a promise panics: the process ends, and nothing that was held is dropped.
//!
//! The end of a process is seen from outside, so the test runs itself once more as a child and is
//! told so by a variable of its environment.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use duly::driver::duty;

const CHILD: &str = "DULY_TEST_PANICS";
const ABORTED: i32 = 6;

/// Like a release: whoever waits for it hears something when it is dropped.
struct Held(&'static str);

impl Drop for Held {
    #[expect(clippy::print_stdout, reason = "the parent listens")]
    fn drop(&mut self) {
        println!("dropped: {}", self.0);
    }
}

#[test]
fn a_panic_on_a_thread_that_holds_a_promise_ends_the_process_with_nothing_dropped() {
    if let Ok(which) = env::var(CHILD) {
        let fail = move || {
            let _held = Held("what was held");
            panic!("on purpose");
        };
        let thread = if which == "a duty" {
            duty::spawn("test", fail)
        } else {
            duty::spawn("test", || {}).join().expect("it does nothing");
            std::thread::spawn(fail)
        };
        thread.join().expect_err("it panics");
        return;
    }
    let child = |which: &str| {
        let name =
            "duty::a_panic_on_a_thread_that_holds_a_promise_ends_the_process_with_nothing_dropped";
        Command::new(env::current_exe().expect("this program has a file"))
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, which)
            .output()
            .expect("it can be run once more")
    };
    let told = |output: &[u8]| String::from_utf8_lossy(output).contains("dropped: what was held");
    let aborted = child("a duty");
    assert_eq!(aborted.status.signal(), Some(ABORTED), "{aborted:?}");
    assert!(!told(&aborted.stdout), "{aborted:?}");
    let other = child("no duty");
    assert!(other.status.success() && told(&other.stdout), "another thread may panic: {other:?}");
}
