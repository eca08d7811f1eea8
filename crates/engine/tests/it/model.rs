//! Random commands, decided by the engine and by a naive reference, compared after every step.
//!
//! Time runs, clocks jump, disks fill, servers restart, records are evicted and segments cleaned in
//! between, and none of that may make a difference that the reference does not know of. The same
//! seed makes the same run.

use std::collections::BTreeMap;

use duly_engine::Storage;
use duly_engine::answer::{Answer, Held, Leased, QueueView};
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfDue, IfExists, Schedule, Settle, Show, Verdict, When,
};
use duly_engine::deadline::{Deadline, DeliveryState, Payload, PayloadAt, PayloadKind};
use duly_engine::effect::Effect;
use duly_engine::id::{DeliveryId, Generation, Key, Outcome, QueueName, Token};
use duly_engine::limits::Limits;
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::time::{Span, Time};

use crate::reference::{Reference, token};
use crate::script::report;
use crate::world::{DIRECTORY, Happened, NOON, World};

const SEEDS: u64 = 12;
const ROUNDS: u32 = 4_000;
const QUEUES: [&str; 4] = ["orders", "coupons", "hooks", "seen"];

#[test]
fn the_engine_agrees_with_a_naive_reference() {
    let mut tally = BTreeMap::new();
    for seed in 0..SEEDS {
        Run::new(seed).play(ROUNDS, &mut tally);
    }
    let of = |what: &str| tally.get(what).copied().unwrap_or(0_u32);
    let told: Vec<String> = tally.iter().map(|(what, n)| format!("{what} {n}")).collect();
    report(&told.join(", "));
    // A run that never gets somewhere proves nothing about it.
    for (what, least) in [
        ("commands", 48_000),
        ("settled", 400),
        ("already_settled", 150),
        ("settled_otherwise", 150),
        ("too_late", 1_400),
        ("remembered", 250),
        ("scheduled", 1_200),
        ("begun", 600),
        ("kept", 1_600),
        ("leased", 350),
        ("leased one", 20),
        ("claimed", 150),
        ("moved", 40),
        ("waiting", 50),
        ("verdict taken", 1_000),
        ("shifted", 600),
        ("queue deleted", 10),
        ("refused already_exists", 600),
        ("refused delivery_under_way", 800),
        ("refused lease_lost", 1_000),
        ("refused max_freeze", 40),
        ("refused max_total", 40),
        ("refused not_dead", 300),
        ("refused other_generation", 150),
        ("refused queue_not_empty", 800),
        ("refused storage_full", 800),
        ("refused storage_low", 250),
        ("backlog", 1_000),
        ("restarts", 500),
        ("cleanings", 900),
        ("evictions", 600),
        ("guard up", 400),
        ("confirmed", 200),
        ("storage", 800),
    ] {
        assert!(of(what) >= least, "only {} of {what}", of(what));
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.below(from.len() as u64)).expect("it is an index");
        from[index]
    }

    /// Some milliseconds or seconds, seldom minutes.
    fn short(&mut self) -> Span {
        let unit = self.pick(&[1, 1, 1_000, 1_000, 20_000]);
        Span::from_millis(self.below(20) * unit)
    }

    /// Milliseconds, seconds or, mostly, minutes.
    fn span(&mut self) -> Span {
        let unit = self.pick(&[1, 1_000, 60_000, 60_000]);
        Span::from_millis(self.below(60) * unit)
    }
}

/// One run of both.
struct Run {
    seed: u64,
    dice: Dice,
    world: World,
    reference: Reference,
    /// What the engine handed out, latest last.
    handed: Vec<Leased>,
    /// What each token is to the reference.
    tokens: BTreeMap<Token, Token>,
    /// What was sent to targets since the last comparison, by queue.
    sent: BTreeMap<QueueName, Vec<(DeliveryId, u32)>>,
    /// The wall clock is so far ahead.
    ahead: Option<Span>,
    /// What was done last.
    last: String,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            seed,
            dice: Dice(seed),
            world: World::new(Limits { auto_create_queues: false, ..Limits::default() }),
            reference: Reference::new(DIRECTORY, NOON),
            handed: Vec::new(),
            tokens: BTreeMap::new(),
            sent: BTreeMap::new(),
            ahead: None,
            last: String::new(),
        }
    }

    fn play(&mut self, rounds: u32, tally: &mut BTreeMap<String, u32>) {
        for queue in QUEUES {
            self.put_queue(queue_name(queue));
        }
        for round in 0..rounds {
            let what = match self.dice.below(200) {
                // Trouble does not last.
                0..20 if self.reference.storage != Storage::Plenty => self.storage(),
                0..20 if self.ahead.is_some() => self.clock(),
                0..150 => self.command(false),
                150..156 => self.command(true),
                156..180 => self.run(),
                180..184 => self.restart(),
                184..188 => self.evict(),
                188..194 => self.clean(),
                194..197 => self.storage(),
                _ => self.clock(),
            };
            if self.last.is_empty() {
                self.last.clone_from(&what);
            }
            *tally.entry(what).or_default() += 1;
            self.compare(round);
            self.last.clear();
        }
        // A guard that went up while there was no room for a fact is not in the journal yet.
        if self.reference.storage == Storage::Gone {
            self.storage();
        }
        self.world.check_replay();
        *tally.entry("commands".into()).or_default() += rounds;
    }

    // What can be done to both.

    fn command(&mut self, behind: bool) -> String {
        let command = if behind { self.about_one() } else { self.any() };
        self.last = format!("{command:?}");
        if behind {
            // The engine comes late: the command meets what is overdue before due work does.
            let span = Span::from_millis(self.dice.below(20_000));
            self.world.pass(span);
            self.reference.now = self.reference.now.plus(span);
            self.world.busy = true;
        }
        let expected = self.reference.decide(&self.told(&command));
        if !behind {
            self.reference.hand_out();
        }
        self.reference.catch_up();
        let happened = self.world.step(vec![command.clone()]);
        self.world.busy = false;
        self.hear(&happened);
        let answer = self.plain(happened.answers[0].clone());
        assert_eq!(answer, expected, "seed {}: {command:?}", self.seed);
        let more = self.world.settle_down();
        for happened in &more {
            self.hear(happened);
        }
        if behind { "backlog".into() } else { kind(&command, &answer) }
    }

    fn run(&mut self) -> String {
        let span = self.dice.short();
        for happened in self.world.run(span) {
            self.hear(&happened);
        }
        self.reference.run(span);
        "runs".into()
    }

    fn restart(&mut self) -> String {
        let after = self.dice.short();
        if self.ahead.is_some() || self.reference.storage >= Storage::Full {
            return "no restarts".into();
        }
        let stopped_at = self.world.last_write;
        for happened in self.world.restart(after) {
            self.hear(&happened);
        }
        self.reference.restart(stopped_at, self.world.wall);
        // Replay has brought back what was evicted.
        self.evict();
        "restarts".into()
    }

    fn evict(&mut self) -> String {
        self.world.evict();
        self.reference.evict();
        "evictions".into()
    }

    fn clean(&mut self) -> String {
        if self.reference.storage >= Storage::Gone {
            return "no cleanings".into();
        }
        self.world.clean();
        self.reference.evict();
        "cleanings".into()
    }

    fn storage(&mut self) -> String {
        let storage = if self.reference.storage == Storage::Plenty {
            self.dice.pick(&[Storage::Low, Storage::Full, Storage::Gone])
        } else {
            Storage::Plenty
        };
        self.world.storage = storage;
        self.reference.storage = storage;
        self.catch_up();
        "storage".into()
    }

    /// The wall clock jumps ahead, or comes back, or is confirmed where it is.
    fn clock(&mut self) -> String {
        let Some(ahead) = self.ahead.take() else {
            let ahead = Span::from_mins(1).plus(self.dice.short()).plus(Span::from_secs(3));
            self.world.wall = self.world.wall.plus(ahead);
            self.ahead = Some(ahead);
            self.reference.guarded = true;
            self.catch_up();
            return "guard up".into();
        };
        if self.dice.one_in(2) || self.reference.storage == Storage::Gone {
            self.world.wall = self.world.wall.minus(ahead);
            self.reference.guarded = false;
            self.catch_up();
            return "guard down".into();
        }
        // Confirmed: this step still has the old time, the next one the wall clock's.
        self.reference.guarded = false;
        self.reference.hand_out();
        let happened = self.world.step(vec![Command::ConfirmClock]);
        self.hear(&happened);
        let before = self.reference.now;
        self.reference.now = self.world.wall;
        self.reference.head_start(before);
        self.catch_up();
        "confirmed".into()
    }

    fn catch_up(&mut self) {
        let happened = self.world.step(Vec::new());
        self.hear(&happened);
        let more = self.world.settle_down();
        for happened in &more {
            self.hear(happened);
        }
        self.reference.catch_up();
    }

    // Comparing.

    /// Notes what was handed out.
    fn hear(&mut self, happened: &Happened) {
        let mut leased = Vec::new();
        for answer in &happened.answers {
            if let Answer::Leased(given) = answer {
                leased.extend(given.clone());
            }
            // What is claimed goes through hands that nobody hears of.
            if let Answer::VerdictTaken(deadline) = answer
                && let Some(delivery) = &deadline.delivery
                && let Some(given) = delivery.token
            {
                self.tokens.insert(given, token(delivery.id, delivery.attempts));
            }
        }
        for effect in &happened.effects {
            if let Effect::Attempt { deliveries, .. } = effect {
                for leased in deliveries {
                    let sent = self.sent.entry(leased.queue.clone()).or_default();
                    sent.push((leased.id, leased.attempt));
                }
                leased.extend(deliveries.clone());
            }
        }
        for leased in leased {
            self.tokens.insert(leased.token, token(leased.id, leased.attempt));
            self.handed.push(leased);
        }
    }

    fn compare(&mut self, round: u32) {
        let at = format!("seed {}, round {round}, after {}", self.seed, self.last);
        let expected = std::mem::take(&mut self.reference.handed);
        assert_eq!(std::mem::take(&mut self.sent), expected, "{at}");
        let mut queues = self.world.queues();
        for index in 0..self.reference.queues.len() {
            let expected = self.reference.view(index);
            assert_eq!(queues.remove(&expected.queue), Some(expected), "{at}");
        }
        assert!(queues.is_empty(), "{at}: queues nobody made: {queues:?}");
        let mut found = BTreeMap::new();
        for queue in &self.reference.queues {
            found.extend(self.world.records(&queue.name));
        }
        let expected = std::mem::take(&mut self.reference.deadlines);
        for deadline in &expected {
            let found = found.remove(&deadline.id.0).or_else(|| {
                let evicted = self.reference.is_evicted(deadline);
                evicted.then(|| self.world.archived(deadline.id, deadline.generation)).flatten()
            });
            let found = found.map(|found| self.plain_deadline(found));
            assert_eq!(found.as_ref(), Some(deadline), "{at}");
        }
        self.reference.deadlines = expected;
        assert!(found.is_empty(), "{at}: deadlines nobody scheduled: {found:?}");
    }

    /// An answer as the reference gives it.
    fn plain(&self, answer: Answer) -> Answer {
        let boxed = |deadline: Box<Deadline>| Box::new(self.plain_deadline(*deadline));
        match answer {
            Answer::Scheduled { created, differs, nobody_acts, deadline } => {
                Answer::Scheduled { created, differs, nobody_acts, deadline: boxed(deadline) }
            }
            Answer::Settled { result, deadline } => {
                Answer::Settled { result, deadline: boxed(deadline) }
            }
            Answer::Deadline(deadline) => Answer::Deadline(boxed(deadline)),
            Answer::VerdictTaken(deadline) => Answer::VerdictTaken(boxed(deadline)),
            Answer::Leased(leased) => Answer::Leased(
                leased
                    .into_iter()
                    .map(|leased| Leased {
                        token: self.tokens[&leased.token],
                        payload: self.plain_payload(&leased.payload),
                        ..leased
                    })
                    .collect(),
            ),
            Answer::Waiting(found) => Answer::Waiting(
                found.into_iter().map(|deadline| self.plain_deadline(deadline)).collect(),
            ),
            Answer::Queue(view) => Answer::Queue(Box::new(QueueView {
                last_leased_at: None,
                too_late: 0,
                now: Held { oldest_waiting: None, ..view.now },
                ..*view
            })),
            Answer::Refused(mut refusal) => {
                if let Some(deadline) = refusal.deadline_mut() {
                    *deadline = self.plain_deadline(deadline.clone());
                }
                Answer::Refused(refusal)
            }
            other => other,
        }
    }

    fn plain_deadline(&self, mut deadline: Deadline) -> Deadline {
        deadline.payload = self.plain_payload(&deadline.payload);
        if let Some(delivery) = &mut deadline.delivery {
            delivery.token = delivery.token.map(|token| self.tokens[&token]);
        }
        deadline
    }

    fn plain_payload(&self, payload: &PayloadAt) -> PayloadAt {
        self.world.payload(payload).map_or(PayloadAt::None, PayloadAt::Here)
    }

    /// The command as the reference understands it.
    fn told(&self, command: &Command) -> Command {
        let mut command = command.clone();
        if let Command::Verdict { token, .. } | Command::Touch { token, .. } = &mut command {
            *token = self.tokens[token];
        }
        command
    }

    // Rolling commands.

    fn any(&mut self) -> Command {
        let queue = self.queue();
        match self.dice.below(100) {
            0..66 => self.about_one(),
            66..80 => Command::Lease {
                queue,
                key: None,
                max: usize::try_from(self.dice.below(6)).expect("it is small"),
                span: self.dice.span(),
            },
            80..84 => Command::Waiting {
                queue,
                due: if self.dice.one_in(2) {
                    self.reference.now.minus(self.dice.span())..self.reference.now
                } else {
                    Time::ZERO..Time::NEVER
                },
                limit: usize::try_from(self.dice.below(6)).expect("it is small"),
            },
            84..88 => {
                let switch = [None, Some(true), Some(false), Some(false)];
                let (deliveries, lapses) = (self.dice.pick(&switch), self.dice.pick(&switch));
                Command::Pause { queue, deliveries, lapses }
            }
            88..92 => {
                let policy = Box::new(self.policy());
                Command::PutQueue { queue, policy, declared: None }
            }
            92..97 => Command::DeleteQueue(queue),
            _ => {
                let from = self.reference.now.minus(self.dice.span());
                let to = self.reference.now.plus(self.dice.span());
                let by = i64::try_from(self.dice.span().millis()).expect("it is short");
                Command::Shift { queue, from, to, by_ms: self.dice.pick(&[by, -by]) }
            }
        }
    }

    fn about_one(&mut self) -> Command {
        let at = self.address();
        match self.dice.below(100) {
            0..36 => Command::Schedule(self.schedule(at)),
            36..54 => Command::Settle(Settle {
                at,
                outcome: Outcome::new(self.dice.pick(&["paid", "cancelled"])).expect("it is one"),
                remember: self.dice.one_in(2).then(|| self.dice.span()),
                generation: self.dice.one_in(8).then(|| self.generation()),
            }),
            54..60 => {
                let by = self.dice.span();
                let due = self.instant();
                Command::Extend(Extend {
                    at,
                    by: self.dice.pick(&[
                        ExtendBy::Span(by),
                        ExtendBy::After(by),
                        ExtendBy::Due(due),
                    ]),
                    if_due: self.dice.one_in(3).then(|| self.if_due(due)),
                })
            }
            60..64 => Command::Freeze { at, span: self.dice.span() },
            64..67 => self.lease_of_one(at),
            67..70 => {
                let at = if self.dice.one_in(3) { at } else { self.lapsed(at) };
                let outcome = Outcome::new("claimed").expect("it is one");
                Command::Claim { at, outcome }
            }
            70..74 => Command::Revive(at),
            74..78 => Command::Erase(at),
            _ => self.under_a_lease().unwrap_or(Command::Get(at)),
        }
    }

    /// A lease of one key, mostly of one that has lapsed and is in nobody's hands.
    fn lease_of_one(&mut self, at: Address) -> Command {
        let Address { queue, key } = self.lapsed(at);
        let max = usize::try_from(self.dice.below(3)).expect("it is small");
        Command::Lease { queue, key: Some(key), max, span: self.dice.span() }
    }

    /// What has lapsed and is in nobody's hands, or this one.
    fn lapsed(&mut self, at: Address) -> Address {
        let is_nobodys = |deadline: &&Deadline| {
            let delivery = deadline.delivery.as_ref();
            let state = delivery.map(|delivery| delivery.state);
            matches!(state, Some(DeliveryState::Ready | DeliveryState::Dead))
        };
        let lapsed = self.reference.deadlines.iter().filter(is_nobodys);
        let mut lapsed: Vec<Address> =
            lapsed.map(|one| Address { queue: one.queue.clone(), key: one.key.clone() }).collect();
        lapsed.push(at);
        let index = usize::try_from(self.dice.below(lapsed.len() as u64)).expect("it is an index");
        lapsed.swap_remove(index)
    }

    fn if_due(&mut self, at: Time) -> IfDue {
        self.dice.pick(&[IfDue::At(at), IfDue::Other, IfDue::Earlier, IfDue::Later])
    }

    fn under_a_lease(&mut self) -> Option<Command> {
        let back = 1 + usize::try_from(self.dice.below(6)).expect("it is small");
        let held = self.handed.get(self.handed.len().checked_sub(back)?)?.clone();
        // Now and then under another's token.
        let other = self.handed.last().map_or(held.token, |first| first.token);
        let token = if self.dice.one_in(10) { other } else { held.token };
        let (delivery, error) = (held.id, || "refused".into());
        Some(match self.dice.below(10) {
            0..3 => Command::Verdict { delivery, token, verdict: Verdict::Done },
            3 => Command::Verdict { delivery, token, verdict: Verdict::Superseded },
            4..7 => {
                let after = self.dice.one_in(2).then(|| self.dice.span());
                let verdict = Verdict::Retry { error: error(), after };
                Command::Verdict { delivery, token, verdict }
            }
            7 => Command::Verdict { delivery, token, verdict: Verdict::Dead { error: error() } },
            _ => Command::Touch { delivery, token, span: self.dice.span() },
        })
    }

    fn schedule(&mut self, at: Address) -> Schedule {
        let (after, due) = (self.dice.span(), self.instant());
        let when =
            [When::After(after), When::After(after), When::Due(due), When::Default, When::Kept];
        let if_due = self.if_due(due);
        let number = self.dice.below(1_000);
        let when = self.dice.pick(&when);
        Schedule {
            payload: self.dice.one_in(2).then(|| Payload {
                kind: PayloadKind::Json,
                bytes: number.to_string().as_bytes().into(),
            }),
            priority: self.dice.pick(&[None, None, Some(1), Some(2_000)]),
            if_exists: self.dice.pick(&[
                IfExists::Keep,
                IfExists::Keep,
                IfExists::Replace,
                IfExists::Replace,
                IfExists::Renew,
                IfExists::Move(if_due),
                IfExists::Move(if_due),
                IfExists::Fail,
            ]),
            allow_past: self.dice.one_in(2),
            over: self.dice.one_in(5).then(|| self.generation()),
            show: self.dice.pick(&[Show::Record, Show::Record, Show::Nothing]),
            ..Schedule::new(at, when)
        }
    }

    fn policy(&mut self) -> Policy {
        let few_ms = |dice: &mut Dice| Span::from_millis(1 + dice.below(9));
        let batch = u32::try_from(1 + self.dice.below(3)).expect("it is small");
        let target = match self.dice.below(10) {
            0..4 => Target::Pull,
            4 => Target::None,
            5 | 6 => Target::Webhook(Webhook {
                url: "https://shop.example/lapsed".into(),
                secrets: Vec::new(),
                batch,
                timeout: Span::from_secs(1 + self.dice.below(5)),
            }),
            7 => Target::Sql { name: "shop".into(), batch },
            8 => Target::Exec { command: "cancel".into() },
            _ => Target::Publish { to: "lapses".into(), batch },
        };
        Policy {
            default_delay: self.dice.one_in(2).then(|| self.dice.span()),
            grace: self.dice.pick(&[Span::ZERO, Span::from_secs(3), Span::from_secs(30)]),
            decide_at: self.dice.pick(&[DecideAt::Due, DecideAt::Due, DecideAt::Handout]),
            max_total: self.dice.pick(&[Span::from_mins(1), Span::from_hours(1)]),
            max_freeze: self.dice.pick(&[Span::from_secs(10), Span::from_mins(10)]),
            target,
            retry: vec![few_ms(&mut self.dice), few_ms(&mut self.dice)],
            retry_for: self.dice.pick(&[Span::from_secs(10), Span::from_hours(1)]),
            concurrency: u32::try_from(1 + self.dice.below(3)).expect("it is small"),
            ..Policy::default()
        }
    }

    fn put_queue(&mut self, queue: QueueName) {
        let policy = Box::new(self.policy());
        let command = Command::PutQueue { queue, policy, declared: None };
        self.reference.decide(&command);
        self.world.step(vec![command]);
    }

    fn queue(&mut self) -> QueueName {
        queue_name(self.dice.pick(&QUEUES))
    }

    fn address(&mut self) -> Address {
        let key = self.dice.below(16).to_string();
        Address { queue: self.queue(), key: Key::new(&key).expect("a number is a key") }
    }

    fn generation(&mut self) -> Generation {
        Generation(1 + u32::try_from(self.dice.below(3)).expect("it is small"))
    }

    fn instant(&mut self) -> Time {
        let span = self.dice.span();
        let now = self.reference.now;
        if self.dice.one_in(5) { now.minus(span) } else { now.plus(span) }
    }
}

fn queue_name(name: &str) -> QueueName {
    QueueName::new(name).expect("it is a name")
}

/// What an answer counts as.
fn kind(command: &Command, answer: &Answer) -> String {
    match answer {
        Answer::Begun => "begun".into(),
        Answer::Scheduled { created: true, .. } => "scheduled".into(),
        Answer::Scheduled { created: false, .. } => "kept".into(),
        Answer::Settled { result, .. } => result.word().into(),
        Answer::Remembered { .. } => "remembered".into(),
        Answer::Leased(leased) if leased.is_empty() => "nothing to lease".into(),
        Answer::Leased(_) if matches!(command, Command::Lease { key: Some(_), .. }) => {
            "leased one".into()
        }
        Answer::Leased(_) => "leased".into(),
        Answer::Waiting(waiting) if waiting.is_empty() => "nobody waits".into(),
        Answer::Waiting(_) => "waiting".into(),
        Answer::VerdictTaken(_) if matches!(command, Command::Claim { .. }) => "claimed".into(),
        Answer::VerdictTaken(_) => "verdict taken".into(),
        Answer::Deadline(_) if matches!(command, Command::Schedule(_)) => "moved".into(),
        Answer::Shift(_) => "shifted".into(),
        Answer::QueueDeleted => "queue deleted".into(),
        Answer::Refused(refusal) => format!("refused {}", refusal.code()),
        _ => "answers".into(),
    }
}
