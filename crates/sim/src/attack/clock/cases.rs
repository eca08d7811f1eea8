//! What may happen to a clock, case by case.
//!
//! Each is a short story about one server on a directory of its own. What must hold at any time is
//! in [`Stage`]; a story says what is done, and what must come of just that. A time that is short is
//! waited for; a long one passes by moving the clock.

use rustix::process::Signal;

use super::stage::{Opened, SMALL_STEP_MS, Stage, Worker};
use crate::dice::Dice;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
/// No deadline may be further away.
const HORIZON: u64 = 10 * YEAR;
/// The longest head start.
const HEAD_START: u64 = 5 * MINUTE;
/// A server that does nothing says at least so often that it is alive.
const ALIVE: u64 = 10 * SECOND;
/// Short enough to be waited for.
const SOON: u64 = 200;
/// Deadlines in quick succession.
const RAPID: u64 = 100;
/// How often a clock is shaken.
const SHAKES: u64 = 300;
/// Of the time that is walked, so much is left to pass by itself.
const MARGIN: u64 = 10 * SECOND;

/// A story.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// By how much the clock is wrong: at least and at most.
    pub(super) by: (u64, u64),
    /// Does the directory begin in 1970?
    pub(super) is_born_in_1970: bool,
    pub(super) play: Play,
}

type Play = fn(&mut Stage, u64, &mut Dice) -> anyhow::Result<()>;

const fn case(name: &'static str, by: (u64, u64), play: Play) -> Case {
    Case { name, by, is_born_in_1970: false, play }
}

/// Some of the years since 1970.
const TO_1970: (u64, u64) = (55 * YEAR, 56 * YEAR);

/// All of them.
pub(super) const CASES: [Case; 44] = [
    case("on time", (SOON, 2 * SOON), on_time),
    case("shaken", (20, 40), shaken),
    case("ahead a little", (3 * SECOND, 10 * SECOND), ahead_a_little),
    case("ahead a little", (10 * SECOND, 30 * SECOND), ahead_a_little),
    case("ahead a little", (50 * SECOND, SMALL_STEP_MS), ahead_a_little),
    case("back a little", (10 * SECOND, 20 * SECOND), back_a_little),
    case("back a little", (20 * SECOND, 40 * SECOND), back_a_little),
    case("back a little", (50 * SECOND, SMALL_STEP_MS), back_a_little),
    case("a second is repeated", (SECOND, SECOND), a_second_is_repeated),
    case("to and fro", (SECOND, SMALL_STEP_MS), to_and_fro),
    case("to and fro", (10 * SECOND, SMALL_STEP_MS), to_and_fro),
    case("ahead and back", (65 * SECOND, 2 * MINUTE), ahead_and_back),
    case("ahead and back", (2 * MINUTE, 2 * HOUR), ahead_and_back),
    case("ahead and back", (DAY, 30 * DAY), ahead_and_back),
    case("ahead and back", (9 * YEAR, 10 * YEAR), ahead_and_back),
    case("ahead and confirmed", (65 * SECOND, 4 * MINUTE), ahead_and_confirmed),
    case("ahead and confirmed", (6 * MINUTE, 2 * HOUR), ahead_and_confirmed),
    case("ahead and confirmed", (9 * YEAR, 10 * YEAR), ahead_and_confirmed),
    case("back and ahead", (65 * SECOND, 2 * MINUTE), back_and_ahead),
    case("back and ahead", (HOUR, DAY), back_and_ahead),
    case("back and ahead", (9 * YEAR, 10 * YEAR), back_and_ahead),
    case("back and ahead", TO_1970, back_and_ahead),
    case("back and confirmed", (65 * SECOND, 2 * MINUTE), back_and_confirmed),
    case("back and confirmed", (2 * MINUTE, 5 * MINUTE), back_and_confirmed),
    case("behind, then a jump", (20 * SECOND, 40 * SECOND), behind_then_a_jump),
    case("started behind", (30 * SECOND, 2 * MINUTE), started_behind),
    case("started behind", (HOUR, DAY), started_behind),
    case("started behind", (9 * YEAR, 10 * YEAR), started_behind),
    case("started behind", TO_1970, started_behind),
    case("started far ahead", (31 * DAY, YEAR), started_far_ahead),
    case("started far ahead", (9 * YEAR, 10 * YEAR), started_far_ahead),
    case("down for a while", (20 * SECOND, MINUTE), down_for_a_while),
    case("down for a while", (MINUTE, 5 * MINUTE), down_for_a_while),
    case("down for a while", (5 * MINUTE, DAY), down_for_a_while),
    case("down for a while", (28 * DAY, 30 * DAY), down_for_a_while),
    case("idle and killed", (20 * SECOND, SMALL_STEP_MS), idle_and_killed),
    case("killed in the head start", (2 * MINUTE, 5 * MINUTE), killed_in_the_head_start),
    case("killed in the head start", (10 * MINUTE, DAY), killed_in_the_head_start),
    case("killed under the guard", (10 * MINUTE, DAY), killed_under_the_guard),
    case("put right while it was down", (10 * MINUTE, DAY), put_right_while_it_was_down),
    case("killed after the confirmation", (10 * MINUTE, DAY), killed_after_the_confirmation),
    case("stopped and set a little", (10 * SECOND, SMALL_STEP_MS), stopped_and_set_a_little),
    case("stopped and set far ahead", (2 * MINUTE, HOUR), stopped_and_set_far_ahead),
    Case { name: "born in 1970", by: TO_1970, is_born_in_1970: true, play: ahead_and_confirmed },
];

// Never early, to the millisecond.

/// Deadlines that are due one after the other, a few milliseconds apart, from now on.
fn rapid(stage: &mut Stage, within: u64, dice: &mut Dice) -> anyhow::Result<Vec<String>> {
    let keys: Vec<String> = (0..RAPID).map(|number| format!("r{number}")).collect();
    for key in &keys {
        stage.schedule(key, SOON + dice.below(within))?;
    }
    Ok(keys)
}

/// All of them are waited for: it is the server that wakes up for each.
fn waited_for(stage: &mut Stage, worker: Worker, keys: &[String]) -> anyhow::Result<()> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    stage.lapsed(worker, &keys)?;
    stage.guard_is(None).map(drop)
}

fn on_time(stage: &mut Stage, by: u64, dice: &mut Dice) -> anyhow::Result<()> {
    let worker = stage.worker()?;
    let keys = rapid(stage, by, dice)?;
    waited_for(stage, worker, &keys)
}

/// The clock is set by a few milliseconds, both ways, all the time.
fn shaken(stage: &mut Stage, by: u64, dice: &mut Dice) -> anyhow::Result<()> {
    let worker = stage.worker()?;
    let keys = rapid(stage, 2 * SOON, dice)?;
    for _ in 0..SHAKES {
        let step = signed(dice.within(1..=by));
        stage.step(if dice.percent(50) { step } else { -step })?;
        stage.clock()?;
    }
    waited_for(stage, worker, &keys)
}

// Small steps are believed.

fn ahead_a_little(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    let worker = stage.worker()?;
    stage.schedule("soon", by * 2 / 3)?;
    stage.schedule("later", by + HOUR)?;
    let before = stage.clock()?;
    stage.step(signed(by))?;
    stage.lapse(worker, &["soon"], 0)?;
    let clock = stage.guard_is(None)?;
    stage.check(clock.now >= before.now + by, || format!("it did not follow: {clock:?}"));
    stage.settle_wins("later")
}

fn back_a_little(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    let worker = stage.worker()?;
    stage.schedule("soon", by / 2)?;
    stage.step(-signed(by))?;
    stage.guard_is(None)?;
    stage.clock()?;
    stage.schedule("between", HOUR)?;
    stage.clock()?;
    stage.is_pending("soon")?;
    stage.settle_wins("between")?;
    let due = stage.due("soon")?;
    stage.walk_to(due)?;
    stage.lapse(worker, &["soon"], due)?;
    stage.guard_is(None).map(drop)
}

fn a_second_is_repeated(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    let keys = ["1", "2", "3", "4", "5"];
    for key in keys {
        stage.schedule(key, MARGIN)?;
        stage.step(-signed(by))?;
        stage.clock()?;
        stage.clock()?;
        stage.is_pending(key)?;
    }
    let worker = stage.worker()?;
    let last = stage.due("5")?;
    stage.walk_to(last)?;
    stage.lapse(worker, &keys, 0)?;
    stage.guard_is(None).map(drop)
}

fn to_and_fro(stage: &mut Stage, by: u64, dice: &mut Dice) -> anyhow::Result<()> {
    let mut last = 0;
    let keys: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
    for key in &keys {
        stage.schedule(key, dice.within(1..=HOUR))?;
        last = last.max(stage.due(key)?);
        let step = signed(dice.within(1..=by));
        stage.step(if dice.percent(50) { step } else { -step })?;
        stage.clock()?;
        stage.clock()?;
    }
    stage.guard_is(None)?;
    // Whatever is due by now is read as lapsed, and whatever lapsed had been due.
    for key in &keys {
        stage.read(key)?;
    }
    let worker = stage.worker()?;
    stage.walk_to(last)?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    stage.lapsed(worker, &keys)?;
    stage.guard_is(None).map(drop)
}

// Large ones raise the guard.

fn ahead_and_back(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("near", by * 9 / 10)?;
    stage.schedule("paid", by / 2)?;
    stage.step(signed(by))?;
    withheld_and_back(stage, "forward_jump", -signed(by))?;
    stage.is_pending("near")
}

fn back_and_ahead(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("paid", HOUR)?;
    stage.step(-signed(by))?;
    withheld_and_back(stage, "backward_step", signed(by))
}

/// The guard is up: nothing lapses, settles win, time goes on. Then the clock is as it was.
fn withheld_and_back(stage: &mut Stage, reason: &str, back: i64) -> anyhow::Result<()> {
    let worker = withheld(stage, reason)?;
    stage.step(back)?;
    stage.guard_is(None)?;
    stage.log_has("clock guard up", 1)?;
    stage.log_has("clock guard down", 1)?;
    stage.lapse(worker, &["short"], 0)
}

fn withheld(stage: &mut Stage, reason: &str) -> anyhow::Result<Worker> {
    stage.guard_is(Some(reason))?;
    let worker = stage.worker()?;
    stage.settle_wins("paid")?;
    stage.schedule("short", SOON)?;
    stage.schedule("late", SOON)?;
    let due = stage.due("late")?;
    stage.wait_until(due)?;
    stage.is_pending("short")?;
    stage.settle_wins("late")?;
    stage.guard_is(Some(reason))?;
    Ok(worker)
}

fn ahead_and_confirmed(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    three(stage, by)?;
    stage.step(signed(by))?;
    confirmed(stage, "forward_jump")
}

/// Three deadlines that are overdue when the clock has moved ahead by this; when they were written.
fn three(stage: &mut Stage, by: u64) -> anyhow::Result<u64> {
    let by = by.min(HORIZON);
    stage.schedule("first", by / 3)?;
    stage.schedule("second", by / 2)?;
    stage.schedule("paid", by / 2)
}

/// The guard is up because the clock went ahead, and an operator confirms it.
fn confirmed(stage: &mut Stage, reason: &str) -> anyhow::Result<()> {
    let before = stage.guard_is(Some(reason))?;
    stage.is_pending("first")?;
    let status = stage.confirm()?;
    stage.check(status == 200, || format!("{status} to the confirmation"));
    let status = stage.confirm()?;
    stage.check(status == 409, || format!("{status} to a second confirmation"));
    let clock = stage.guard_is(None)?;
    // The head start counts from the moment in which journal time went on.
    let head = (before.wall - before.now).min(HEAD_START);
    let (least, most) = (before.wall + head - 2, clock.now + head + 2);
    stage.check((least..=most).contains(&clock.recovery_until), || {
        format!("a head start until {least} to {most}: {clock:?}")
    });
    stage.log_has("clock guard down", 1)?;
    over_the_head_start(stage, clock.recovery_until)
}

/// Overdue deadlines wait, settles win, and then they lapse, oldest first.
fn over_the_head_start(stage: &mut Stage, until: u64) -> anyhow::Result<()> {
    stage.is_pending("second")?;
    stage.settle_wins("paid")?;
    stage.walk_to(until - MARGIN)?;
    stage.is_pending("second")?;
    stage.is_pending("first")?;
    let worker = stage.worker()?;
    stage.walk_to(until)?;
    stage.lapse(worker, &["first", "second"], until)
}

fn back_and_confirmed(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.step(-signed(by))?;
    stage.guard_is(Some("backward_step"))?;
    let status = stage.confirm()?;
    stage.check(status == 200, || format!("{status} to the confirmation"));
    stage.guard_is(None)?;
    stage.schedule("short", SOON)?;
    stage.clock()?;
    stage.clock()?;
    stage.is_pending("short")?;
    let worker = stage.worker()?;
    let due = stage.due("short")?;
    stage.walk_to(due)?;
    stage.lapse(worker, &["short"], due)
}

/// Back a little, which is believed; far ahead, and back to where that left it.
fn behind_then_a_jump(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("paid", HOUR)?;
    stage.step(-signed(by))?;
    stage.guard_is(None)?;
    stage.step(signed(DAY))?;
    let worker = withheld(stage, "forward_jump")?;
    stage.step(-signed(DAY))?;
    stage.guard_is(None)?;
    let due = stage.due("short")?;
    stage.walk_to(due)?;
    stage.lapse(worker, &["short"], due)
}

// Starts.

/// Dies, and is started when the wall clock has moved on by this.
fn restart(stage: &mut Stage, by: i64) -> anyhow::Result<Opened> {
    stage.kill()?;
    stage.step(by)?;
    stage.start()
}

fn started_behind(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("paid", HOUR)?;
    restart(stage, -signed(by))?;
    let worker = withheld(stage, "started_behind")?;
    stage.put_right()?;
    stage.guard_is(None)?;
    stage.lapse(worker, &["short"], 0)
}

fn started_far_ahead(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    three(stage, by)?;
    restart(stage, signed(by))?;
    confirmed(stage, "started_ahead")
}

fn down_for_a_while(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    let written = three(stage, by)?;
    stage.kill()?;
    let dead = stage.wall();
    stage.step(signed(by))?;
    let opened = stage.start()?;
    // It was last alive somewhere between these.
    let least = opened.at.saturating_sub(dead).min(HEAD_START);
    let most = (opened.at - written).min(HEAD_START);
    stage.check((least..=most).contains(&opened.recovery_ms), || {
        format!("a head start of {least} to {most} ms: {opened:?}")
    });
    let clock = stage.guard_is(None)?;
    let until = opened.at + opened.recovery_ms;
    stage.check(clock.recovery_until == until, || format!("{clock:?}, but {opened:?}"));
    over_the_head_start(stage, until)
}

/// A server that was at work, if at nothing, has not been down.
fn idle_and_killed(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("paid", DAY)?;
    for _ in 0..8 {
        stage.step(signed(by))?;
        stage.clock()?;
    }
    let before = stage.clock()?;
    let opened = restart(stage, 0)?;
    let most = opened.at - before.now + ALIVE;
    stage.check(opened.recovery_ms <= most, || {
        format!("a head start of {most} ms at most, it was idle until {before:?}: {opened:?}")
    });
    stage.settle_wins("paid")
}

fn killed_in_the_head_start(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    three(stage, by)?;
    let mut opened = restart(stage, signed(by))?;
    let mut until = opened.at + opened.recovery_ms;
    for _ in 0..3 {
        opened = restart(stage, signed(SECOND))?;
        let now_until = opened.at + opened.recovery_ms;
        stage.check(now_until >= until, || format!("not until {until} any more: {opened:?}"));
        until = now_until;
        stage.is_pending("first")?;
    }
    over_the_head_start(stage, until)
}

fn killed_under_the_guard(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    three(stage, by)?;
    stage.step(signed(by))?;
    stage.guard_is(Some("forward_jump"))?;
    restart(stage, 0)?;
    stage.is_pending("second")?;
    confirmed(stage, "forward_jump")
}

fn put_right_while_it_was_down(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("near", by / 2)?;
    stage.schedule("paid", by / 2)?;
    stage.step(signed(by))?;
    stage.guard_is(Some("forward_jump"))?;
    restart(stage, -signed(by))?;
    stage.guard_is(None)?;
    stage.is_pending("near")?;
    stage.settle_wins("paid")
}

/// Confirmed, and killed before anybody could use the head start.
fn killed_after_the_confirmation(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    three(stage, by)?;
    stage.step(signed(by))?;
    stage.guard_is(Some("forward_jump"))?;
    let status = stage.confirm()?;
    stage.check(status == 200, || format!("{status} to the confirmation"));
    let opened = restart(stage, 0)?;
    let clock = stage.guard_is(None)?;
    // The confirmation may be the last thing it did, or journal time may have gone on already.
    stage.check(clock.recovery_until + MINUTE >= opened.at + HEAD_START, || {
        format!("no head start is left: {clock:?}, {opened:?}")
    });
    over_the_head_start(stage, clock.recovery_until)
}

// Pauses.

fn stopped_and_set_a_little(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    let worker = stage.worker()?;
    stage.schedule("soon", by * 2 / 3)?;
    stage.schedule("paid", by + HOUR)?;
    stage.signal(Signal::STOP);
    stage.step(signed(by))?;
    stage.signal(Signal::CONT);
    stage.lapse(worker, &["soon"], 0)?;
    stage.guard_is(None)?;
    stage.settle_wins("paid")
}

fn stopped_and_set_far_ahead(stage: &mut Stage, by: u64, _: &mut Dice) -> anyhow::Result<()> {
    stage.schedule("near", by * 9 / 10)?;
    stage.schedule("paid", by / 2)?;
    stage.signal(Signal::STOP);
    stage.step(signed(by))?;
    stage.signal(Signal::CONT);
    withheld_and_back(stage, "forward_jump", -signed(by))?;
    stage.is_pending("near")
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).expect("no case is about more than a century")
}
