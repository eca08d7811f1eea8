//! What goes into the archive comes out again, is counted once, and can be let go of.

mod list;
mod shelf;

use duly_engine::answer::{Known, Wanted};
use duly_engine::command::Address;
use duly_engine::deadline::{DeliveryState, Event, PayloadAt, State, What};
use duly_engine::id::{DeadlineId, Generation, Key, Outcome, QueueName};
use duly_engine::time::{Span, Time};
use duly_store::Error;
use duly_store::archive::{Item, Swept};

use self::shelf::{DAY_MS, NOON, Shelf, bytes, done, json, keep, settled, superseded};

fn address(queue: &str, key: &str) -> Address {
    Address {
        queue: QueueName::new(queue).expect("a valid name"),
        key: Key::new(key).expect("a valid key"),
    }
}

#[test]
fn every_kind_of_record_comes_back_as_it_was() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let reader = writer.reader().expect("the archive opens");
    let at = Time::from_millis(NOON);
    let error: std::sync::Arc<str> = "a \"quoted\" \\ error\nwith \u{1} and 日本".into();
    let outcome = Outcome::new("paid \"twice\"").expect("a valid outcome");
    let mut told = settled(4, "orders", "42/ü");
    told.deadline.frozen_until = Some(Time::from_millis(NOON + 5));
    told.deadline.frozen_for = Span::from_secs(600);
    told.deadline.outcome = Some(outcome.clone());
    told.deadline.timeline = [
        What::Scheduled { due: at },
        What::Extended { due: at },
        What::Shifted { due: at },
        What::Frozen { until: at },
        What::Lapsed,
        What::Leased { attempt: 3 },
        What::Retried { error: error.clone(), next_attempt_at: at },
        What::Dead { error: error.clone() },
        What::Revived,
        What::Superseded,
        What::Done,
        What::Settled { outcome },
    ]
    .map(|what| Event { at, what })
    .to_vec();
    let mut failed = done(5, "orders", "43");
    let delivery = failed.deadline.delivery.as_mut().expect("it lapsed");
    delivery.last_error = Some(error);
    delivery.attempts = 7;
    let mut records = vec![told, failed, superseded(6, "refunds", "43")];
    let payloads = [
        PayloadAt::None,
        PayloadAt::Gone,
        json("{\"total\":\"19.90\",\"name\":\"日本\"}"),
        json("null"),
        bytes(b"\x00\xff raw"),
        bytes(b""),
        bytes(b"text that came as bytes"),
    ];
    for (id, payload) in (7..).zip(payloads) {
        let mut record = done(id, "payloads", &id.to_string());
        record.deadline.payload = payload;
        records.push(record);
    }
    let items: Vec<Item> = records.iter().cloned().map(keep).collect();
    writer.apply(&items, 100).expect("the disk is well");
    for record in records {
        let deadline = record.deadline;
        let by_id = reader.look_up(&Wanted::Id(deadline.id, deadline.generation));
        assert_eq!(by_id.expect("the disk is well"), Known::Archived(Box::new(deadline.clone())));
        let by_key = Wanted::Key(address(deadline.queue.as_str(), deadline.key.as_str()));
        let by_key = reader.look_up(&by_key).expect("the disk is well");
        assert_eq!(by_key, Known::Archived(Box::new(deadline)));
    }
    for absent in [
        Wanted::Key(address("orders", "44")),
        Wanted::Key(address("elsewhere", "43")),
        Wanted::Id(DeadlineId(4), Generation(2)),
        Wanted::Id(DeadlineId(99), Generation(1)),
    ] {
        assert_eq!(reader.look_up(&absent).expect("the disk is well"), Known::Absent);
    }
}

#[test]
fn a_key_shows_its_latest_generation() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let mut items = Vec::new();
    for (seq, generation) in [(1, 1), (2, 3), (3, 2)] {
        let mut record = settled(9, "orders", "42");
        record.seq = seq;
        record.deadline.generation = Generation(generation);
        items.push(keep(record));
    }
    // After an erasure the key began anew under another number.
    let mut again = done(4, "orders", "43");
    again.deadline.id = DeadlineId(20);
    items.push(keep(again));
    writer.apply(&items, 4).expect("the disk is well");
    let reader = writer.reader().expect("the archive opens");
    let latest = reader.latest(&address("orders", "42")).expect("the disk is well");
    assert_eq!(latest.map(|deadline| deadline.generation), Some(Generation(3)));
}

#[test]
fn what_is_applied_again_is_neither_kept_nor_counted_twice() {
    let shelf = Shelf::new();
    let items: Vec<Item> =
        (1..=50).map(|seq| keep(settled(seq, "orders", &seq.to_string()))).collect();
    for (from, to) in [(0, 20), (0, 30), (10, 50), (0, 50)] {
        let mut writer = shelf.open();
        writer.apply(&items[from..to], to as u64).expect("the disk is well");
        writer.apply(&items[from..to], to as u64).expect("the disk is well");
        assert_eq!(writer.applied_seq(), to as u64);
    }
    assert_eq!(shelf.ask("SELECT count(*) FROM deadlines"), ["50"]);
    assert_eq!(shelf.ask("SELECT settled FROM daily WHERE queue = 'orders'"), ["50"]);
}

#[test]
fn what_was_erased_or_has_expired_does_not_come_back_with_a_replay() {
    let shelf = Shelf::new();
    let mut items: Vec<Item> =
        (1..=10).map(|seq| keep(settled(seq, "orders", &seq.to_string()))).collect();
    items.push(Item::Erase { seq: 11, id: DeadlineId(3) });
    let mut writer = shelf.open();
    writer.apply(&items, 11).expect("the disk is well");
    let queue = QueueName::new("orders").expect("a valid name");
    let now = Time::from_millis(NOON + 100 * DAY_MS);
    writer.sweep(&queue, now, Span::from_days(90), Span::from_days(7), 4).expect("well");
    drop(writer);
    let mut writer = shelf.open();
    writer.apply(&items, 11).expect("the disk is well");
    assert_eq!(shelf.ask("SELECT key FROM deadlines ORDER BY id"), ["6", "7", "8", "9", "10"]);
    assert_eq!(shelf.ask("SELECT settled FROM daily"), ["10"], "the total of the day stays");
}

#[test]
fn erasing_takes_all_generations_and_their_bytes() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let mut items = Vec::new();
    for generation in 1..=3 {
        let mut record = settled(u64::from(generation), "orders", "someone@example.com");
        record.deadline.id = DeadlineId(5);
        record.deadline.generation = Generation(generation);
        record.deadline.payload = json("{\"name\":\"Erika Mustermann\"}");
        items.push(keep(record));
    }
    writer.apply(&items, 3).expect("the disk is well");
    writer.apply(&[Item::Erase { seq: 4, id: DeadlineId(5) }], 4).expect("the disk is well");
    assert_eq!(shelf.ask("SELECT count(*) FROM deadlines"), ["0"]);
    writer.tidy().expect("the disk is well");
    for file in shelf.files() {
        let bytes = std::fs::read(&file).expect("the archive's files can be read");
        for trace in ["Erika", "someone@"] {
            let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
            assert!(!found, "{trace} is still in {}", file.display());
        }
    }
}

#[test]
fn payloads_go_first_then_records_and_the_days_stay() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let queue = QueueName::new("orders").expect("a valid name");
    let items: Vec<Item> = (1..=100)
        .map(|seq| {
            let mut record = settled(seq, "orders", &seq.to_string());
            // One day apart; half of them without a payload.
            record.deadline.settled_at = Some(Time::from_millis(NOON + seq * DAY_MS));
            record.deadline.payload = if seq % 2 == 0 { json("{}") } else { PayloadAt::None };
            keep(record)
        })
        .chain([keep(settled(101, "others", "1"))])
        .collect();
    writer.apply(&items, 101).expect("the disk is well");
    let now = Time::from_millis(NOON + 101 * DAY_MS);
    let mut all = Swept::default();
    let mut slices = 0;
    while !all.is_done {
        let swept = writer
            .sweep(&queue, now, Span::from_days(90), Span::from_days(7), 8)
            .expect("the disk is well");
        all.records += swept.records;
        all.is_done = swept.is_done;
        assert!(swept.records <= 8 && swept.payloads <= 8, "a slice is bounded: {swept:?}");
        slices += 1;
    }
    assert!(slices > 3, "it took {slices} slices");
    assert_eq!(all.records, 10);
    let kinds = "SELECT payload IS NULL, count(*) FROM deadlines WHERE queue = 'orders' GROUP BY 1";
    assert_eq!(shelf.ask(kinds), ["0|4", "1|86"]);
    assert_eq!(shelf.ask("SELECT sum(settled) FROM daily WHERE queue = 'orders'"), ["100"]);
    assert_eq!(shelf.ask("SELECT count(*) FROM deadlines WHERE queue = 'others'"), ["1"]);
    let reader = writer.reader().expect("the archive opens");
    for (key, payload) in [("50", PayloadAt::Gone), ("51", PayloadAt::None), ("100", json("{}"))] {
        let found = reader.latest(&address("orders", key)).expect("the disk is well");
        assert_eq!(found.map(|deadline| deadline.payload), Some(payload), "{key}");
    }
}

#[test]
fn a_straggler_loses_its_payload_in_the_next_sweep() {
    let shelf = Shelf::new();
    let queue = QueueName::new("orders").expect("a valid name");
    let now = Time::from_millis(NOON + 30 * DAY_MS);
    let mut writer = shelf.open();
    for seq in 1..=3 {
        let mut record = settled(seq, "orders", &seq.to_string());
        record.deadline.payload = json("{}");
        writer.apply(&[keep(record)], seq).expect("the disk is well");
        let sweep = writer.sweep(&queue, now, Span::from_days(90), Span::from_days(7), 100);
        assert_eq!(sweep.expect("the disk is well").payloads, 1);
        drop(writer);
        writer = shelf.open();
    }
}

#[test]
fn a_changed_row_is_corrupt_and_never_shown() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let mut record = done(1, "orders", "42");
    record.deadline.payload = json("{\"total\":1}");
    record.deadline.frozen_until = Some(Time::from_millis(5));
    writer.apply(&[keep(record)], 1).expect("the disk is well");
    drop(writer);
    for column in [
        "generation",
        "ending",
        "due",
        "created_at",
        "lapsed_at",
        "finished_at",
        "priority",
        "frozen_until",
        "frozen_for",
        "attempts",
        "token",
        "seq",
        "payload_kind",
    ] {
        refuses(&shelf, column, &format!("{column} + 1"));
    }
    for column in ["outcome", "delivery_id", "last_error", "timeline", "payload"] {
        refuses(&shelf, column, "'{}'");
        refuses(&shelf, column, &format!("{column} || ' '"));
    }
    refuses(&shelf, "frozen_until", "NULL");
    refuses(&shelf, "payload", "NULL");
    refuses(&shelf, "payload", "CAST('{\"total\":2}' AS BLOB)");
}

/// Reading a record of which one column was changed must fail.
fn refuses(shelf: &Shelf, column: &str, value: &str) {
    let before = shelf.ask(&format!("SELECT quote({column}) FROM records"));
    shelf.run(&format!("UPDATE records SET {column} = {value}"));
    let reader = shelf.open().reader().expect("the archive opens");
    if shelf.ask(&format!("SELECT quote({column}) FROM records")) != before {
        let found = reader.latest(&address("orders", "42"));
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{column} = {value}: {found:?}");
    }
    shelf.run(&format!("UPDATE records SET {column} = {}", before[0]));
    assert!(reader.latest(&address("orders", "42")).is_ok_and(|found| found.is_some()));
}

#[test]
fn the_filter_denies_strangers_and_nobody_else() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let items: Vec<Item> =
        (1..=45_000).map(|seq| keep(settled(seq, "orders", &format!("k{seq}")))).collect();
    writer.apply(&items, 45_000).expect("the disk is well");
    drop(writer);
    let mut writer = shelf.open();
    let filter = writer.filter();
    assert!(filter.may_hold("orders", "stranger"), "nothing is denied before it is filled");
    let mut build = writer.filter_build().expect("the archive opens");
    let mut steps = 0;
    while !build.step().expect("the disk is well") {
        steps += 1;
        let late = settled(45_000 + steps, "late", &format!("late{steps}"));
        writer.apply(&[keep(late)], 45_000 + steps).expect("the disk is well");
    }
    assert!(filter.is_complete());
    assert!(steps >= 2, "it was filled in {steps} steps");
    assert!((1..=45_000).all(|seq| filter.may_hold("orders", &format!("k{seq}"))));
    assert!((1..=steps).all(|step| filter.may_hold("late", &format!("late{step}"))));
    let claimed = (0..10_000).filter(|number| filter.may_hold("late", &format!("k{number}")));
    assert!(claimed.count() < 200);
}

#[test]
fn an_archive_of_another_directory_a_newer_version_or_no_archive_is_refused() {
    let shelf = Shelf::new();
    drop(shelf.open());
    let shelf = shelf.named(*b"other-01");
    assert!(matches!(shelf.try_open().err(), Some(Error::Corrupt { .. })));
    shelf.run("PRAGMA user_version = 2");
    assert!(matches!(shelf.try_open().err(), Some(Error::NewerFormat { found: 2, .. })));
    let garbage = Shelf::new();
    std::fs::write(garbage.path(), vec![b'x'; 8192]).expect("the directory is there");
    assert!(matches!(garbage.try_open().err(), Some(Error::Corrupt { .. })));
}

#[test]
fn an_archive_that_is_ahead_of_its_journal_is_refused() {
    let shelf = Shelf::new();
    shelf.open().apply(&[keep(settled(7, "orders", "42"))], 9).expect("the disk is well");
    let writer = shelf.open();
    assert!(matches!(writer.check_journal(8), Err(Error::Corrupt { .. })));
    writer.check_journal(9).expect("the journal has it too");
    writer.check_journal(10).expect("the journal may have more");
}

#[test]
fn outcomes_beyond_the_limit_of_a_day_are_counted_together() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    for seq in 1..=200 {
        let mut record = settled(seq, "orders", &seq.to_string());
        record.deadline.outcome = Outcome::new(&format!("paid-{seq}")).ok();
        writer.apply(&[keep(record)], seq).expect("the disk is well");
    }
    assert_eq!(shelf.ask("SELECT count(*), sum(settled) FROM daily_outcomes"), ["65|200"]);
    let other = "SELECT settled FROM daily_outcomes WHERE outcome = 'other'";
    assert_eq!(shelf.ask(other), ["136"]);
}

#[test]
fn the_views_answer_what_a_shop_asks() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let mut items = Vec::new();
    for seq in 1..=12 {
        let mut record = match seq % 3 {
            0 => settled(seq, "orders", &seq.to_string()),
            1 => done(seq, "orders", &seq.to_string()),
            _ => superseded(seq, "coupons", &seq.to_string()),
        };
        record.deadline.payload = json("{\"total\":\"19.90\"}");
        items.push(keep(record));
    }
    writer.apply(&items, 12).expect("the disk is well");
    let daily =
        "SELECT queue, settled, lapsed, done, superseded FROM daily WHERE day = '2026-11-22'";
    assert_eq!(shelf.ask(daily), ["coupons|0|4|0|4", "orders|4|4|4|0"]);
    let lapsed = "SELECT key, due, lapsed_at, late_ms, payload ->> 'total' FROM lapsed
        WHERE queue = 'orders' ORDER BY due LIMIT 1";
    assert_eq!(shelf.ask(lapsed), ["1|2026-11-22T12:00:00.000Z|2026-11-22T12:00:00.007Z|7|19.90"]);
    let settled = "SELECT outcome, took_ms FROM settled WHERE key = '3'";
    assert_eq!(shelf.ask(settled), ["paid|1200000"]);
    let one = "SELECT state, delivery, due_ms, lapsed_at_ms FROM deadlines WHERE queue = 'coupons' AND key = '2'";
    assert_eq!(shelf.ask(one), [format!("lapsed|superseded|{NOON}|{}", NOON + 7)]);
    let plan = shelf.ask(&format!("EXPLAIN QUERY PLAN {one}")).join("\n");
    assert!(plan.contains("records_by_key"), "{plan}");
    let averages = "SELECT average_settle_ms, average_late_ms FROM daily WHERE queue = 'orders'";
    assert_eq!(shelf.ask(averages), ["1200000|7"]);
}

#[test]
fn every_question_in_the_documentation_can_be_asked() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let mut record = done(1, "orders", "42");
    record.deadline.payload = json("{\"total\":\"19.90\"}");
    writer.apply(&[keep(record), keep(settled(2, "orders", "43"))], 2).expect("the disk is well");
    let documentation = include_str!("../../../../../docs/archive.md");
    let blocks = documentation.split("```sql").skip(1).filter_map(|rest| rest.split("```").next());
    let questions = blocks.flat_map(|block| block.split(';')).map(str::trim);
    let mut asked = 0;
    for question in questions.filter(|question| !question.is_empty()) {
        let answer = shelf.ask(question);
        let is_about_now = question.contains("'now'") || question.contains("> 60000");
        assert!(is_about_now || !answer.is_empty(), "{question}");
        asked += 1;
    }
    assert!(asked >= 6, "{asked} questions");
    let plan = shelf.ask(
        "EXPLAIN QUERY PLAN SELECT generation FROM deadlines WHERE queue = 'orders' AND key = '42'",
    );
    assert!(plan.join("\n").contains("records_by_key"), "{plan:?}");
}

#[test]
fn only_a_final_record_is_archived() {
    let mut record = done(1, "orders", "42");
    record.deadline.delivery.as_mut().expect("it lapsed").state = DeliveryState::Dead;
    assert!(!record.deadline.is_final());
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let kept =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.apply(&[keep(record)], 1)));
    assert!(kept.is_err(), "a dead delivery may still be revived");
    assert_eq!(shelf.ask("SELECT count(*) FROM deadlines"), ["0"]);
    assert_eq!(settled(1, "orders", "1").deadline.state, State::Settled);
}
