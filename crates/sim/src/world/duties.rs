//! What the product's threads do, done by hand.
//!
//! Each [`Duty`] is one piece of one thread's work, in the words of `driver/threads.rs`; whether a
//! thread has something to do is asked first. A death is handed on: the process is over, and whoever
//! holds the world says how.

use std::sync::atomic::Ordering;

use duly::driver::{Errand, Message, NotDurable, OldRecords};
use duly_engine::id::Seq;
use duly_engine::time::Span;
use duly_store::archive::Item;
use duly_store::journal::Progress;

use super::shelf::Transaction;
use super::{ALLOCATE_EVERY, Death, Done, Duty, LATELY, Stepped, World, cannot, written};

impl World {
    /// When the process does something next although nothing comes.
    pub(crate) fn next_at(&self) -> Option<Span> {
        let up = self.up.as_ref()?;
        Some(up.allocate_at.map_or(up.wake_at, |at| at.min(up.wake_at)))
    }

    /// Has this thread something to do now?
    pub(crate) fn can(&self, duty: Duty) -> bool {
        let Some(up) = &self.up else { return false };
        let now = self.clocks.passed();
        match duty {
            Duty::Step => {
                let wants = up.more || !up.inbox.is_empty() || up.wake_at <= now;
                wants && up.releases.len() < 2
            }
            Duty::Write => !up.releases.is_empty() && !up.is_written,
            Duty::Leave => up.is_written,
            Duty::Begin => up.transaction.is_none() && !up.out.feeds.is_empty(),
            Duty::Commit => up.transaction.is_some(),
            Duty::Sweep => {
                up.transaction.is_none() && up.out.feeds.is_empty() && up.out.retention.is_some()
            }
            Duty::LookUp => !up.out.wanted.is_empty(),
            Duty::Found => !up.found.is_empty(),
            Duty::Clean => up.out.errand.is_some(),
            Duty::Allocate => up.allocate_at.is_some_and(|at| at <= now),
            Duty::Fill => !up.filter.is_complete(),
        }
    }

    /// Does it. After a death the process is over and [`World::kill`] or [`World::cut_power`] has to
    /// say how.
    pub(crate) fn perform(&mut self, duty: Duty) -> Result<Done, Death> {
        match duty {
            Duty::Step => return Ok(Done::Stepped(self.step())),
            Duty::Write => self.write()?,
            Duty::Leave => return Ok(Done::Left(self.let_go()?)),
            Duty::Begin => self.begin()?,
            Duty::Commit => self.commit(),
            Duty::Sweep => {
                if let Some(retention) = self.up().out.retention.take() {
                    self.shelf.sweep(&retention);
                }
            }
            Duty::LookUp => self.look_up(),
            Duty::Found => {
                let up = self.up();
                let found = up.found.pop_front();
                up.inbox.extend(found);
            }
            Duty::Clean => self.read_old()?,
            Duty::Allocate => self.allocate()?,
            Duty::Fill => {
                for at in self.shelf.keys() {
                    let up = self.up.as_ref().expect("the process is running");
                    up.filter.insert(at.queue.as_str(), at.key.as_str());
                }
                self.up().filter.complete();
            }
        }
        Ok(Done::Worked)
    }

    fn step(&mut self) -> Stepped {
        let (reading, now) = (self.clocks.read(), self.clocks.passed());
        let look_every = self.settings.look_every;
        let up = self.up();
        let messages = std::mem::take(&mut up.inbox);
        let oldest = up.driver.placer().segments().next().map(|segment| segment.number);
        let (release, more) = up.driver.step(reading, messages, || !up.releases.is_empty());
        let after = up.driver.placer().segments().next().map(|segment| segment.number);
        up.has_freed = oldest != after;
        up.read_out = up.read_out.filter(|number| Some(*number) == after);
        let records = written(&release);
        if !release.is_empty() {
            up.releases.push_back(release);
        }
        up.more = more;
        let wait = up.wait(reading).map_or(look_every, |wait| wait.min(look_every));
        up.wake_at = now.plus(wait);
        if up.nudged.try_recv().is_ok() {
            up.allocate_at = Some(now);
        }
        up.stepped(reading, records)
    }

    fn write(&mut self) -> Result<(), Death> {
        let up = self.up();
        let release = up.releases.front_mut().expect("there is one to be written");
        let done = release.write(&mut up.writer, &mut up.out);
        up.is_written = true;
        done.map_err(|NotDurable { what, why }| Death { what, why })
    }

    fn let_go(&mut self) -> Result<Seq, Death> {
        let up = self.up();
        let mut release = up.releases.pop_front().expect("there is one that is written");
        up.is_written = false;
        let last_seq = release.last_seq();
        release
            .leave(&mut up.writer, &up.vitals, &mut up.out)
            .map_err(|NotDurable { what, why }| Death { what, why })?;
        Ok(last_seq)
    }

    /// Takes all that has come for the archive; where that is nothing, it has it all.
    fn begin(&mut self) -> Result<(), Death> {
        let up = self.up();
        let (mut items, mut last_seq): (Vec<Item>, Seq) = (Vec::new(), 0);
        for feed in up.out.feeds.drain(..) {
            last_seq = feed.last_seq;
            feed.items(&mut items).map_err(cannot("read a payload for the archive"))?;
        }
        if items.is_empty() {
            up.vitals.archived.fetch_max(last_seq, Ordering::AcqRel);
        } else {
            up.transaction = Some(Transaction::new(items, last_seq));
        }
        Ok(())
    }

    fn commit(&mut self) {
        let up = self.up.as_mut().expect("the process is running");
        if let Some(transaction) = up.transaction.take() {
            self.shelf.commit(transaction, &up.filter);
            up.vitals.archived.fetch_max(self.shelf.applied(), Ordering::AcqRel);
            up.inbox.push(Message::Wake);
        }
    }

    fn look_up(&mut self) {
        let up = self.up.as_mut().expect("the process is running");
        if let Some(wanted) = up.out.wanted.pop_front() {
            let known = self.shelf.look_up(&wanted);
            let before = up.found_lately.iter().rev().find(|(other, _)| *other == wanted);
            let is_stale = before.is_some_and(|(_, before)| *before != known);
            up.last_look_up = (is_stale, !up.filter.is_complete());
            up.found_lately.push_back((wanted.clone(), known.clone()));
            if up.found_lately.len() > LATELY {
                up.found_lately.pop_front();
            }
            up.found.push_back(Message::Found(wanted, known));
        }
    }

    fn read_old(&mut self) -> Result<(), Death> {
        let up = self.up();
        let cannot = cannot("read a segment that is to be cleaned");
        match up.out.errand.take() {
            Some((Errand::Begin(number), pins)) => {
                let segment = pins.segment(number).expect("it is there to be cleaned");
                up.old = Some(OldRecords::of(&segment).map_err(&cannot)?);
            }
            Some((Errand::Next, _)) => {}
            None => return Ok(()),
        }
        let Some(old) = &mut up.old else { return Ok(()) };
        let (records, ended) = old.read_on().map_err(&cannot)?;
        if ended {
            up.old = None;
            up.read_out = up.driver.placer().segments().next().map(|segment| segment.number);
        }
        up.inbox.push(Message::Restate(records, ended));
        Ok(())
    }

    fn allocate(&mut self) -> Result<(), Death> {
        let now = self.clocks.passed();
        let (reserve, up) = (self.settings.store.reserve, self.up());
        let progress = up.allocator.tick().map_err(cannot("allocate journal segments"))?;
        let lacks = up.driver.placer().spares() < reserve;
        up.allocate_at = match progress {
            Progress::Worked | Progress::Filled => Some(now),
            // Freed segments come back when their readers have let go.
            Progress::Idle if !lacks => None,
            Progress::Idle | Progress::Full => Some(now.plus(ALLOCATE_EVERY)),
        };
        Ok(())
    }
}
