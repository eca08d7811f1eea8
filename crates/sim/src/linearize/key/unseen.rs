//! What an operation may have done to a key whose answer nobody got.

use super::{Call, Duty, Hold, Life, REMEMBER_MS, Range, State, due};
use crate::history::{Asked, By, Delivery, Verdict};

impl<'h> State<'h> {
    /// Everything that an operation may have done whose answer nobody got. What it would have left
    /// as it was is not among it: then it may as well never have been.
    pub(super) fn unseen(self, call: Call<'h>, after: &mut impl FnMut(State<'h>)) {
        let from = call.window.from;
        match (call.asked, self) {
            (Asked::Schedule { over: Some(over), .. }, _) if !self.is_pending_in(*over) => {}
            (Asked::Schedule { if_exists, when, over }, _) => {
                let due = due(*when, call.window);
                let pending = |generation| State::Pending {
                    life: Life::unseen(generation, due),
                    since: from,
                };
                if self.absent(call).is_ok() && over.is_none() {
                    after(pending(1));
                }
                if let State::Remembered { outcome, until, .. } = self
                    && from <= until.to
                {
                    let life = Life::unseen(1, due);
                    after(State::Settled { life, outcome, at: call.window });
                }
                if let Ok(before) = self.replaceable(*if_exists, call) {
                    let State::Pending { life, since } = pending(before.generation + 1) else {
                        return;
                    };
                    after(State::Pending { life: Life { id: before.id, ..life }, since });
                }
            }
            (Asked::Settle { outcome, generation, remember_ms }, _) => {
                if let State::Pending { life, since } = self
                    && generation.is_none_or(|wanted| wanted == life.generation)
                {
                    let at = Range { from: since.max(from), to: call.window.to };
                    after(State::Settled { life, outcome, at });
                }
                if generation.is_some_and(|wanted| wanted != 1) {
                    return;
                }
                let asked = remember_ms.map(|asked| call.window.later(asked.min(REMEMBER_MS)));
                if let State::Remembered { until, used, .. } = self {
                    let until = asked.map_or(until, |asked| Range {
                        from: until.from.max(asked.from),
                        to: until.to.max(asked.to),
                    });
                    after(State::Remembered { outcome, until, used });
                } else if let Some(until) = asked
                    && let Ok(used) = self.absent(call)
                {
                    after(State::Remembered { outcome, until, used });
                }
            }
            (Asked::Extend { by, if_due_ms }, State::Pending { life, since }) => {
                let known = if_due_ms.map_or(life.due, Range::at);
                if !life.due.meets(known) && !call.rules.shifted {
                    return;
                }
                let due = match by {
                    By::LaterMs(more) => known.later(*more),
                    By::AfterMs(after) => call.window.later(*after),
                    By::DueMs(due) => Range::at(*due),
                };
                let life = Life { due, ..life };
                after(State::Pending { life, since: since.max(from) });
            }
            (Asked::Freeze { for_ms }, State::Pending { life, since }) => {
                let life = Life { frozen: call.window.later(*for_ms), ..life };
                after(State::Pending { life, since: since.max(from) });
            }
            (Asked::Verdict { generation, token, verdict }, State::Lapsed { life, at, duty }) => {
                let mine = duty.hold.may_be(*token);
                let leased = duty.delivery == Delivery::Leased && life.generation == *generation;
                // What a failed attempt leads to, the end of the lease leads to as well.
                let delivery = match verdict {
                    Verdict::Done => Delivery::Done,
                    Verdict::Superseded => Delivery::Superseded,
                    Verdict::Retry | Verdict::Dead => return,
                };
                if mine && leased {
                    let duty = Duty { delivery, hold: Hold::Token(*token), ..duty };
                    after(State::Lapsed { life, at, duty });
                }
            }
            (Asked::Revive, State::Lapsed { life, at, duty })
                if duty.delivery == Delivery::Dead =>
            {
                let duty = Duty { delivery: Delivery::Ready, hold: Hold::None, ..duty };
                after(State::Lapsed { life, at, duty });
            }
            (Asked::Erase, _) => {
                if let Ok(state) = self.erased(call) {
                    after(state);
                }
            }
            _ => {}
        }
    }
}
