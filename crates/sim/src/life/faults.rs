//! What goes wrong in a life, and when.

use duly_engine::time::Span;
use duly_store::disk::Fault as DiskFault;

use crate::dice::Dice;
use crate::world::{Cleaning, Duty};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The power is cut between two duties.
    Power,
    /// The process is killed.
    Kill,
    /// A call of the disk goes wrong.
    Call(u64, DiskFault),
    /// The disk is full for a while, and clients go on.
    Full(Span),
    /// Somebody sets the wall clock.
    Wall(i64),
    /// The process stands still, or the machine sleeps.
    Pause(Span),
    /// A thread comes no further for a while.
    Stuck(Duty, Span),
    /// Targets answer nobody, or with a failure.
    TargetsDown(Span),
    /// A bit of the journal flips while the process runs.
    Flip,
    /// The process is down for long.
    Downtime(Span),
    /// The machine boots with a clock that is far off.
    WrongYear(i64),
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// After so many more things have happened.
    After(u32),
    /// While the cleaning of a segment has come so far, if it does before so many more things have
    /// happened.
    During(Cleaning, u32),
}

/// How often each kind strikes, in the order of [`draw`].
pub(super) const WEIGHTS: [u32; 11] = [10, 5, 12, 4, 5, 4, 8, 4, 2, 3, 2];

/// A fault of any kind.
pub(super) fn draw(weights: &[u32], dice: &mut Dice) -> Fault {
    let ms = |dice: &mut Dice, least: Span, most: Span| {
        let span = i64::try_from(dice.span(least, most).millis()).expect("a few years");
        if dice.one_in(2) { span } else { -span }
    };
    let (ms_1, sec, min, hour, day) = (
        Span::from_millis(1),
        Span::from_secs(1),
        Span::from_mins(1),
        Span::from_hours(1),
        Span::from_days(1),
    );
    match dice.weighted(weights) {
        0 => Fault::Power,
        1 => Fault::Kill,
        2 => {
            let kinds = [
                DiskFault::Io,
                DiskFault::Io,
                DiskFault::Full,
                DiskFault::Short,
                DiskFault::Torn,
                DiskFault::Death,
                DiskFault::Death,
                DiskFault::Death,
            ];
            Fault::Call(dice.within(1..=60), *dice.pick(&kinds))
        }
        3 => Fault::Full(dice.span(min, hour)),
        4 if dice.one_in(4) => Fault::Wall(ms(dice, day, Span::from_days(1_000))),
        4 => Fault::Wall(ms(dice, ms_1, hour)),
        5 => Fault::Pause(dice.span(ms_1, hour)),
        6 => {
            let duties = [Duty::Begin, Duty::Commit, Duty::LookUp, Duty::Found, Duty::Allocate];
            let more = [Duty::Leave, Duty::Clean, Duty::Fill, Duty::Write];
            let duty = if dice.one_in(2) { *dice.pick(&duties) } else { *dice.pick(&more) };
            let longest = if matches!(duty, Duty::Leave | Duty::Write) { min } else { hour };
            Fault::Stuck(duty, dice.span(Span::from_millis(5), longest))
        }
        7 => Fault::TargetsDown(dice.span(sec, hour)),
        8 => Fault::Flip,
        9 => Fault::Downtime(dice.span(sec, Span::from_days(40))),
        _ => Fault::WrongYear(ms(dice, hour, Span::from_days(2_000))),
    }
}
