//! One target of `duly-sim fuzz` under libFuzzer, which changes what covers something new.
//!
//! The target is named by `DULY_FUZZ_TARGET`; everything else is libFuzzer's own command line. The
//! targets themselves are the simulator's, file for file.

#![no_main]

#[expect(dead_code, reason = "libFuzzer has its own shares and its own words")]
#[path = "../../src/fuzz/targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{ALL, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("DULY_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    let target = ALL.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("DULY_FUZZ_TARGET is none of {}", names.join(", ")))
});

fuzz_target!(|input: &[u8]| {
    (TARGET.feed)(input);
});
