//! Every fact there is, there and back, cut short and bent.

use std::collections::BTreeSet;

use super::*;
use crate::deadline::Payload;

fn key() -> Key {
    Key::new("order 42 – née").expect("it is a key")
}

fn outcome() -> Outcome {
    Outcome::new("paid").expect("it is an outcome")
}

fn queue_name() -> QueueName {
    QueueName::new("shop1.orders").expect("it is a name")
}

fn payload(kind: PayloadKind) -> PayloadField {
    Some(Payload { kind, bytes: br#"{"total":"19.90"}"#.as_slice().into() }).into()
}

fn policies() -> Vec<Policy> {
    let webhook = Webhook {
        url: "https://shop.example/lapsed".into(),
        secrets: vec!["whsec_a".into(), "whsec_b".into()],
        batch: 100,
        timeout: Span::from_secs(15),
    };
    let sql = Target::Sql { name: "shop".into(), batch: 1_000 };
    vec![
        Policy::default(),
        Policy { target: Target::Webhook(webhook), rate: Some(u32::MAX), ..Policy::default() },
        Policy {
            target: sql,
            default_delay: Some(Span::from_mins(30)),
            decide_at: DecideAt::Handout,
            ..Policy::default()
        },
        Policy { target: Target::Exec { command: "cancel".into() }, ..Policy::default() },
        Policy { target: Target::Publish { to: "lapses".into(), batch: 7 }, ..Policy::default() },
        Policy { target: Target::None, retry: vec![Span::from_millis(1)], ..Policy::default() },
    ]
}

fn timeline() -> Vec<Event> {
    let (due, until) = (Time::from_millis(2_000_000_000_000), Time::NEVER);
    let error: Arc<str> = "503 Service Unavailable".into();
    let whats = [
        What::Scheduled { due },
        What::Extended { due },
        What::Shifted { due },
        What::Frozen { until },
        What::Settled { outcome: outcome() },
        What::Lapsed,
        What::Leased { attempt: 300 },
        What::Retried { error: error.clone(), next_attempt_at: due },
        What::Done,
        What::Superseded,
        What::Dead { error },
        What::Revived,
    ];
    whats.into_iter().map(|what| Event { at: due, what }).collect()
}

fn deadline() -> Deadline {
    Deadline {
        queue_no: QueueNo(7),
        queue: queue_name(),
        key: key(),
        id: DeadlineId(u64::MAX - 1),
        generation: Generation(3),
        state: State::Pending,
        due: Time::from_millis(2_000_000_000_000),
        created_at: Time::ZERO,
        priority: 1024,
        frozen_until: None,
        frozen_for: Span::ZERO,
        outcome: None,
        settled_at: None,
        lapsed_at: None,
        delivery: None,
        payload: PayloadAt::None,
        timeline: timeline(),
    }
}

fn lapsed(state: DeliveryState) -> Deadline {
    let id = DeliveryId {
        directory: DirectoryId(u64::MAX),
        deadline: DeadlineId(17),
        generation: Generation(1),
    };
    let delivery = Delivery {
        id,
        state,
        attempts: 4,
        next_attempt_at: Some(Time::from_millis(5)),
        leased_until: Some(Time::from_millis(6)),
        token: Some(Token(99)),
        last_error: Some("timeout".into()),
        finished_at: Some(Time::from_millis(7)),
        ladder: Ladder { attempts: 2, since: Time::from_millis(3) },
        held_here: true,
    };
    Deadline {
        state: State::Lapsed,
        lapsed_at: Some(Time::from_millis(4)),
        frozen_until: Some(Time::from_millis(2)),
        frozen_for: Span::from_millis(1),
        delivery: Some(delivery),
        payload: PayloadAt::Gone,
        ..deadline()
    }
}

fn base() -> Base {
    let totals = Totals {
        scheduled: 10,
        replaced: 1,
        settled: [(outcome(), 5)].into(),
        lapsed: 4,
        attempts: 9,
        retried: 5,
        done: 1,
        superseded: 1,
        died: 2,
        revived: 1,
    };
    let shift = Shift {
        from: Time::ZERO,
        to: Time::NEVER,
        by_ms: -300_000,
        below: DeadlineId(11),
        cursor: DeadlineId(5),
        moved: 3,
    };
    let queues = policies().into_iter().enumerate().map(|(place, policy)| BaseQueue {
        queue: QueueNo(u32::try_from(place).expect("there are few")),
        name: queue_name(),
        policy,
        declared: place == 0,
        paused: place == 1,
        lapse_paused: place == 2,
        totals: totals.clone(),
        shift: (place == 3).then_some(shift),
    });
    Base {
        next_id: DeadlineId(18),
        next_queue: QueueNo(u32::MAX),
        opened_at: Time::from_millis(1),
        recovery_until: Time::from_millis(2),
        guard: Some(GuardReason::StartedBehind),
        queues: queues.collect(),
    }
}

/// Every kind of fact, with everything in it that may be in it.
fn facts() -> Vec<Fact> {
    let (queue, id, at) = (QueueNo(7), DeadlineId(17), Time::from_millis(2_000_000_000_000));
    let error: Arc<str> = "the lease ran out".into();
    let scheduled = |payload| Fact::Scheduled {
        queue,
        id,
        generation: Generation::FIRST,
        key: key(),
        due: at,
        priority: u32::MAX,
        replaces: true,
        payload,
    };
    let restated = |deadline, payload| Fact::Restated { deadline: Box::new(deadline), payload };
    let shift = Shift {
        from: at,
        to: Time::NEVER,
        by_ms: i64::MIN,
        below: id,
        cursor: DeadlineId(1),
        moved: 0,
    };
    let mut facts = vec![
        Fact::Base(Box::new(base())),
        Fact::Opened { recovery_until: at },
        Fact::Alive,
        Fact::QueueDeleted { queue },
        Fact::QueuePaused { queue, deliveries: true, lapses: false },
        scheduled(PayloadField::None),
        scheduled(payload(PayloadKind::Json)),
        scheduled(payload(PayloadKind::Bytes)),
        Fact::Remembered { queue, id, key: key(), outcome: outcome(), until: at },
        Fact::Settled { queue, id, outcome: outcome() },
        Fact::Moved { queue, id, due: at, shifted: false },
        Fact::Frozen { queue, id, until: at, total_ms: 600_000 },
        Fact::Lapsed { queue, id },
        Fact::Leased { queue, id, until: at, held_here: true },
        Fact::Touched { queue, id, until: at },
        Fact::Delivered { queue, id, superseded: true },
        Fact::Retried { queue, id, next_attempt_at: at, error: error.clone(), by_verdict: false },
        Fact::Died { queue, id, error, by_verdict: true },
        Fact::Revived { queue, id },
        Fact::Erased { queue, id },
        restated(deadline(), PayloadField::None),
        restated(
            Deadline {
                state: State::Settled,
                outcome: Some(outcome()),
                settled_at: Some(at),
                ..deadline()
            },
            payload(PayloadKind::Json),
        ),
        Fact::ShiftBegun { queue, shift },
        Fact::ShiftAdvanced { queue, cursor: id, moved: u64::MAX },
        Fact::ShiftEnded { queue },
    ];
    facts.extend(policies().into_iter().map(|policy| Fact::QueueSet {
        queue,
        name: queue_name(),
        policy: Box::new(policy),
        declared: true,
    }));
    let guards = [
        None,
        Some(GuardReason::ForwardJump),
        Some(GuardReason::BackwardStep),
        Some(GuardReason::StartedBehind),
        Some(GuardReason::StartedAhead),
    ];
    facts.extend(guards.into_iter().map(Fact::Guard));
    let states = [
        DeliveryState::Ready,
        DeliveryState::Leased,
        DeliveryState::Done,
        DeliveryState::Superseded,
        DeliveryState::Dead,
    ];
    facts.extend(states.into_iter().map(|state| restated(lapsed(state), PayloadField::None)));
    facts
}

fn bytes(fact: &Fact) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, fact.clone());
    bytes
}

#[test]
fn every_fact_reads_back_as_it_was_written() {
    let mut tags = BTreeSet::new();
    for fact in facts() {
        let mut out = Vec::new();
        let written = write(&mut out, fact);
        tags.insert(out[0]);
        let read: Vec<Fact> = read(&out).map(|fact| fact.expect("it was written")).collect();
        assert_eq!(read, [written]);
    }
    assert_eq!(tags, (1..=24).collect(), "a fact is missing among the examples");
}

#[test]
fn facts_follow_each_other_and_payloads_are_found_where_they_say() {
    let mut out = Vec::new();
    let written: Vec<Fact> = facts().into_iter().map(|fact| write(&mut out, fact)).collect();
    let read: Vec<Fact> = read(&out).map(|fact| fact.expect("it was written")).collect();
    assert_eq!(read, written);
    let mut payloads = 0;
    for fact in read {
        let (Fact::Scheduled { payload, .. } | Fact::Restated { payload, .. }) = fact else {
            continue;
        };
        if let PayloadField::At { offset, bytes, kind, hash } = payload {
            let found = &out[offset as usize..(offset + bytes) as usize];
            assert_eq!(found, br#"{"total":"19.90"}"#);
            assert_eq!(hash, Payload { kind, bytes: found.into() }.hash());
            payloads += 1;
        }
    }
    assert_eq!(payloads, 3);
}

#[test]
fn a_fact_that_was_cut_short_is_no_fact() {
    for fact in facts() {
        let whole = bytes(&fact);
        for cut in 1..whole.len() {
            let read: Vec<_> = read(&whole[..cut]).collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{cut} bytes of {fact:?} read {read:?}");
        }
    }
}

#[test]
fn bent_bytes_never_panic_and_reading_ends() {
    let mut bent = 0_u32;
    for fact in facts() {
        let mut bytes = bytes(&fact);
        for place in 0..bytes.len() {
            let good = bytes[place];
            let flipped = (0..8).map(|bit| good ^ (1 << bit));
            for bad in flipped.chain([0, 1, 2, 0x7f, 0x80, 0xff]) {
                bytes[place] = bad;
                let facts = read(&bytes).count();
                assert!(facts <= bytes.len(), "more facts than bytes");
                bent += 1;
            }
            bytes[place] = good;
        }
    }
    assert!(bent > 40_000, "only {bent} were tried");
}

#[test]
fn a_length_that_lies_costs_nothing() {
    // A base with as many queues as there are numbers.
    let mut base = vec![1, 1, 1, 0, 0, 0];
    u64::MAX.write(&mut base);
    let read: Vec<_> = read(&base).collect();
    assert!(matches!(read.as_slice(), [Err(Undecodable { .. })]), "{read:?}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let told = |bytes: &[u8]| match read(bytes).next() {
        Some(Err(wrong)) => wrong.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&[0]), "no fact at byte 0 of the facts");
    assert_eq!(told(&[13, 7]), "no byte at byte 2 of the facts");
    assert_eq!(
        told(&[13, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        "no number of 32 bits at byte 6 of the facts"
    );
}

/// The bytes are kept for ever: a change of these is a change of the format.
#[test]
fn the_bytes_of_a_fact_do_not_change() {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("it is half a byte");
    let hex = |fact: Fact| -> String {
        bytes(&fact).into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    };
    let (queue, id) = (QueueNo(7), DeadlineId(300));
    assert_eq!(hex(Fact::Alive), "03");
    assert_eq!(hex(Fact::Lapsed { queue, id }), "0d07ac02");
    assert_eq!(hex(Fact::Settled { queue, id, outcome: outcome() }), "0a07ac020470616964");
    let until = Time::from_millis(1_795_348_800_000);
    let leased = Fact::Leased { queue, id, until, held_here: false };
    assert_eq!(hex(leased), "0e07ac0280c48299a03400");
    let scheduled = Fact::Scheduled {
        queue,
        id,
        generation: Generation::FIRST,
        key: Key::new("42").expect("it is a key"),
        due: until,
        priority: 1024,
        replaces: false,
        payload: Some(Payload { kind: PayloadKind::Json, bytes: b"{}".as_slice().into() }).into(),
    };
    assert_eq!(hex(scheduled), "0807ac020102343280c48299a034800800039fc6e4de04027b7d");
}

/// Format 1 hashed payloads byte by byte; who compares two of them must not have to know.
#[test]
fn a_payload_of_format_1_is_hashed_anew() {
    let payload_of = |facts: &[u8]| match read(facts).next() {
        Some(Ok(Fact::Scheduled { payload, .. })) => payload,
        other => panic!("{other:?}"),
    };
    let rest = b"\x02{}";
    let head = b"\x08\x07\xac\x02\x01\x0242\x80\xc4\x82\x99\xa04\x80\x08\x00";
    let before = [&head[..], b"\x01\xa2\xa2\x91\xeb\x0b", rest].concat();
    let now = [&head[..], b"\x03\x9f\xc6\xe4\xde\x04", rest].concat();
    assert_eq!(payload_of(&before), payload_of(&now));
}
