//! What becomes of the cost when more is pending: ten thousand, a hundred thousand, a million, ten
//! million.
//!
//! Two things are held against limits. The instructions that one operation takes may grow by no more than 30 %
//! from the least to the most (time grows more, because caches do not). And no step may take
//! longer than 5 ms of a processor's time, also not while ten million come in: that is what a rehash,
//! a cascade or a sort would do. A step has up to 512 commands or facts, or one slice of what is due.

use std::io::{Write, stdout};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use duly_engine::answer::Answer;
use duly_engine::command::{Command as Asked, Show};
use duly_engine::time::Span;

use crate::counting::{instructions, measured};
use crate::shop::{SOON, Shop, done, far, soon};
use crate::world::{World, processor_time};

/// So many are pending.
const PENDING: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// What the dearest may cost, in percent of the cheapest.
const MOST_PERCENT: u64 = 130;

const LONGEST_STEP: Duration = Duration::from_millis(5);

/// Operations of each kind.
const COUNT: usize = 20_000;

/// Due in the same millisecond, where so many are pending.
const AT_ONCE: usize = 1_000_000;

/// What is counted, in the order in which it is done.
const KINDS: [&str; 6] = ["schedule", "extend", "settle", "lapse", "lease", "done"];

/// How much is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Up to so many pending.
    #[arg(long, default_value_t = 10_000_000)]
    most: usize,
    /// Times the steps and counts no instructions.
    #[arg(long)]
    only_time: bool,
    /// Counts instructions and times nothing, for a machine where others are at work.
    #[arg(long, conflicts_with = "only_time")]
    only_count: bool,
    /// What this program runs of itself: the steps are timed with so many pending.
    #[arg(long, hide = true)]
    timed: Option<usize>,
    /// What it runs under valgrind: the operations, with so many pending.
    #[arg(long, hide = true)]
    counted: Option<usize>,
}

/// Something that is done with the world, so many times: what, how many, and what it takes to do it.
type Measure<'a> = &'a mut dyn FnMut(&'static str, usize, &mut World, &mut dyn FnMut(&mut World));

/// Measures and holds against the limits; false if something is beyond them.
pub(crate) fn growth(options: &Options) -> anyhow::Result<bool> {
    if let Some(pending) = options.counted {
        let shop = Shop::new();
        let mut world = shop.open(pending);
        operations(&shop, &mut world, pending, &mut |_, _, world, work| {
            measured(&mut || work(world));
        });
        return Ok(true);
    }
    if let Some(pending) = options.timed {
        return steps_with(pending);
    }
    let sizes: Vec<usize> = PENDING.into_iter().filter(|size| *size <= options.most).collect();
    let has_short_steps = options.only_count || steps(&sizes)?;
    let is_flat = options.only_time || counts(&sizes)?;
    Ok(has_short_steps && is_flat)
}

/// Some of each kind of operation, while so many are pending; as many are pending afterwards.
fn operations(shop: &Shop, world: &mut World, pending: usize, measure: Measure<'_>) {
    // Neighbours in time are no neighbours in memory.
    let any = |number: usize| number.wrapping_mul(7_919_993) % pending;
    let (orders, others) = (pending..pending + COUNT, pending + COUNT..pending + 2 * COUNT);
    let ask = |kind, world: &mut World, measure: Measure<'_>, mut commands: Vec<Asked>| {
        let mut answers = Vec::new();
        measure(kind, COUNT, world, &mut |world| {
            answers = world.run(std::mem::take(&mut commands));
        });
        let is_refused = |answer: &Answer| matches!(answer, Answer::Refused(_));
        assert!(!answers.iter().any(is_refused), "{kind}: something was refused");
        answers
    };
    let schedule = |number, after| shop.schedule(number, after, Show::Nothing);
    ask(KINDS[0], world, measure, orders.clone().map(|n| schedule(n, far(n))).collect());
    ask(KINDS[1], world, measure, (0..COUNT).map(|n| shop.extend(any(n))).collect());
    ask(KINDS[2], world, measure, orders.map(|n| shop.settle(n)).collect());
    world.run(others.map(|n| schedule(n, soon(n))).collect());
    measure(KINDS[3], COUNT, world, &mut |world| world.pass(SOON.plus(Span::from_secs(1))));
    let leases = ask(KINDS[4], world, measure, shop.leases(COUNT));
    let verdicts = done(&leases);
    assert_eq!(verdicts.len(), COUNT, "all that lapsed is leased");
    ask(KINDS[5], world, measure, verdicts);
}

/// A million that are due in the same millisecond come, and lapse.
fn at_once(shop: &Shop, world: &mut World, pending: usize, measure: Measure<'_>) {
    let orders = pending + 2 * COUNT..pending + 2 * COUNT + AT_ONCE;
    let mut commands = orders.map(|n| shop.schedule(n, SOON, Show::Nothing)).collect();
    measure("schedule for one millisecond", AT_ONCE, world, &mut |world| {
        world.run(std::mem::take(&mut commands));
    });
    measure("lapse in one millisecond", AT_ONCE, world, &mut |world| world.pass(SOON));
}

/// Prints what an operation and the longest step take; says whether every step is short. Each size has
/// a process of its own: what one leaves to the allocator is no step of the next.
fn steps(sizes: &[usize]) -> anyhow::Result<bool> {
    writeln!(stdout(), "   pending  operation                     ns each  longest step ms")?;
    let mut is_short = true;
    for pending in sizes {
        let itself = std::env::current_exe()?;
        let mut timed = Command::new(itself);
        timed.args(["growth", "--timed", &pending.to_string()]);
        is_short &= timed.status().context("cannot run this program again")?.success();
    }
    Ok(is_short)
}

fn steps_with(pending: usize) -> anyhow::Result<bool> {
    let mut rows = Vec::new();
    let shop = Shop::new();
    let begun = processor_time();
    let mut world = shop.open(pending);
    rows.push(("fill", pending, processor_time().saturating_sub(begun), world.longest_step()));
    let mut time = |kind, many, world: &mut World, work: &mut dyn FnMut(&mut World)| {
        world.longest_step();
        let begun = processor_time();
        work(world);
        rows.push((kind, many, processor_time().saturating_sub(begun), world.longest_step()));
    };
    operations(&shop, &mut world, pending, &mut time);
    if pending >= AT_ONCE {
        at_once(&shop, &mut world, pending, &mut time);
    }
    let mut is_short = true;
    for (kind, many, spent, longest) in rows {
        let each = spent.as_nanos() / many as u128;
        let longest_ms = longest.as_secs_f64() * 1e3;
        let note = if longest > LONGEST_STEP { "  TOO LONG" } else { "" };
        writeln!(stdout(), "{pending:>10}  {kind:28}  {each:>7}  {longest_ms:>15.2}{note}")?;
        is_short &= longest <= LONGEST_STEP;
    }
    Ok(is_short)
}

/// Prints the instructions of an operation; says whether they hardly grow.
fn counts(sizes: &[usize]) -> anyhow::Result<bool> {
    writeln!(stdout(), "instructions, with so many pending")?;
    writeln!(stdout(), "          {}", in_columns(KINDS.map(str::to_owned)))?;
    let mut least = [u64::MAX; KINDS.len()];
    let mut most = [0; KINDS.len()];
    for pending in sizes {
        let counted = instructions(&["growth", "--counted", &pending.to_string()])?;
        let each: [u64; KINDS.len()] =
            counted.try_into().ok().context("one count for each kind of operation")?;
        let each = each.map(|count| count / COUNT as u64);
        for (place, count) in each.into_iter().enumerate() {
            least[place] = least[place].min(count);
            most[place] = most[place].max(count);
        }
        writeln!(stdout(), "{pending:>10}{}", in_columns(each))?;
    }
    let percent: [u64; KINDS.len()] = std::array::from_fn(|kind| most[kind] * 100 / least[kind]);
    let is_flat = percent.iter().all(|percent| *percent <= MOST_PERCENT);
    let note = if is_flat { "" } else { "  IT GROWS" };
    let shown = percent.map(|percent| format!("{percent} %"));
    writeln!(stdout(), "the most  {}  of the least{note}", in_columns(shown))?;
    Ok(is_flat)
}

fn in_columns(cells: [impl std::fmt::Display; KINDS.len()]) -> String {
    cells.map(|cell| format!("{cell:>10}")).concat()
}
