//! What answers say that show no record: that something was done, that a key is pending, or that it
//! is not.

use super::{Call, Duty, Range, State, Why, due};
use crate::history::When;

impl<'h> State<'h> {
    /// It was done: whatever it may have done unseen, it did.
    pub(super) fn done(self, call: Call<'h>, mut after: impl FnMut(State<'h>)) -> Result<(), Why> {
        let mut was_done = false;
        self.unseen(call, &mut |state| {
            // A settle that is only remembered was not done.
            if !matches!(state, State::Remembered { .. }) {
                was_done = true;
                after(state);
            }
        });
        if was_done { Ok(()) } else { Err("it cannot have been done") }
    }

    /// It was pending, and due then if that was shown.
    pub(super) fn pending_until(
        self,
        shown: Option<When>,
        call: Call<'h>,
    ) -> Result<State<'h>, Why> {
        let (mut life, since) = self.pending()?;
        let wanted = match shown {
            None => life.due,
            // What is overdue and has not lapsed yet has no time left.
            Some(When::AfterMs(0)) => Range { from: 0, to: call.window.to },
            Some(when) => due(when, call.window),
        };
        if !life.due.meets(wanted) && !call.rules.shifted {
            return Err("it is due at another time");
        }
        let known = if call.rules.shifted { wanted } else { life.due };
        life.due = Range { from: known.from.max(wanted.from), to: known.to.min(wanted.to) };
        Ok(State::Pending { life, since: since.max(call.window.from) })
    }

    /// It was not pending: what was so has lapsed, if its time is over.
    pub(super) fn not_pending(self, call: Call<'h>) -> Result<State<'h>, Why> {
        let State::Pending { life, since } = self else { return Ok(self) };
        let at = Range { from: life.over_unseen(call.rules).max(since), to: call.window.to };
        if at.from > at.to {
            return Err("it was pending");
        }
        Ok(State::Lapsed { life, at, duty: Duty::NEW })
    }
}
