//! What a refusal says of a key: either the record that it shows, or what there was not.

use super::{Call, Duty, Hold, State, Why, ends, is_final};
use crate::history::{Asked, Delivery, IfExists, Phase, Seen};

impl<'h> State<'h> {
    /// A refusal shows the key as it stood, or says what it was not. One that is about something
    /// else (room, limits, times) can always be.
    pub(super) fn refused(
        self,
        code: &str,
        seen: Option<&'h Seen>,
        call: Call<'h>,
        mut after: impl FnMut(State<'h>),
    ) -> Result<(), Why> {
        let Some(seen) = seen else {
            return self.denied(code, call, after);
        };
        let open = seen.phase == Phase::Pending;
        let settled = matches!(seen.phase, Phase::Settled { .. });
        let lapsed = !open && !settled;
        let dead = matches!(seen.phase, Phase::Lapsed { delivery: Delivery::Dead, .. });
        let fits = match (code, call.asked) {
            ("already_exists", Asked::Schedule { if_exists, over, .. }) => {
                let is_it = over.is_none_or(|over| open && over == seen.generation);
                *if_exists == IfExists::Fail && is_it
            }
            ("delivery_under_way", Asked::Schedule { if_exists, over: None, .. }) => {
                *if_exists == IfExists::Replace && lapsed && !is_final(&seen.phase)
            }
            ("already_settled", Asked::Schedule { over, .. }) => {
                settled && *over == Some(seen.generation)
            }
            ("already_settled", Asked::Extend { .. } | Asked::Freeze { .. }) => settled,
            ("too_late", Asked::Schedule { over, .. }) => lapsed && *over == Some(seen.generation),
            ("too_late", Asked::Extend { .. } | Asked::Freeze { .. }) => lapsed,
            ("other_generation", Asked::Schedule { over, .. }) => {
                over.is_some_and(|wanted| wanted != seen.generation)
            }
            ("other_generation", Asked::Settle { generation, .. }) => {
                generation.is_some_and(|wanted| wanted != seen.generation)
            }
            ("due_changed", Asked::Extend { if_due_ms, .. }) => {
                open && if_due_ms.is_some_and(|asked| asked != seen.due_ms)
            }
            ("still_pending", Asked::Erase) => !is_final(&seen.phase) && !dead,
            ("not_dead", Asked::Revive) => !dead,
            _ => false,
        };
        if !fits {
            return Err("the refusal contradicts the record that it shows");
        }
        after(self.met(seen, call)?);
        Ok(())
    }

    fn denied(
        self,
        code: &str,
        call: Call<'h>,
        mut after: impl FnMut(State<'h>),
    ) -> Result<(), Why> {
        match (code, call.asked) {
            ("unknown_deadline", asked) => {
                let kept = matches!(self, State::Remembered { .. });
                let passes = match asked {
                    Asked::Settle { generation, remember_ms, .. } => {
                        let other = generation.is_some_and(|wanted| wanted != 1);
                        if remember_ms.is_some() && !other {
                            return Err("it was to be remembered");
                        }
                        kept && other
                    }
                    Asked::Schedule { over: None, .. } => {
                        return Err("a schedule over nothing needs none");
                    }
                    Asked::Erase => false,
                    _ => kept,
                };
                if passes {
                    after(self);
                } else {
                    after(State::Absent { used: self.absent(call)? });
                }
            }
            ("unknown_queue", _) => after(State::Absent { used: self.absent(call)? }),
            (
                "max_total" | "max_freeze" | "due_in_past" | "due_too_far",
                Asked::Extend { .. } | Asked::Freeze { .. },
            ) => {
                // It does not say which life it saw: nothing is learned of this one.
                let (life, since) = self.pending()?;
                after(State::Pending { life, since });
            }
            ("lease_lost", Asked::Verdict { generation, token, verdict }) => {
                match self {
                    State::Lapsed { life, at, duty }
                        if life.generation == *generation && duty.hold == Hold::Token(*token) =>
                    {
                        if duty.delivery == Delivery::Leased {
                            // The lease had run out.
                            for delivery in [Delivery::Ready, Delivery::Dead] {
                                let duty = Duty { delivery, hold: Hold::None, ..duty };
                                after(State::Lapsed { life, at, duty });
                            }
                            return Ok(());
                        }
                        let over = duty.delivery != Delivery::Ready;
                        if over && ends(*verdict, duty.delivery) {
                            return Err("the same verdict had been taken under this lease");
                        }
                        after(self);
                    }
                    _ => after(self),
                }
            }
            ("unknown_delivery", Asked::Verdict { token, .. }) => match self {
                State::Lapsed { duty, .. } if duty.hold == Hold::Token(*token) => {
                    // Unless it is not kept any longer.
                    let used = self.absent(call).map_err(|_| "this lease was given")?;
                    after(State::Absent { used });
                }
                _ => after(self),
            },
            _ => after(self),
        }
        Ok(())
    }
}
