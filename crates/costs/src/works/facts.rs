//! Facts as bytes: the lives of orders that lapse or are settled, written and read.

use duly_engine::command::Show;
use duly_engine::fact::{Fact, PayloadField};
use duly_engine::record;
use duly_engine::time::Span;

use super::{Named, Work};
use crate::shop::{SOON, Shop, done, far};

/// Orders whose lives are told.
const ORDERS: usize = 100;

pub(super) const WORKS: [Named; 2] = [
    Named { name: "facts/write", slice: 5_000, begin: || Box::new(Facts::of_lives(true)) },
    Named { name: "facts/read", slice: 5_000, begin: || Box::new(Facts::of_lives(false)) },
];

struct Facts {
    writes: bool,
    /// What lives consist of, as it is first made.
    lives: Vec<Fact>,
    many: usize,
    facts: Vec<Fact>,
    bytes: Vec<u8>,
    read: usize,
}

impl Facts {
    fn of_lives(writes: bool) -> Facts {
        let shop = Shop::new();
        let mut world = shop.open(0);
        let (settled, lapsed) = (0..ORDERS, ORDERS..2 * ORDERS);
        let schedule = |n, after| shop.schedule(n, after, Show::Nothing);
        let scheduled = settled.clone().map(|n| schedule(n, far(n)));
        let scheduled = scheduled.chain(lapsed.map(|n| schedule(n, SOON)));
        let (_, mut bytes) = world.facts(scheduled.collect());
        bytes.extend(world.facts(settled.map(|n| shop.settle(n)).collect()).1);
        world.pass(SOON.plus(Span::from_secs(1)));
        let (answers, more) = world.facts(shop.leases(ORDERS));
        bytes.extend(more);
        bytes.extend(world.facts(done(&answers)).1);
        let lives = record::read(&bytes).map(|fact| fact.expect("an engine wrote it"));
        let lives = lives.map(|fact| unwritten(fact, &shop)).collect();
        Facts { writes, lives, many: 0, facts: Vec::new(), bytes: Vec::new(), read: 0 }
    }
}

/// As it was before it was written: what was read only knows where its payload lies.
fn unwritten(fact: Fact, shop: &Shop) -> Fact {
    let payload = shop.payload.clone();
    match fact {
        Fact::Scheduled { queue, id, generation, key, due, priority, replaces, .. } => {
            let payload = PayloadField::Bytes { hash: payload.hash(), payload };
            Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload }
        }
        other => other,
    }
}

impl Work for Facts {
    fn prepare(&mut self, many: usize) {
        self.many = many;
        self.read = 0;
        self.facts = self.lives.iter().cycle().take(many).cloned().collect();
        self.bytes = Vec::new();
        if !self.writes {
            for fact in self.facts.drain(..) {
                record::write(&mut self.bytes, fact);
            }
        }
    }

    fn run(&mut self) {
        if self.writes {
            for fact in self.facts.drain(..) {
                record::write(&mut self.bytes, fact);
            }
        } else {
            self.read = record::read(&self.bytes).flatten().count();
        }
    }

    fn check(&self) {
        let read = record::read(&self.bytes).flatten().count();
        assert_eq!(read, self.many, "not all was written");
        assert!(self.writes || self.read == self.many, "not all was read");
    }
}
