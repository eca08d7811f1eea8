//! `duly watch report` and `duly reconcile`: what the watches of a running server have seen, and a
//! comparison of table and deadlines now.
//!
//! Both are questions to the server like any other; what people read is made here from its JSON.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use duly_engine::time::{Span, Time};
use serde_json::Value;

use super::args::{Reconcile, WatchReport};
use super::ask::{Session, Stop, print_raw};
use super::call;
use super::print::{self, Output, Tone};
use super::show::{faint, in_utc, instant, number, plain, rough, string};
use super::table::Table;

/// How often a reconciliation that takes long is asked how far it is.
const AGAIN: Duration = Duration::from_millis(500);
/// Rows shown of each kind; the others are in `--json`.
const SHOWN: usize = 10;

impl Session {
    /// The watch that was named, or all of them.
    async fn watches(&self, name: Option<&str>) -> Result<Vec<Value>, Stop> {
        if let Some(name) = name {
            return Ok(vec![serde_json::json!({ "name": name })]);
        }
        let (_, answer) = self.answer(call::watches()).await?;
        Ok(answer["watches"].as_array().cloned().unwrap_or_default())
    }

    /// Shows what watches that only observe have seen.
    pub(super) async fn report(&self, args: &WatchReport) -> Result<(), Stop> {
        let mut shown = 0;
        for watch in self.watches(args.name.as_deref()).await? {
            let name = string(&watch, "/name").unwrap_or_default();
            if args.name.is_none() && watch["mode"] != "observe" {
                continue;
            }
            let (answer, read) = self.answer(call::watch(&name)).await?;
            if self.json {
                print_raw(&answer)?;
            } else {
                let gap = if shown > 0 { "\n" } else { "" };
                print::out(&format!("{gap}{}", told(&read, self.output)))?;
            }
            shown += 1;
        }
        if shown == 0 {
            print::say("duly: no watch observes; see docs/watches.md\n");
        }
        Ok(())
    }

    /// Has the watches compare table and deadlines, and shows what they found.
    pub(super) async fn reconcile(&self, args: &Reconcile) -> Result<(), Stop> {
        let watches = self.watches(args.name.as_deref()).await?;
        if watches.is_empty() {
            print::say("duly: there is no watch; see docs/watches.md\n");
        }
        for watch in watches {
            let name = string(&watch, "/name").unwrap_or_default();
            let (mut answer, mut read) = self.answer(call::reconcile(&name, args.dry_run)).await?;
            let number = read.pointer("/reconciliation/number").cloned();
            let is_seen = io::stderr().is_terminal();
            while state(&read) == Some("under_way") {
                if is_seen {
                    print::say(&format!("\r{}", how_far(&read["reconciliation"])));
                }
                tokio::time::sleep(AGAIN).await;
                (answer, read) = self.answer(call::watch(&name)).await?;
                if read.pointer("/reconciliation/number").cloned() != number {
                    // Somebody else's, which began when this one had ended.
                    break;
                }
            }
            if is_seen {
                print::say("\r\u{1b}[K");
            }
            if self.json {
                print_raw(&answer)?;
            } else {
                print::out(&reconciled(&read["reconciliation"], self.output))?;
            }
            if let Some(why) = string(&read, "/reconciliation/why") {
                return Err(Stop::HeldUp(why));
            }
        }
        Ok(())
    }
}

fn state(answer: &Value) -> Option<&str> {
    answer.pointer("/reconciliation/state")?.as_str()
}

fn count(value: &Value, at: &str) -> u64 {
    value.pointer(at).and_then(Value::as_u64).unwrap_or_default()
}

fn how_far(reconciliation: &Value) -> String {
    let rows = count(reconciliation, "/rows");
    let deadlines = count(reconciliation, "/deadlines");
    format!("compared: {rows} open rows, {deadlines} pending deadlines")
}

/// What each kind of difference is, and what becomes of it.
const KINDS: [(&str, &str, &str); 7] = [
    ("unarmed", "open rows without a deadline", "were given one"),
    ("closed", "deadlines whose row is closed or gone", "were settled"),
    ("moved", "deadlines whose row is due at another time", "were moved"),
    ("reopened", "rows that were opened again", "got a new generation"),
    ("overdue", "open rows without a deadline, overdue", "left to you"),
    ("stuck", "rows open although their deadline is over", "left to you"),
    ("unreadable", "rows that no deadline can be made of", "left to you"),
];

/// A reconciliation in a few lines.
fn reconciled(reconciliation: &Value, output: Output) -> String {
    let name = string(reconciliation, "/watch").unwrap_or_default();
    let dry = if reconciliation["dry_run"] == true { ", and nothing was changed" } else { "" };
    let name = output.paint(&name, Tone::Strong);
    let mut text = format!("{name}  {}{dry}\n", how_far(reconciliation));
    let found = reconciliation["found"].as_array().map_or(&[][..], Vec::as_slice);
    if found.is_empty() {
        text.push_str("  nothing differs\n");
    }
    let mut table = Table::bare();
    for (kind, what, remedy) in KINDS {
        let Some(found) = found.iter().find(|found| found["kind"] == kind) else { continue };
        let (all, repaired) = (count(found, "/count"), count(found, "/repaired"));
        let remedy = match (remedy, repaired) {
            ("left to you", _) => remedy.to_owned(),
            (_, 0) => "not put right".to_owned(),
            (_, repaired) if repaired == all => format!("all {remedy}"),
            (_, repaired) => format!("{repaired} {remedy}"),
        };
        table.row(vec![
            plain(format!("  {all}")),
            plain(what.to_owned()),
            plain(remedy),
            faint(keys(found["keys"].as_array().into_iter().flatten(), all)),
        ]);
    }
    text.push_str(&table.render(output));
    if let Some(why) = string(reconciliation, "/skipped") {
        let why = print::clean(&why);
        text = format!("{text}  rows without a deadline were not looked for: {why}\n");
    }
    text
}

/// The first keys of a list.
fn keys<'a>(keys: impl Iterator<Item = &'a Value>, all: u64) -> String {
    let shown: Vec<&str> = keys.filter_map(Value::as_str).take(SHOWN).collect();
    let more = if all > shown.len() as u64 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// A report for people.
fn told(answer: &Value, output: Output) -> String {
    let name = string(answer, "/watch/name").unwrap_or_default();
    let title = output.paint(&name, Tone::Strong);
    let report = &answer["report"];
    if report.is_null() {
        let acts = answer["watch"]["mode"] == "act";
        let why =
            if acts { "acts; only one that observes reports" } else { "has seen nothing yet" };
        return format!("{title}  {why}\n");
    }
    let at = |at: &str| instant(report, at).unwrap_or(Time::ZERO);
    let (since, until) = (at("/since"), at("/until"));
    let mut text = format!(
        "{title}  observed since {} ({}); nothing from before the server started is in it\n",
        in_utc(since),
        rough(until.since(since))
    );
    if let Some(code) = string(answer, "/watch/held_up/code") {
        text = format!("{text}  held up now: {code}\n");
    }
    let (fell_due, open) = (count(report, "/fell_due"), count(report, "/open"));
    text = format!(
        "{text}  {fell_due} rows were open when they were due; {open} are open and not yet due\n\n"
    );
    text.push_str(&happened(report, output));
    text.push_str(&lateness(report));
    text.push('\n');
    text.push_str(&instead(report, output));
    text.push_str(&cases(report, output));
    text.push_str(&untold(report));
    text
}

/// What others did, line by line; nothing is said about what there was none of, but for the first.
fn happened(report: &Value, output: Output) -> String {
    let mut table = Table::bare();
    let mut line = |at: &str, what: &str, tone, always: bool| {
        let number = count(report, &format!("/others/{at}"));
        if number > 0 || always {
            let tone = if number > 0 { tone } else { Tone::Plain };
            table.row(vec![plain(format!("  {number}")), (what.to_owned(), tone)]);
        }
    };
    line("cancelled_although_paid", "cancelled although paid", Tone::Bad, true);
    line("paid_after_cancelled", "cancelled, and only then paid", Tone::Bad, false);
    line("cancelled_late", "cancelled, when due or later", Tone::Plain, true);
    line("cancelled_early", "cancelled before they were due", Tone::Bad, false);
    line("paid_in_time", "paid in time", Tone::Good, true);
    line("paid_about_due", "paid at about the due time", Tone::Plain, false);
    line("paid_late", "paid after they were due, and kept", Tone::Plain, true);
    line("closed_early", "closed otherwise before they were due", Tone::Plain, false);
    line("closed_late", "closed otherwise, when due or later", Tone::Plain, false);
    line("overdue", "still open although due", Tone::Open, true);
    line("overdue_long", "of these for more than an hour", Tone::Bad, false);
    format!("What happens today\n{}", table.render(output))
}

fn lateness(report: &Value) -> String {
    let rows = count(report, "/late/count");
    if rows == 0 {
        return String::new();
    }
    let late = |at: &str| short(count(report, &format!("/late/{at}")));
    let told = count(report, "/late/told");
    let exact = if told == rows {
        "as the table tells it".to_owned()
    } else {
        let within = late("within_ms");
        match told {
            0 => format!("to within {within}: the table does not tell when a row was closed"),
            told => format!("for {told} of them as the table tells it, else to within {within}"),
        }
    };
    format!(
        "  closed late: half of {rows} by {}, nine of ten by {}, 99 of 100 by {}, at worst by {}\n  \
         ({exact})\n",
        late("median_ms"),
        late("p90_ms"),
        late("p99_ms"),
        late("worst_ms")
    )
}

fn instead(report: &Value, output: Output) -> String {
    let mut table = Table::bare();
    let lines = [
        ("cancelled", "cancelled at their due time, to the millisecond"),
        ("kept", "kept: they were closed in time"),
        ("unclear", "not known: closed about when they were due"),
        ("cancelled_although_paid", "cancelled although paid: `open` holds for paid rows"),
    ];
    for (at, what) in lines {
        let number = count(report, &format!("/instead/{at}"));
        if number > 0 || matches!(at, "cancelled" | "kept") {
            let tone = if at == "cancelled_although_paid" { Tone::Bad } else { Tone::Plain };
            table.row(vec![plain(format!("  {number}")), (what.to_owned(), tone)]);
        }
    }
    format!("What Duly would have done\n{}", table.render(output))
}

/// Rows that differ, the worst kinds first.
fn cases(report: &Value, output: Output) -> String {
    let kinds = [
        ("cancelled_although_paid", "cancelled although paid"),
        ("paid_after_cancelled", "cancelled, then paid"),
        ("cancelled_early", "cancelled early"),
        ("paid_late", "paid late"),
        ("paid_about_due", "paid at about the due time"),
        ("cancelled_late", "cancelled late"),
        ("closed_late", "closed late"),
        ("overdue", "still open"),
    ];
    let headings = ["KEY", "TODAY", "DUE", "CLOSED", "PAID", "DULY"];
    let mut table = Table::new(&headings, &[]);
    let (mut rows, mut is_cut) = (0, false);
    for (kind, what) in kinds {
        let named = report["rows"][kind].as_array().map_or(&[][..], Vec::as_slice);
        let mut named: Vec<&Value> = named.iter().collect();
        named.sort_by_key(|case| std::cmp::Reverse(case["late_ms"].as_i64()));
        is_cut |= named.len() > SHOWN;
        for case in named.into_iter().take(SHOWN) {
            rows += 1;
            let due = instant(case, "/due").unwrap_or(Time::ZERO);
            let late = case["late_ms"].as_i64();
            let closed = late.map(|late| distance(late, case["closed"]["told"] == true));
            let paid = instant(case, "/paid/latest")
                .map(|paid| distance(signed(paid, due), case["paid"]["told"] == true));
            table.row(vec![
                plain(string(case, "/key").unwrap_or_default()),
                plain(what.to_owned()),
                faint(in_utc(due)),
                plain(closed.unwrap_or_default()),
                plain(paid.unwrap_or_default()),
                plain(string(case, "/instead").unwrap_or_default()),
            ]);
        }
    }
    if rows == 0 {
        return String::new();
    }
    let legend = "(CLOSED and PAID are from the due time on; ? is seen between two looks, not told by the table)";
    let mut text = format!("\n{}{}\n", table.render(output), output.paint(legend, Tone::Faint));
    if is_cut {
        let more = "(at most ten of each kind are shown, with --json a hundred)";
        text = format!("{text}{}\n", output.paint(more, Tone::Faint));
    }
    text
}

/// What this report cannot tell, and why.
fn untold(report: &Value) -> String {
    let mut text = String::new();
    let tells = [
        ("cancelled", "which closed rows were cancelled, so all that nobody paid count as closed"),
        ("paid", "which rows were paid, so none counts as paid or as cancelled although paid"),
    ];
    for (key, what) in tells {
        if report["tells"][key] == false {
            text = format!("{text}It was not told {what}: [watches.NAME.report] {key}\n");
        }
    }
    if let Some(rows) = number(report, "/unfollowed").filter(|rows| rows != "0") {
        text = format!("{text}{rows} rows were not followed: too many at a time\n");
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn signed(at: Time, due: Time) -> i64 {
    let millis = |span: Span| i64::try_from(span.millis()).unwrap_or(i64::MAX);
    millis(at.since(due)) - millis(due.since(at))
}

/// `+41.2s` after it was due, `-3.0s` before; a question mark where it was only seen.
fn distance(late_ms: i64, told: bool) -> String {
    let sign = if late_ms < 0 { "-" } else { "+" };
    let seen = if told { "" } else { " ?" };
    format!("{sign}{}{seen}", short(late_ms.unsigned_abs()))
}

/// A span with what matters of it: `250ms`, `3.2s`, `41s`, `1h 2m`.
fn short(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..10_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => rough(Span::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_says_what_was_seen_and_what_it_cannot_tell() {
        let answer = json!({
            "watch": {"name": "orders", "mode": "observe", "held_up": null},
            "report": {
                "since": "2026-11-22T11:00:00.000Z", "until": "2026-11-22T12:00:00.000Z",
                "tells": {"cancelled": true, "paid": true, "changed": false},
                "followed": 40, "unfollowed": 0, "open": 3, "fell_due": 12,
                "others": {"cancelled_although_paid": 1, "cancelled_late": 11, "paid_in_time": 20,
                    "paid_late": 0, "overdue": 0},
                "late": {"count": 11, "told": 0, "within_ms": 1100, "median_ms": 31_000,
                    "p90_ms": 54_000, "p99_ms": 61_000, "worst_ms": 61_000},
                "instead": {"cancelled": 12, "kept": 20, "unclear": 0, "cancelled_although_paid": 0},
                "rows": {"cancelled_although_paid": [{
                    "key": "42", "due": "2026-11-22T11:30:00.000Z",
                    "closed": {"earliest": "2026-11-22T11:30:40.000Z",
                        "latest": "2026-11-22T11:30:41.000Z", "told": false},
                    "paid": {"earliest": "2026-11-22T11:30:38.000Z",
                        "latest": "2026-11-22T11:30:39.000Z", "told": false},
                    "late_ms": 41_000, "instead": "cancelled"}]}
            }
        });
        let expected = "\
orders  observed since 2026-11-22 11:00:00.000 UTC (1h); nothing from before the server started is in it
  12 rows were open when they were due; 3 are open and not yet due

What happens today
  1   cancelled although paid
  11  cancelled, when due or later
  20  paid in time
  0   paid after they were due, and kept
  0   still open although due
  closed late: half of 11 by 31s, nine of ten by 54s, 99 of 100 by 1m 1s, at worst by 1m 1s
  (to within 1.1s: the table does not tell when a row was closed)

What Duly would have done
  12  cancelled at their due time, to the millisecond
  20  kept: they were closed in time

KEY  TODAY                    DUE                          CLOSED  PAID    DULY
42   cancelled although paid  2026-11-22 11:30:00.000 UTC  +41s ?  +39s ?  cancelled
(CLOSED and PAID are from the due time on; ? is seen between two looks, not told by the table)
";
        assert_eq!(told(&answer, Output::plain()), expected);
        let acts = json!({"watch": {"name": "orders", "mode": "act"}, "report": null});
        assert_eq!(told(&acts, Output::plain()), "orders  acts; only one that observes reports\n");
    }

    #[test]
    fn a_reconciliation_says_what_was_put_right_and_what_was_not() {
        let mut reconciliation = json!({
            "watch": "orders", "dry_run": false, "rows": 1200, "deadlines": 900, "skipped": null,
            "found": [
                {"kind": "unarmed", "count": 2, "repaired": 2, "keys": ["7", "8"]},
                {"kind": "overdue", "count": 12, "repaired": 0,
                    "keys": ["1", "2", "3", "4", "5", "6", "9", "10", "11", "12", "13", "14"]}]
        });
        let expected = "\
orders  compared: 1200 open rows, 900 pending deadlines
  2   open rows without a deadline           all were given one  7, 8
  12  open rows without a deadline, overdue  left to you         1, 2, 3, 4, 5, 6, 9, 10, 11, 12, …
";
        assert_eq!(reconciled(&reconciliation, Output::plain()), expected);
        reconciliation["found"] = json!([]);
        reconciliation["skipped"] = "no row has been seen yet".into();
        reconciliation["dry_run"] = true.into();
        let expected = "\
orders  compared: 1200 open rows, 900 pending deadlines, and nothing was changed
  nothing differs
  rows without a deadline were not looked for: no row has been seen yet
";
        assert_eq!(reconciled(&reconciliation, Output::plain()), expected);
    }
}
