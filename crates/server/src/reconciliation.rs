//! A reconciliation that somebody asks for: the wish, how far it is, and what it found.
//!
//! Whoever asks and the watch that does it never meet; they meet at a desk, one for each watch. On
//! it lies one reconciliation at a time: a second wish for the same joins the first. It is kept until
//! the next one, so that whoever stopped waiting can come back. Nothing here touches a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use duly_engine::id::{Key, QueueName};
use duly_engine::time::Time;
use tokio::sync::watch;

/// Rows that are named of each kind of difference; counts go on beyond.
pub const NAMED: usize = 100;

/// How table and deadlines can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// An open row without a deadline; it gets one.
    Unarmed,
    /// A pending deadline whose row is closed or gone; it is settled.
    Closed,
    /// A pending deadline whose row is due at another time; it is moved.
    Moved,
    /// A row that was opened again, with a due time ahead; its next generation begins.
    Reopened,
    /// An open row without a deadline, and overdue; left to the operator.
    Overdue,
    /// A row that is open although its deadline is over; likewise.
    Stuck,
    /// A row that no deadline can be made of; likewise.
    Unreadable,
}

impl Drift {
    /// All of them.
    pub const ALL: [Drift; 7] = [
        Drift::Unarmed,
        Drift::Closed,
        Drift::Moved,
        Drift::Reopened,
        Drift::Overdue,
        Drift::Stuck,
        Drift::Unreadable,
    ];

    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Drift::Unarmed => "unarmed",
            Drift::Closed => "closed",
            Drift::Moved => "moved",
            Drift::Reopened => "reopened",
            Drift::Overdue => "overdue",
            Drift::Stuck => "stuck",
            Drift::Unreadable => "unreadable",
        }
    }
}

/// What was found of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many.
    pub count: u64,
    /// Of these, put right.
    pub repaired: u64,
    /// The first of them.
    pub keys: Vec<Key>,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nobody has begun.
    #[default]
    Asked,
    /// It goes on.
    UnderWay,
    /// It has ended.
    Done,
    /// It could not be brought to its end; why.
    Failed(String),
}

/// One reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// The how-manieth that was asked for since the server started.
    pub number: u64,
    /// Only says what it would do.
    pub dry_run: bool,
    /// How far it is.
    pub stage: Stage,
    /// When that was.
    pub since: Time,
    /// Open rows that were compared.
    pub rows: u64,
    /// Pending deadlines that were compared.
    pub deadlines: u64,
    /// Why rows without a deadline were not looked for, if they were not.
    pub skipped: Option<String>,
    found: BTreeMap<Drift, Found>,
}

impl Reconciliation {
    /// Is nothing more to come?
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Failed(_))
    }

    /// It has come to this stage.
    #[must_use]
    pub fn at(mut self, stage: Stage, now: Time) -> Reconciliation {
        (self.stage, self.since) = (stage, now);
        self
    }

    /// What was found of a kind.
    pub fn found(&self, drift: Drift) -> Found {
        self.found.get(&drift).cloned().unwrap_or_default()
    }

    /// Table and deadlines differ here.
    pub fn find(&mut self, drift: Drift, key: Option<&Key>) {
        let found = self.found.entry(drift).or_default();
        found.count += 1;
        if found.keys.len() < NAMED {
            found.keys.extend(key.cloned());
        }
    }

    /// One difference of this kind was put right.
    pub fn repair(&mut self, drift: Drift) {
        self.found.entry(drift).or_default().repaired += 1;
    }
}

/// Why there will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReconciliation {
    /// There is no such watch.
    UnknownWatch,
    /// One is under way, and it is of the other kind: a dry run, or none.
    UnderWay,
}

/// The desks of all watches.
#[derive(Clone, Debug, Default)]
pub struct Desks(Arc<BTreeMap<QueueName, Desk>>);

/// Where a watch and those who ask it meet.
#[derive(Clone, Debug)]
pub struct Desk(Arc<watch::Sender<Reconciliation>>);

impl Desks {
    /// One for each of these watches.
    pub fn of<'a>(watches: impl IntoIterator<Item = &'a QueueName>) -> Desks {
        let desk = || Desk(Arc::new(watch::Sender::new(Reconciliation::default())));
        Desks(Arc::new(watches.into_iter().map(|name| (name.clone(), desk())).collect()))
    }

    /// The desk of a watch.
    pub fn desk(&self, name: &QueueName) -> Option<&Desk> {
        self.0.get(name)
    }

    /// Asks a watch for a reconciliation; it can be followed as it goes on.
    pub fn ask(
        &self,
        name: &QueueName,
        dry_run: bool,
        now: Time,
    ) -> Result<watch::Receiver<Reconciliation>, NoReconciliation> {
        let Desk(desk) = self.desk(name).ok_or(NoReconciliation::UnknownWatch)?;
        let mut answer = Ok(());
        desk.send_if_modified(|lying| {
            let is_under_way = lying.number > 0 && !lying.is_over();
            if is_under_way {
                if lying.dry_run != dry_run {
                    answer = Err(NoReconciliation::UnderWay);
                }
                return false;
            }
            let number = lying.number + 1;
            *lying = Reconciliation { number, dry_run, since: now, ..Reconciliation::default() };
            true
        });
        answer.map(|()| desk.subscribe())
    }
}

impl Desk {
    /// What lies there; none if nobody has ever asked.
    pub fn lying(&self) -> Option<Reconciliation> {
        let lying = self.0.borrow();
        (lying.number > 0).then(|| lying.clone())
    }

    /// A wish that nobody has begun with.
    pub fn wish(&self) -> Option<Reconciliation> {
        let lying = self.0.borrow();
        (lying.number > 0 && lying.stage == Stage::Asked).then(|| lying.clone())
    }

    /// Waits for a wish.
    pub async fn wished(&self) {
        let mut lying = self.0.subscribe();
        // The desk is there as long as this holds it.
        drop(lying.wait_for(|lying| lying.number > 0 && lying.stage == Stage::Asked).await);
    }

    /// How far it is now.
    pub fn put(&self, reconciliation: Reconciliation) {
        self.0.send_replace(reconciliation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_wish_joins_the_first_unless_it_is_of_the_other_kind() {
        let name = QueueName::new("orders").expect("it is a good name");
        let other = QueueName::new("others").expect("it is a good name");
        let desks = Desks::of([&name]);
        let now = Time::from_millis(1_795_348_800_000);
        assert!(matches!(desks.ask(&other, false, now), Err(NoReconciliation::UnknownWatch)));
        let desk = desks.desk(&name).expect("it has one");
        assert_eq!(desk.lying(), None);
        for number in [1, 2] {
            let asked = desks.ask(&name, true, now).expect("nothing lies there");
            assert_eq!(asked.borrow().number, number);
            let joined = desks.ask(&name, true, now).expect("it is the same");
            assert_eq!(joined.borrow().number, number);
            assert!(matches!(desks.ask(&name, false, now), Err(NoReconciliation::UnderWay)));
            let wish = desk.wish().expect("nobody has begun");
            desk.put(wish.at(Stage::Done, now));
            assert_eq!(desk.wish(), None);
            assert!(joined.borrow().is_over());
        }
    }
}
