//! What one life is like: drawn from its seed before anything happens.
//!
//! Each life switches some kinds of requests and faults off and turns others up (what a swarm of lives
//! meets, no single mixture would), and has its own sizes, its own queues and its own speed.

use duly::driver::open::StoreSettings;
use duly_engine::command::Address;
use duly_engine::id::{Key, QueueName};
use duly_engine::limits::Limits;
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::time::Span;

use crate::dice::Dice;
use crate::world::Settings;

/// The kinds of requests, and how often each is made in an ordinary life.
pub(super) const KINDS: [(Kind, u32); 26] = [
    (Kind::Keep, 14),
    (Kind::Replace, 12),
    (Kind::Renew, 10),
    (Kind::Fail, 4),
    (Kind::Over, 5),
    (Kind::Settle, 26),
    (Kind::SettleGeneration, 5),
    (Kind::Remember, 6),
    (Kind::Extend, 6),
    (Kind::Freeze, 6),
    (Kind::Get, 14),
    (Kind::Scan, 2),
    (Kind::Count, 1),
    (Kind::Waiting, 2),
    (Kind::Claim, 4),
    (Kind::Revive, 4),
    (Kind::Erase, 4),
    (Kind::OldVerdict, 4),
    (Kind::PutQueue, 3),
    (Kind::Pause, 3),
    (Kind::Shift, 2),
    (Kind::DeleteQueue, 1),
    (Kind::GetQueue, 2),
    (Kind::ListQueues, 1),
    (Kind::GetClock, 1),
    (Kind::Confirm, 1),
];

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Keep,
    Replace,
    Renew,
    Fail,
    Over,
    Settle,
    SettleGeneration,
    Remember,
    Extend,
    Freeze,
    Get,
    Scan,
    Count,
    Waiting,
    Claim,
    Revive,
    Erase,
    OldVerdict,
    PutQueue,
    Pause,
    Shift,
    DeleteQueue,
    GetQueue,
    ListQueues,
    GetClock,
    Confirm,
}

/// The drawn circumstances of a life.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) queues: Vec<QueueName>,
    /// Keys in each queue.
    pub(super) keys: u64,
    pub(super) clients: usize,
    pub(super) workers: usize,
    /// How often each kind of request is made.
    pub(super) weights: Vec<u32>,
    /// How often each kind of fault strikes.
    pub(super) faults: Vec<u32>,
    /// The largest payload, in bytes.
    pub(super) payload: u64,
    /// Chance in a hundred that a millisecond passes between two duties.
    pub(super) slowness: u64,
    /// Bursts of requests.
    pub(super) bursts: u64,
}

impl Plan {
    pub(super) fn new(seed: u64, dice: &mut Dice, faults: &[u32]) -> Plan {
        let segment_bytes = *dice.pick(&[32 << 10, 48 << 10, 64 << 10]);
        let keep = dice.within(2..=6);
        let queues = dice.within(3..=6);
        let swarm = |dice: &mut Dice, weight: u32, least: u32| match dice.below(6) {
            0 => least,
            1 => weight * 4,
            _ => weight,
        };
        let weights = KINDS.iter().map(|(kind, weight)| {
            // Without any of these nothing ever happens.
            let least = u32::from(matches!(kind, Kind::Keep | Kind::Settle));
            swarm(dice, *weight, least)
        });
        let weights: Vec<u32> = weights.collect();
        let mut faults: Vec<u32> = faults.iter().map(|weight| swarm(dice, *weight, 0)).collect();
        faults[0] = faults[0].max(1);
        Plan {
            settings: Settings {
                store: StoreSettings {
                    segment_bytes,
                    reserve: 5,
                    keep_bytes: keep * segment_bytes,
                    events_bytes: 128 << 10,
                },
                limits: Limits { max_deadlines: 10_000, ..Limits::default() },
                look_every: Span::from_secs(*dice.pick(&[10, 20, 60, 240])),
                identity: seed ^ 0x0dd_c0ffee,
            },
            queues: (0..queues).map(queue_name).collect(),
            keys: dice.within(3..=10),
            clients: dice.index(5) + 2,
            workers: dice.index(3) + 1,
            weights,
            faults,
            payload: segment_bytes / 20,
            slowness: dice.within(5..=60),
            bursts: dice.within(36..=60),
        }
    }

    pub(super) fn queue(&self, dice: &mut Dice) -> QueueName {
        dice.pick(&self.queues).clone()
    }

    pub(super) fn address(&self, dice: &mut Dice) -> Address {
        let key = Key::new(&format!("k{}", dice.below(self.keys))).expect("a short key");
        Address { queue: self.queue(dice), key }
    }
}

fn queue_name(number: u64) -> QueueName {
    QueueName::new(&format!("q{number}")).expect("a short name")
}

/// Any policy that may be.
pub(super) fn policy(dice: &mut Dice) -> Policy {
    let seconds = |dice: &mut Dice, choices: &[u64]| Span::from_secs(*dice.pick(choices));
    let target = match dice.below(20) {
        0..7 => Target::Pull,
        7..12 => Target::Webhook(Webhook {
            url: "https://shop.example/lapsed".into(),
            secrets: vec!["whsec_c2ltdWxhdGVk".into()],
            batch: *dice.pick(&[1, 1, 4, 20]),
            timeout: Span::from_secs(15),
        }),
        12..15 => Target::Sql { name: "cancel".into(), batch: *dice.pick(&[1, 10]) },
        15 => Target::Exec { command: "cancel".into() },
        _ => Target::None,
    };
    let retry = (0..=dice.below(4)).map(|_| seconds(dice, &[1, 5, 15, 60, 300])).collect();
    let (rate, grace) = (*dice.pick(&[None, None, None, Some(1), Some(5)]), [0, 0, 0, 1, 30, 300]);
    Policy {
        default_delay: *dice.pick(&[None, Some(Span::from_secs(90))]),
        grace: seconds(dice, &grace),
        decide_at: if dice.one_in(4) { DecideAt::Handout } else { DecideAt::Due },
        max_total: seconds(dice, &[600, 7_200, 86_400]),
        max_freeze: seconds(dice, &[60, 900]),
        target,
        retry,
        retry_for: seconds(dice, &[20, 600, 3_600, 21_600]),
        concurrency: *dice.pick(&[1, 2, 8]),
        rate,
        retention: seconds(dice, &[120, 3_600, 86_400, 7_776_000]),
        payload_retention: seconds(dice, &[60, 1_800, 604_800]),
    }
}
