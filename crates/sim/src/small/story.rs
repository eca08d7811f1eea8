//! A story: everything that can happen to deadlines, in an order that follows from a seed.
//!
//! It plays clients, workers, targets and an operator against a [`Server`] server, one operation a
//! turn, and remembers what it has been told. What it was told must be there after any accident:
//! [`Heard::check`] says whether that is so. It never looks at anything but answers.

use duly_engine::answer::{Answer, Leased};
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, Filter, IfExists, Scan, Schedule, Settle, Verdict, When,
};
use duly_engine::deadline::{DeliveryState, Payload, PayloadKind};
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::time::Span;

use super::heard::Heard;
use super::server::Server;
use crate::dice::Dice;
use crate::world::Death;

/// The queues of every story, one for each way of acting.
pub(crate) const QUEUES: [&str; 6] = ["orders", "hooks", "ledger", "carts", "slow", "held"];

/// Queues that workers lease from.
const PULLED: [&str; 3] = ["orders", "slow", "held"];

/// One story.
pub(crate) struct Story {
    dice: Dice,
    /// Scheduled so far.
    keys: u64,
    /// Deliveries in somebody's hands.
    held: Vec<Leased>,
    /// What was told so far.
    pub(crate) heard: Heard,
}

impl Story {
    /// The story of this seed.
    pub(crate) fn new(seed: u64) -> Story {
        Story { dice: Dice::new(seed), keys: 0, held: Vec::new(), heard: Heard::default() }
    }

    /// How many keys it has named so far.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// Creates the queues: the first turn.
    pub(crate) fn begin(&mut self, server: &mut Server) -> Result<(), Death> {
        for name in QUEUES {
            let put = Command::PutQueue {
                queue: queue(name),
                policy: Box::new(policy(name)),
                declared: None,
            };
            self.ask(server, vec![put])?;
        }
        let queue = queue("held");
        let pause = Command::Pause { queue, deliveries: Some(true), lapses: None };
        self.ask(server, vec![pause]).map(drop)
    }

    /// One turn.
    pub(crate) fn turn(&mut self, server: &mut Server) -> Result<(), Death> {
        match self.dice.below(100) {
            0..=27 => {
                let several = 1 + self.dice.below(2);
                let commands = (0..several).map(|_| self.schedule()).collect();
                self.ask(server, commands).map(drop)
            }
            28..=41 => {
                let settle = self.settle();
                self.ask(server, vec![settle]).map(drop)
            }
            42..=46 => {
                let extend = Command::Extend(Extend {
                    at: self.known(),
                    by: ExtendBy::Span(self.span(1, 900)),
                    if_due: None,
                });
                self.ask(server, vec![extend]).map(drop)
            }
            47..=50 => {
                let span = Span::from_secs(self.dice.below(4) * 60);
                let freeze = Command::Freeze { at: self.known(), span };
                self.ask(server, vec![freeze]).map(drop)
            }
            51..=58 => self.lease(server),
            59..=69 => (0..8).try_for_each(|_| self.verdict(server)),
            70..=71 => self.clear_dead(server),
            72..=74 => {
                let revive = Command::Revive(self.known());
                self.ask(server, vec![revive]).map(drop)
            }
            75..=76 => self.pause(server),
            77..=78 => self.shift(server),
            79..=80 => self.change_policy(server),
            81..=84 => {
                let get = Command::Get(self.known());
                self.ask(server, vec![get]).map(drop)
            }
            _ => {
                let most = *self.dice.pick(&[1_000, 20_000, 300_000]);
                server.pass(Span::from_millis(1 + self.dice.below(most)));
                server.work()
            }
        }?;
        self.take_attempts(server)
    }

    /// Asks, and remembers what is told.
    pub(crate) fn ask(
        &mut self,
        server: &mut Server,
        commands: Vec<Command>,
    ) -> Result<Vec<Answer>, Death> {
        self.heard.asking(&commands);
        let answers = server.ask(commands)?;
        self.heard.told(&answers);
        Ok(answers)
    }

    fn take_attempts(&mut self, server: &mut Server) -> Result<(), Death> {
        for attempt in server.attempts()? {
            for delivery in &attempt.deliveries {
                self.heard.attempt(delivery);
            }
            self.held.extend(attempt.deliveries);
        }
        Ok(())
    }

    // What is asked.

    fn schedule(&mut self) -> Command {
        let is_new = self.keys < 4 || self.dice.below(4) > 0;
        let at = if is_new { self.new_key() } else { self.known() };
        let modes = [IfExists::Keep, IfExists::Renew, IfExists::Replace, IfExists::Fail];
        let priority = (self.dice.below(4) == 0).then(|| u32::try_from(self.dice.below(2000)));
        Command::Schedule(Schedule {
            payload: self.payload(&at),
            priority: priority.map(|number| number.expect("a small number")),
            if_exists: *self.dice.pick(&modes),
            ..Schedule::new(at, When::After(self.span(1, 500)))
        })
    }

    fn payload(&mut self, at: &Address) -> Option<Payload> {
        let length = usize::try_from(self.dice.below(160)).expect("a small number");
        let filling = "x".repeat(length);
        match self.dice.below(4) {
            0 => None,
            1 => {
                let bytes =
                    [b"\x00\xff".as_slice(), at.key.as_str().as_bytes(), filling.as_bytes()];
                Some(Payload { kind: PayloadKind::Bytes, bytes: bytes.concat().into() })
            }
            _ => {
                let json = format!("{{\"order\":\"{}\",\"note\":\"{filling}\"}}", at.key);
                Some(Payload { kind: PayloadKind::Json, bytes: json.into_bytes().into() })
            }
        }
    }

    fn settle(&mut self) -> Command {
        let outcome = *self.dice.pick(&["paid", "cancelled_by_customer", "refused"]);
        let is_early = self.dice.below(8) == 0;
        Command::Settle(Settle {
            at: if is_early { self.new_key() } else { self.known() },
            outcome: Outcome::new(outcome).expect("a good outcome"),
            remember: is_early.then(|| self.span(60, 3_600)),
            generation: None,
        })
    }

    fn lease(&mut self, server: &mut Server) -> Result<(), Death> {
        let queue = queue(self.dice.pick::<&str>(&PULLED));
        let max = usize::try_from(1 + self.dice.below(8)).expect("a small number");
        let span = self.span(5, 300);
        let answers = self.ask(server, vec![Command::Lease { queue, key: None, max, span }])?;
        for answer in answers {
            if let Answer::Leased(deliveries) = answer {
                self.held.extend(deliveries);
            }
        }
        Ok(())
    }

    fn verdict(&mut self, server: &mut Server) -> Result<(), Death> {
        if self.held.is_empty() {
            return Ok(());
        }
        let index = self.dice.below(self.held.len() as u64);
        let held = self.held.swap_remove(usize::try_from(index).expect("an index"));
        let (delivery, token) = (held.id, held.token);
        if self.dice.below(6) == 0 {
            let touch = Command::Touch { delivery, token, span: self.span(10, 600) };
            self.held.push(held);
            return self.ask(server, vec![touch]).map(drop);
        }
        let verdict = match self.dice.below(8) {
            0..=3 => Verdict::Done,
            4 => Verdict::Superseded,
            5 => Verdict::Dead { error: "410 Gone".into() },
            6 => Verdict::Retry { error: "503".into(), after: Some(self.span(1, 60)) },
            _ => Verdict::Retry { error: "connection refused".into(), after: None },
        };
        self.ask(server, vec![Command::Verdict { delivery, token, verdict }]).map(drop)
    }

    /// Somebody looks through the dead deliveries of a queue and gives them up for good, but for one.
    fn clear_dead(&mut self, server: &mut Server) -> Result<(), Death> {
        let scan = Command::Scan(Scan {
            queue: Some(queue(self.dice.pick::<&str>(&QUEUES))),
            from_slot: 0,
            filter: Filter { delivery: Some(DeliveryState::Dead), ..Filter::default() },
            after: None,
            limit: 100,
        });
        let mut commands = Vec::new();
        for answer in self.ask(server, vec![scan])? {
            if let Answer::Scanned { found, .. } = answer {
                let found = found.into_iter().skip(1);
                commands = found
                    .map(|one| Command::Erase(Address { queue: one.queue, key: one.key }))
                    .collect();
            }
        }
        // One after another: an answer that is never heard leaves one in doubt.
        commands.into_iter().try_for_each(|erase| self.ask(server, vec![erase]).map(drop))
    }

    fn pause(&mut self, server: &mut Server) -> Result<(), Death> {
        let queue = queue(self.dice.pick::<&str>(&QUEUES));
        let on = self.dice.below(4) == 0;
        let (deliveries, lapses) =
            if self.dice.below(2) == 0 { (Some(on), None) } else { (None, Some(on)) };
        self.ask(server, vec![Command::Pause { queue, deliveries, lapses }]).map(drop)
    }

    fn shift(&mut self, server: &mut Server) -> Result<(), Death> {
        let from = server.now();
        let queue = queue(self.dice.pick::<&str>(&QUEUES));
        let to = from.plus(Span::from_mins(5));
        let shift = Command::Shift { queue, from, to, by_ms: 30_000 };
        self.ask(server, vec![shift]).map(drop)
    }

    fn change_policy(&mut self, server: &mut Server) -> Result<(), Death> {
        let name = *self.dice.pick(&QUEUES);
        let mut policy = policy(name);
        policy.grace = Span::from_millis(self.dice.below(5) * 500);
        let put =
            Command::PutQueue { queue: queue(name), policy: Box::new(policy), declared: None };
        self.ask(server, vec![put]).map(drop)
    }

    // Names and numbers.

    fn new_key(&mut self) -> Address {
        self.keys += 1;
        key(self.keys)
    }

    fn known(&mut self) -> Address {
        // The latest are asked for most.
        let back = self.dice.below(24).min(self.keys.max(1) - 1);
        key(self.keys.max(1) - back)
    }

    fn span(&mut self, from_secs: u64, to_secs: u64) -> Span {
        Span::from_secs(from_secs + self.dice.below(to_secs - from_secs))
    }
}

/// The (queue, key) of this number: the queues take turns.
pub(crate) fn key(number: u64) -> Address {
    let index = usize::try_from(number % QUEUES.len() as u64).expect("an index");
    Address {
        queue: queue(QUEUES[index]),
        key: Key::new(&format!("order-{number}")).expect("a good key"),
    }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a good name")
}

/// The rules of each queue: short ladders, so that deliveries die within the story.
fn policy(name: &str) -> Policy {
    let usual = Policy {
        default_delay: Some(Span::from_mins(10)),
        retry: vec![Span::from_secs(5), Span::from_secs(20)],
        retry_for: Span::from_mins(2),
        ..Policy::default()
    };
    match name {
        "hooks" => Policy {
            target: Target::Webhook(Webhook {
                url: "https://shop.example/lapsed".to_owned(),
                secrets: vec!["whsec_c21hbGwgd29ybGRzIGFyZSBwcm92ZWQ=".to_owned()],
                batch: 2,
                timeout: Span::from_secs(15),
            }),
            concurrency: 3,
            ..usual
        },
        "ledger" => Policy { target: Target::Sql { name: "cancel".to_owned(), batch: 4 }, ..usual },
        "carts" => Policy { target: Target::None, grace: Span::from_secs(1), ..usual },
        "slow" => Policy { decide_at: DecideAt::Handout, rate: Some(2), ..usual },
        _ => usual,
    }
}
