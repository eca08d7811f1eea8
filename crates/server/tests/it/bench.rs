//! `duly bench` from end to end, as small as it can be: the table has every row, and each row every
//! figure that it promises. What the figures are says nothing about the program here.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use duly::cli::bench::{Case, Over, Plan, Wish, measure};
use serde_json::Value;

const TINY: Plan = Plan {
    time: Duration::from_millis(100),
    settles: 100,
    late: 20,
    spread: Duration::from_millis(20),
    pending: 1_000,
    stampede: 200,
};

const TIMES: [&str; 3] = ["p50_ms", "p99_ms", "max_ms"];
const COST: [&str; 7] = [
    "server_us",
    "generator_us",
    "journal_bytes",
    "per_sync",
    "held_up_by",
    "processor_shares",
    "sync_share",
];

/// Every row, and what it has beside its name and its count.
const ROWS: [(&str, &[&[&str]]); 10] = [
    ("schedule-1", &[&["per_second"], &TIMES, &COST]),
    ("schedule-64", &[&["per_second"], &TIMES, &COST]),
    ("settle-64", &[&["per_second"], &TIMES, &COST]),
    ("batch", &[&["per_second"], &TIMES, &COST]),
    ("lateness-none", &[&TIMES, &COST]),
    ("lateness-pull", &[&TIMES, &COST]),
    ("lateness-worker", &[&TIMES]),
    ("pending", &[&["per_second"], &COST, &["bytes_each", "restarted_bytes_each"]]),
    ("restart", &[&["ready_ms"]]),
    ("stampede", &[&["per_second", "all_done_ms"], &TIMES, &COST]),
];

#[tokio::test]
async fn the_table_is_complete_and_nothing_stays_behind() {
    let folder = std::env::temp_dir().join(format!("duly-bench-it-{}", std::process::id()));
    let over = Over::Http;
    let cases = Case::value_variants();
    complete(Wish { folder, quick: true, plan: TINY, over, cases }, &ROWS).await;
}

#[tokio::test]
async fn what_can_be_measured_over_the_redis_protocol_is() {
    let folder = std::env::temp_dir().join(format!("duly-bench-redis-{}", std::process::id()));
    let over = Over::Redis;
    let wish = Wish { folder, quick: true, plan: TINY, over, cases: Case::over(over) };
    let program = Path::new(env!("CARGO_BIN_EXE_duly"));
    let strange = Wish { cases: &[Case::Stampede], ..wish.clone() };
    let refused = measure(program, &strange).await.expect_err("workers speak HTTP there");
    assert!(refused.to_string().contains("over HTTP only"), "{refused}");
    complete(wish, &ROWS[..4]).await;
}

/// Measures, and expects these rows.
async fn complete(wish: Wish<'_>, wanted: &[(&str, &[&[&str]])]) {
    let program = Path::new(env!("CARGO_BIN_EXE_duly"));
    let report = measure(program, &wish).await.expect("everything can be measured");
    assert!(!wish.folder.exists(), "the directory is still there");
    let report = serde_json::to_value(report).expect("a report is plain");
    let rows = report["rows"].as_array().expect("there are rows");
    assert_eq!(rows.len(), wanted.len(), "{report}");
    for (row, (name, figures)) in rows.iter().zip(wanted) {
        assert_eq!(row["name"], *name);
        assert!(row["count"].as_u64().is_some_and(|count| count > 0), "{row}");
        for figure in figures.iter().copied().flatten() {
            assert_ne!(row[figure], Value::Null, "{name} lacks {figure}: {row}");
        }
    }
}

#[tokio::test]
async fn a_directory_with_something_in_it_is_left_alone() {
    let folder = std::env::temp_dir().join(format!("duly-bench-full-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of one's own");
    std::fs::write(folder.join("precious"), "x").expect("a file of one's own");
    let (over, cases) = (Over::Http, &[Case::Settle]);
    let wish = Wish { folder: folder.clone(), quick: true, plan: TINY, over, cases };
    let program = Path::new(env!("CARGO_BIN_EXE_duly"));
    let refused = measure(program, &wish).await.expect_err("it is not empty");
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert!(folder.join("precious").exists());
    std::fs::remove_dir_all(&folder).expect("the folder was the test's own");
}
