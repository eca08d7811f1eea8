//! Pages of a list, against a list that is simply sorted in memory.

use duly_engine::command::Filter;
use duly_engine::deadline::{Deadline, DeliveryState, State};
use duly_engine::id::{DeadlineId, Generation, QueueName, QueueNo};
use duly_engine::time::Time;
use duly_store::archive::{Item, Reader};

use super::shelf::{NOON, Shelf, done, keep, settled, superseded};

/// Records whose due times, keys, generations and endings repeat in many ways.
fn records(count: u64) -> Vec<Deadline> {
    let mut records = Vec::new();
    for seq in 1..=count {
        let key = ["a", "ab", "ab\u{10FFFF}", "b", "日本", "ä"][(seq % 6) as usize].to_owned();
        let key = format!("{key}{}", seq % 7);
        let mut record = match seq * 7 % 11 {
            0 => superseded(seq, "orders", &key),
            1..=4 => done(seq, "orders", &key),
            _ => settled(seq, "orders", &key),
        };
        record.deadline.due = Time::from_millis(NOON + seq * 7919 % 97 * 1000);
        record.deadline.id = DeadlineId(seq % 40 + 1);
        record.deadline.generation = Generation(u32::try_from(seq / 40 + 1).expect("small"));
        // Removed once and created again: the queue has had two numbers.
        record.deadline.queue_no = QueueNo(1 + u32::from(seq > count / 2));
        if let Some(delivery) = &mut record.deadline.delivery {
            delivery.id.deadline = record.deadline.id;
            delivery.id.generation = record.deadline.generation;
        }
        records.push(record.deadline);
    }
    records.sort_by_key(|one| (one.due, one.id, one.generation));
    records
}

fn matches(one: &Deadline, filter: &Filter) -> bool {
    let delivery = one.delivery.as_ref().map(|delivery| delivery.state);
    filter.state.is_none_or(|state| one.state == state)
        && filter.delivery.is_none_or(|state| delivery == Some(state))
        && filter.due_from.is_none_or(|from| one.due >= from)
        && filter.due_to.is_none_or(|to| one.due < to)
        && filter.key_prefix.as_ref().is_none_or(|prefix| one.key.as_str().starts_with(prefix))
}

/// All pages of a list, one after another.
fn all_pages(reader: &Reader, filter: &Filter, limit: usize) -> Vec<Deadline> {
    let queue = QueueName::new("orders").expect("a valid name");
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = reader.page(&queue, filter, after, limit).expect("the disk is well");
        assert!(page.next.is_none() || page.next > after, "every page goes on");
        found.extend(page.deadlines);
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

#[test]
fn every_filter_gives_what_a_sorted_list_gives() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let records = records(600);
    let items: Vec<Item> = (1..)
        .zip(&records)
        .map(|(seq, one)| keep(duly_engine::deadline::Final { seq, deadline: one.clone() }))
        .collect();
    writer.apply(&items, 600).expect("the disk is well");
    let reader = writer.reader().expect("the archive opens");
    let some = |at: u64| Some(Time::from_millis(NOON + at));
    let mut checked = 0;
    for state in [None, Some(State::Settled), Some(State::Lapsed), Some(State::Pending)] {
        for delivery in [None, Some(DeliveryState::Done), Some(DeliveryState::Superseded)] {
            for (due_from, due_to) in [
                (None, None),
                (some(20_000), None),
                (None, some(50_000)),
                (some(9_000), some(9_001)),
            ] {
                for prefix in
                    [None, Some("a"), Some("ab"), Some("ab\u{10FFFF}"), Some("日"), Some("x")]
                {
                    let key_prefix = prefix.map(str::to_owned);
                    let filter = Filter { state, delivery, due_from, due_to, key_prefix };
                    let wanted: Vec<&Deadline> =
                        records.iter().filter(|one| matches(one, &filter)).collect();
                    for limit in [1, 7, 1000] {
                        let found = all_pages(&reader, &filter, limit);
                        let found: Vec<&Deadline> = found.iter().collect();
                        assert_eq!(found, wanted, "{filter:?} by {limit}");
                        checked += found.len();
                    }
                }
            }
        }
    }
    assert!(checked > 10_000, "{checked} records were listed");
}

#[test]
fn a_rare_ending_is_found_page_by_page_without_a_long_wait() {
    let shelf = Shelf::new();
    let mut writer = shelf.open();
    let count = 115_000;
    for from in (1..=count).step_by(23_000) {
        let items: Vec<Item> = (from..from + 23_000)
            .map(|seq| {
                let key = seq.to_string();
                let rare = seq == 5 || seq == count - 5;
                let mut record = if rare {
                    superseded(seq, "orders", &key)
                } else {
                    settled(seq, "orders", &key)
                };
                record.deadline.due = Time::from_millis(NOON + seq);
                record.deadline.timeline.truncate(1);
                keep(record)
            })
            .collect();
        writer.apply(&items, from + 22_999).expect("the disk is well");
    }
    let reader = writer.reader().expect("the archive opens");
    let queue = QueueName::new("orders").expect("a valid name");
    let filter = Filter { delivery: Some(DeliveryState::Superseded), ..Filter::default() };
    let first = reader.page(&queue, &filter, None, 10).expect("the disk is well");
    assert_eq!(first.deadlines.len(), 1, "the walk was given up before the second");
    let second = reader.page(&queue, &filter, first.next, 10).expect("the disk is well");
    assert_eq!(second.deadlines.len(), 1);
    assert_eq!(second.next, None);
    let prefix = Filter { key_prefix: Some("11499".to_owned()), ..Filter::default() };
    let found = reader.page(&queue, &prefix, None, 100).expect("the disk is well");
    assert_eq!((found.deadlines.len(), found.next), (11, None));
}
