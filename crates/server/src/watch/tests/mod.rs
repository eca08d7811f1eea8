//! The watch in a made-up world: a table that is a list, a queue that is a map, a clock that moves
//! when everything else rests. The scenarios stand in the files beside this one; each of them may
//! be run again with a restart between every two steps, and must come out the same.

mod clocks;
mod observed;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use duly_engine::answer::{Answer, Held, QueueView, Refusal, SettleResult, Totals};
use duly_engine::command::{Command, IfExists, Scan, Schedule, Settle, When};
use duly_engine::deadline::{Deadline, Delivery, DeliveryState, Ladder, PayloadAt, State};
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Generation, Key, QueueName, QueueNo};
use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};

use super::bookmark::Bookmark;
use super::row::Row;
use super::watcher::{Act, Query, Watcher};
use crate::config::{Watch, WatchDue, WatchReport, WatchStart};
use crate::database::Value;
use crate::metrics::{Trouble, WatchFigures};
use crate::units::{instant, time_zone};

/// When every story begins.
const NOON: &str = "2026-11-22T12:00:00Z";

/// A row of the shop's table, in its own words.
#[derive(Clone, Debug)]
struct Order {
    key: i64,
    created: String,
    due: Option<String>,
    status: &'static str,
    is_paid: bool,
    changed: Option<String>,
}

/// Everything there is.
struct World {
    now: Time,
    orders: Vec<Order>,
    deadlines: BTreeMap<Key, Deadline>,
    lapse_paused: bool,
    rules: Watch,
    watcher: Watcher,
    disk: Option<Bookmark>,
    restarts: bool,
    is_away: bool,
    queries: usize,
    rows_read: usize,
    /// Keys that the action cancelled, and when.
    cancelled: Vec<(i64, Time)>,
    next_id: u64,
    refusal: Option<Refusal>,
}

pub(super) fn rules() -> Watch {
    Watch {
        database: "shop".to_owned(),
        table: "orders".to_owned(),
        key: "id".to_owned(),
        created: "created_at".to_owned(),
        due: WatchDue::After(Span::from_mins(30)),
        open: "status = 'unpaid'".to_owned(),
        outcome: Some("status".to_owned()),
        time_zone: time_zone("UTC").expect("it is known"),
        names_zone: true,
        acts: true,
        start: WatchStart::Now,
        period: Span::from_secs(1),
        overlap: Span::from_secs(30),
        reconcile: Span::from_mins(1),
        max_per_minute: 1_000,
        allow_scan: false,
        report: WatchReport::default(),
    }
}

fn orders() -> QueueName {
    QueueName::new("orders").expect("it is a good name")
}

fn key(number: i64) -> Key {
    Key::new(&number.to_string()).expect("it is a good key")
}

fn at(text: &str) -> Time {
    instant(text).expect("the tests write instants")
}

impl World {
    fn new(rules: Watch) -> World {
        World {
            now: at(NOON),
            orders: Vec::new(),
            deadlines: BTreeMap::new(),
            lapse_paused: false,
            watcher: Watcher::new(orders(), rules.clone(), None),
            rules,
            disk: None,
            restarts: false,
            is_away: false,
            queries: 0,
            rows_read: 0,
            cancelled: Vec::new(),
            next_id: 1,
            refusal: None,
        }
    }

    /// The same story with a restart between every two steps that change something.
    fn restarting(rules: Watch) -> World {
        World { restarts: true, ..World::new(rules) }
    }

    /// The time as the shop writes it, in the zone of its own clock.
    fn written(&self, zone: &str) -> String {
        let millis = i64::try_from(self.now.millis()).expect("it is near");
        let stamp = jiff::Timestamp::from_millisecond(millis).expect("it is near");
        let zone = time_zone(zone).expect("it is known");
        zone.to_datetime(stamp).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// An order is placed and committed at once.
    fn order(&mut self, key: i64) {
        let created = self.written("UTC");
        self.row(key, &created);
    }

    /// A row with this time of creation becomes visible.
    fn row(&mut self, key: i64, created: &str) {
        let created = created.to_owned();
        self.orders.push(Order {
            key,
            created,
            due: None,
            status: "unpaid",
            is_paid: false,
            changed: None,
        });
    }

    fn set(&mut self, key: i64, status: &'static str) {
        let order = self.orders.iter_mut().find(|order| order.key == key);
        order.expect("the order is there").status = status;
    }

    fn status(&self, key: i64) -> &'static str {
        self.orders.iter().find(|order| order.key == key).map_or("gone", |order| order.status)
    }

    /// Time goes on.
    fn run(&mut self, span: Span) {
        let until = self.now.plus(span);
        let mut acts = 0;
        loop {
            self.lapse();
            match self.watcher.next(self.now) {
                Act::Wait(later) if later >= until => break,
                Act::Wait(later) => {
                    assert!(later > self.now, "it waits for what has passed");
                    // A lapse does not wait for the watch.
                    let due = self.deadlines.values().filter(|it| it.state == State::Pending);
                    let due = due.map(|it| it.due).filter(|due| *due > self.now).min();
                    self.now = due.map_or(later, |due| due.min(later));
                    acts = 0;
                }
                act => {
                    acts += 1;
                    assert!(acts < 100_000, "it never rests: {act:?}");
                    self.perform(act);
                }
            }
        }
        self.now = until;
        self.lapse();
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Wait(_) => unreachable!("it is waited for elsewhere"),
            Act::Keep(bookmark) => {
                self.disk = Some(bookmark);
                self.watcher.kept();
            }
            Act::Query(_) if self.is_away => {
                self.watcher.failed(self.now, "it is not there".to_owned());
            }
            Act::Query(query) => {
                self.queries += 1;
                let rows = self.query(&query);
                self.rows_read += rows.len();
                self.watcher.rows(self.now, &rows);
            }
            Act::Tell(commands) => {
                let before = self.digest();
                let answers = commands.into_iter().map(|command| self.tell(command)).collect();
                // What was told is durable; the answer may be lost with the process.
                if self.restarts && self.digest() != before {
                    self.restart();
                } else {
                    self.watcher.told(self.now, answers);
                }
            }
        }
    }

    /// What has changed when something has.
    fn digest(&self) -> (usize, usize, u32) {
        let pending = self.deadlines.values().filter(|it| it.state == State::Pending).count();
        let lives = self.deadlines.values().map(|it| it.generation.0).sum();
        (self.deadlines.len(), pending, lives)
    }

    /// The process ends without a goodbye and starts again.
    fn restart(&mut self) {
        self.watcher = Watcher::new(orders(), self.rules.clone(), self.disk.clone());
    }

    fn figures(&self) -> &WatchFigures {
        self.watcher.figures()
    }

    fn trouble(&self) -> Option<&'static str> {
        self.figures().trouble.as_ref().map(Trouble::code)
    }

    fn query(&self, query: &Query) -> Vec<Row> {
        let text = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => panic!("the table holds text, not {other:?}"),
        };
        let number = |value: &Value| match value {
            Value::Integer(number) => *number,
            other => panic!("keys are numbers, not {other:?}"),
        };
        let since = match query {
            Query::Newest(from) | Query::Open { from, .. } => text(from),
            Query::Sample | Query::Keys(_) => String::new(),
        };
        let mut orders: Vec<&Order> =
            self.orders.iter().filter(|order| order.created >= since).collect();
        orders.sort_by(|one, other| (&one.created, one.key).cmp(&(&other.created, other.key)));
        let open = |order: &&&Order| order.status == "unpaid";
        match query {
            Query::Sample => orders.into_iter().take(1).map(row).collect(),
            Query::Newest(_) => orders.iter().rfind(open).copied().map(row).into_iter().collect(),
            Query::Open { after, limit, .. } => {
                let after = after.as_ref().map(|at| (text(&at.created), number(&at.key)));
                let after = |order: &&&Order| {
                    after.as_ref().is_none_or(|at| (&order.created, order.key) > (&at.0, at.1))
                };
                let page = orders.iter().filter(open).filter(after).take(*limit);
                page.map(|it| row(it)).collect()
            }
            Query::Keys(keys) => {
                let asked = |order: &&&Order| keys.contains(&key(order.key));
                orders.iter().filter(asked).map(|it| row(it)).collect()
            }
        }
    }

    fn tell(&mut self, command: Command) -> Answer {
        match command {
            Command::Schedule(schedule) => self.schedule(schedule),
            Command::Settle(settle) => self.settle(&settle),
            Command::Get(at) => match self.deadlines.get(&at.key) {
                Some(record) => Answer::Deadline(Box::new(record.clone())),
                None => Answer::Refused(Refusal::UnknownDeadline),
            },
            Command::Scan(Scan { filter, .. }) => {
                let found = self.deadlines.values().filter(|it| {
                    filter.state.is_none_or(|state| it.state == state)
                        && filter.due_to.is_none_or(|to| it.due < to)
                });
                Answer::Scanned { found: found.cloned().collect(), next_slot: None }
            }
            Command::Pause { lapses, .. } => {
                self.lapse_paused = lapses.expect("the watch pauses lapses");
                Answer::Queue(Box::new(self.queue()))
            }
            Command::GetQueue(_) => Answer::Queue(Box::new(self.queue())),
            other => panic!("a watch asks for {other:?}"),
        }
    }

    fn queue(&self) -> QueueView {
        QueueView {
            queue: orders(),
            policy: Policy::default(),
            declared: true,
            paused: false,
            lapse_paused: self.lapse_paused,
            last_leased_at: None,
            shift: None,
            now: Held::default(),
            total: Totals::default(),
            too_late: 0,
        }
    }

    fn schedule(&mut self, schedule: Schedule) -> Answer {
        if let Some(refusal) = &self.refusal {
            return Answer::Refused(refusal.clone());
        }
        let When::Due(due) = schedule.when else { panic!("a watch knows when") };
        let existing = self.deadlines.get(&schedule.at.key).cloned();
        let generation = match (&existing, schedule.if_exists) {
            (None, _) => Generation::FIRST,
            (Some(record), IfExists::Renew) if record.is_final() => record.generation.next(),
            (Some(record), IfExists::Replace) if record.state == State::Pending => {
                record.generation.next()
            }
            (Some(record), IfExists::Replace) => {
                return Answer::Refused(Refusal::DeliveryUnderWay(Box::new(record.clone())));
            }
            (Some(record), _) => {
                return Answer::Scheduled {
                    created: false,
                    differs: Vec::new(),
                    nobody_acts: false,
                    deadline: Box::new(record.clone()),
                };
            }
        };
        let id = existing.map_or_else(
            || {
                self.next_id += 1;
                DeadlineId(self.next_id)
            },
            |record| record.id,
        );
        let payload = schedule.payload.expect("a watch marks its deadlines");
        let record = Deadline {
            queue_no: QueueNo(1),
            queue: orders(),
            key: schedule.at.key.clone(),
            id,
            generation,
            state: State::Pending,
            due,
            created_at: self.now,
            priority: 1_024,
            frozen_until: None,
            frozen_for: Span::ZERO,
            outcome: None,
            settled_at: None,
            lapsed_at: None,
            delivery: None,
            payload: PayloadAt::Here(payload),
            timeline: Vec::new(),
        };
        self.deadlines.insert(schedule.at.key, record.clone());
        Answer::Scheduled {
            created: true,
            differs: Vec::new(),
            nobody_acts: false,
            deadline: Box::new(record),
        }
    }

    fn settle(&mut self, settle: &Settle) -> Answer {
        self.lapse();
        let Some(record) = self.deadlines.get_mut(&settle.at.key) else {
            return Answer::Refused(Refusal::UnknownDeadline);
        };
        let result = match record.state {
            State::Pending => {
                record.state = State::Settled;
                record.outcome = Some(settle.outcome.clone());
                SettleResult::Settled
            }
            State::Settled if record.outcome.as_ref() == Some(&settle.outcome) => {
                SettleResult::AlreadySettled
            }
            State::Settled => SettleResult::SettledOtherwise,
            State::Lapsed => SettleResult::TooLate(duly_engine::deadline::Acted::Yes),
        };
        Answer::Settled { result, deadline: Box::new(record.clone()) }
    }

    /// What is due lapses, and the guarded action acts on it.
    fn lapse(&mut self) {
        let due = self.deadlines.values_mut();
        let due = due.filter(|it| it.state == State::Pending && it.due <= self.now);
        if self.lapse_paused {
            return;
        }
        for record in due {
            record.state = State::Lapsed;
            record.lapsed_at = Some(self.now);
            let open = |order: &&mut Order| {
                order.key.to_string() == record.key.as_str() && order.status == "unpaid"
            };
            let order = self.orders.iter_mut().find(open).filter(|_| self.rules.acts);
            let state =
                if order.is_some() { DeliveryState::Done } else { DeliveryState::Superseded };
            if let Some(order) = order {
                order.status = "cancelled";
                self.cancelled.push((order.key, self.now));
            }
            record.delivery = Some(Delivery {
                id: DeliveryId {
                    directory: DirectoryId(1),
                    deadline: record.id,
                    generation: record.generation,
                },
                state,
                attempts: 1,
                next_attempt_at: None,
                leased_until: None,
                token: None,
                last_error: None::<Arc<str>>,
                finished_at: Some(self.now),
                ladder: Ladder { attempts: 0, since: self.now },
                held_here: false,
            });
        }
    }

    fn outcome(&self, number: i64) -> Option<&str> {
        self.deadlines.get(&key(number))?.outcome.as_ref().map(duly_engine::id::Outcome::as_str)
    }
}

fn row(order: &Order) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    Row {
        key: Value::Integer(order.key),
        created: text(&order.created),
        due: order.due.as_deref().map(text).or(Some(Value::Null)),
        is_open: order.status == "unpaid",
        outcome: Some(text(order.status)),
        is_cancelled: order.status == "cancelled",
        is_paid: order.is_paid || order.status == "paid",
        changed: order.changed.as_deref().map(text),
    }
}

/// A story, also with a restart between every two steps.
fn told(rules: &Watch, story: impl Fn(World)) {
    story(World::new(rules.clone()));
    story(World::restarting(rules.clone()));
}
