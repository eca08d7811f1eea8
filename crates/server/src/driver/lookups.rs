//! Commands that wait for the archive.
//!
//! A key that is not in memory may be archived. The look-up runs on another thread while the driver
//! goes on; commands for the same key queue up behind it in their order. If a record of that key
//! leaves memory for the archive while the look-up is on its way, what it finds may be stale: it is
//! made again.

use std::collections::BTreeMap;

use duly_engine::answer::Wanted;
use duly_engine::command::{Address, Command};

use super::asks::Place;

/// What waits for one look-up.
#[derive(Default)]
struct LookUp {
    /// A record that may be the one has been evicted since the look-up began.
    stale: bool,
    waiting: Vec<(Place, Command)>,
}

/// All look-ups on their way.
#[derive(Default)]
pub(super) struct LookUps(BTreeMap<Wanted, LookUp>);

impl LookUps {
    /// The look-up of this key that is on its way, if there is one.
    pub(super) fn under_way(&self, at: &Address) -> Option<Wanted> {
        if self.0.is_empty() {
            return None;
        }
        let wanted = Wanted::Key(at.clone());
        self.0.contains_key(&wanted).then_some(wanted)
    }

    /// Adds a command to a look-up; true when the look-up has to be begun.
    pub(super) fn wait(&mut self, wanted: Wanted, place: Place, command: Command) -> bool {
        let begins = !self.0.contains_key(&wanted);
        self.0.entry(wanted).or_default().waiting.push((place, command));
        begins
    }

    /// Records have left memory.
    pub(super) fn evicted(&mut self, gone: Vec<Address>) {
        if self.0.is_empty() || gone.is_empty() {
            return;
        }
        for address in gone {
            if let Some(look_up) = self.0.get_mut(&Wanted::Key(address)) {
                look_up.stale = true;
            }
        }
        // Which number a record had is not told; asking once more is cheap.
        for (wanted, look_up) in &mut self.0 {
            look_up.stale |= matches!(wanted, Wanted::Id(..));
        }
    }

    /// A look-up came back: the commands that waited for it, or nothing if it must be made again.
    pub(super) fn found(&mut self, wanted: &Wanted) -> Option<Vec<(Place, Command)>> {
        let look_up = self.0.get_mut(wanted)?;
        if std::mem::take(&mut look_up.stale) {
            return None;
        }
        self.0.remove(wanted).map(|look_up| look_up.waiting)
    }
}
