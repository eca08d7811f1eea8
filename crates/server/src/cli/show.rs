//! From the server's JSON to what a person reads.
//!
//! It takes what it finds and leaves out what is not there, so that an older command line still
//! shows the answers of a newer server. Times are in UTC, with the distance from the server's own
//! clock beside them. Records come as `answer` reads them: a payload is its text. Pure: it prints nothing and asks nobody.

use duly_engine::time::{Span, Time};
use serde_json::Value;

use super::print::{Output, Tone};
use super::table::{Cell, Table};
use crate::units;

/// How things look: where to, and what time it is for the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) output: Output,
    pub(super) now: Time,
}

impl View {
    /// One deadline with everything that happened to it.
    pub(super) fn deadline(self, record: &Value) -> String {
        let (word, tone) = standing(record);
        let mut text = format!(
            "{}  {}\n\n",
            self.output.paint(&name(record), Tone::Strong),
            self.output.paint(&word, tone)
        );
        let mut facts = Table::bare();
        for (label, value) in [
            ("due", self.instant_with_distance(record, "/due")),
            ("frozen until", self.instant_with_distance(record, "/frozen_until")),
            ("outcome", string(record, "/outcome")),
            ("settled", self.instant_with_distance(record, "/settled_at")),
            ("lapsed", self.instant_with_distance(record, "/lapsed_at")),
            ("delivery", string(record, "/delivery/id")),
            ("attempts", number(record, "/delivery/attempts")),
            ("next attempt", self.instant_with_distance(record, "/delivery/next_attempt_at")),
            ("last error", string(record, "/delivery/last_error")),
            ("created", self.instant_with_distance(record, "/created_at")),
            ("generation", number(record, "/generation").filter(|number| number != "1")),
            ("priority", number(record, "/priority").filter(|number| number != "1024")),
            ("payload", string(record, "/payload")),
            ("payload", string(record, "/payload_base64").map(|text| format!("{text} (base64)"))),
            (
                "payload",
                (record["payload_gone"] == true).then(|| "dropped by retention".to_owned()),
            ),
        ] {
            if let Some(value) = value {
                facts.row(vec![faint(format!("  {label}")), plain(value)]);
            }
        }
        text.push_str(&facts.render(self.output));
        let timeline = self.timeline(record);
        if !timeline.is_empty() {
            text.push('\n');
            text.push_str(&timeline);
        }
        text
    }

    fn timeline(self, record: &Value) -> String {
        let mut table = Table::bare();
        for event in record.get("timeline").and_then(Value::as_array).into_iter().flatten() {
            let what = string(event, "/what").unwrap_or_default();
            let details = [
                string(event, "/outcome"),
                instant(event, "/due").map(|due| format!("due {}", in_utc(due))),
                instant(event, "/until").map(|until| format!("until {}", in_utc(until))),
                number(event, "/attempt").map(|attempt| format!("attempt {attempt}")),
                string(event, "/error"),
                instant(event, "/next_attempt_at").map(|at| format!("again {}", in_utc(at))),
            ];
            let details: Vec<String> = details.into_iter().flatten().collect();
            table.row(vec![
                faint(format!("  {}", instant(event, "/at").map(in_utc).unwrap_or_default())),
                (what.clone(), tone_of(&what)),
                plain(details.join(", ")),
            ]);
        }
        table.render(self.output)
    }

    /// A page of deadlines.
    pub(super) fn list(self, records: &[Value]) -> String {
        let mut table = Table::new(&["KEY", "STATE", "DUE", "", "ATTEMPTS", "LAST ERROR"], &[4]);
        for record in records {
            let (word, tone) = standing(record);
            let due = instant(record, "/due");
            table.row(vec![
                plain(string(record, "/key").unwrap_or_default()),
                (word, tone),
                plain(due.map(in_utc).unwrap_or_default()),
                faint(due.map(|due| self.distance(due)).unwrap_or_default()),
                plain(number(record, "/delivery/attempts").unwrap_or_default()),
                faint(string(record, "/delivery/last_error").unwrap_or_default()),
            ]);
        }
        table.render(self.output)
    }

    /// The figures of queues.
    pub(super) fn stats(self, queues: &[Value]) -> String {
        let headings =
            ["QUEUE", "PENDING", "READY", "LEASED", "DEAD", "SETTLED", "LAPSED", "TOO LATE", ""];
        let mut table = Table::new(&headings, &[1, 2, 3, 4, 5, 6, 7]);
        for queue in queues {
            let count = |at: &str| plain(number(queue, at).unwrap_or_else(|| "0".to_owned()));
            let settled: u64 = queue
                .pointer("/total/settled")
                .and_then(Value::as_object)
                .map_or(0, |outcomes| outcomes.values().filter_map(Value::as_u64).sum());
            let dead = queue.pointer("/now/dead").and_then(Value::as_u64).unwrap_or(0);
            let flag = |name: &str, word: &'static str| {
                queue.get(name).and_then(Value::as_bool).unwrap_or(false).then_some(word)
            };
            let flags = [flag("paused", "paused"), flag("lapse_paused", "lapses paused")];
            let flags: Vec<&str> = flags.into_iter().flatten().collect();
            table.row(vec![
                (string(queue, "/name").unwrap_or_default(), Tone::Strong),
                count("/now/pending"),
                count("/now/ready"),
                count("/now/leased"),
                (dead.to_string(), if dead == 0 { Tone::Plain } else { Tone::Bad }),
                plain(settled.to_string()),
                count("/total/lapsed"),
                count("/too_late"),
                (flags.join(", "), Tone::Open),
            ]);
        }
        table.render(self.output)
    }

    /// The outcomes of one queue.
    pub(super) fn outcomes(self, queue: &Value) -> String {
        let outcomes = queue.pointer("/total/settled").and_then(Value::as_object);
        let Some(outcomes) = outcomes.filter(|outcomes| !outcomes.is_empty()) else {
            return String::new();
        };
        let mut table = Table::new(&["OUTCOME", "COUNT"], &[1]);
        for (outcome, count) in outcomes {
            table.row(vec![plain(outcome.clone()), plain(count.to_string())]);
        }
        table.render(self.output)
    }

    /// One line about where a deadline stands now.
    pub(super) fn line(self, record: &Value) -> String {
        let (word, tone) = standing(record);
        let mut text = format!("{} is {}", name(record), self.output.paint(&word, tone));
        if string(record, "/state").as_deref() == Some("pending") {
            let frozen = instant(record, "/frozen_until").is_some_and(|until| until > self.now);
            for (label, at, shown) in
                [("due", "/due", true), ("frozen until", "/frozen_until", frozen)]
            {
                if let Some(time) = self.instant_with_distance(record, at).filter(|_| shown) {
                    text = format!("{text}, {label} {time}");
                }
            }
        }
        text + "\n"
    }

    fn instant_with_distance(self, record: &Value, at: &str) -> Option<String> {
        let time = instant(record, at)?;
        Some(format!("{} ({})", in_utc(time), self.distance(time)))
    }

    /// How far an instant is from now: `in 12m 4s`, `3d 2h ago`.
    fn distance(self, time: Time) -> String {
        let (ahead, behind) = (time.since(self.now), self.now.since(time));
        if ahead.is_zero() {
            format!("{} ago", rough(behind))
        } else {
            format!("in {}", rough(ahead))
        }
    }
}

/// The two largest units of a span.
pub(super) fn rough(span: Span) -> String {
    let seconds = span.millis() / 1_000;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else {
        return format!("{}ms", span.millis());
    };
    let mut rest = seconds;
    let parts = units.iter().skip(first).take(2).filter_map(|(unit, size)| {
        let count = rest / size;
        rest %= size;
        (count > 0).then(|| format!("{count}{unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// `2026-11-22 12:30:00.000 UTC`.
pub(super) fn in_utc(time: Time) -> String {
    units::show_instant(time).replace('T', " ").replace('Z', " UTC")
}

/// Where a deadline stands, in one or two words.
fn standing(record: &Value) -> (String, Tone) {
    let state = string(record, "/state").unwrap_or_default();
    let word = match (state.as_str(), string(record, "/outcome"), string(record, "/delivery/state"))
    {
        ("settled", Some(outcome), _) => return (format!("settled: {outcome}"), Tone::Good),
        ("lapsed", _, Some(delivery)) => {
            let tone = tone_of(&delivery);
            return (format!("lapsed: {delivery}"), tone);
        }
        _ => state,
    };
    let tone = tone_of(&word);
    (word, tone)
}

pub(super) fn tone_of(word: &str) -> Tone {
    match word {
        "settled" | "done" | "superseded" => Tone::Good,
        "pending" | "ready" | "leased" => Tone::Open,
        "dead" | "retried" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// `orders/42`.
pub(super) fn name(record: &Value) -> String {
    let part = |at| string(record, at).unwrap_or_default();
    format!("{}/{}", part("/queue"), part("/key"))
}

pub(super) fn plain(text: String) -> Cell {
    (text, Tone::Plain)
}

pub(super) fn faint(text: String) -> Cell {
    (text, Tone::Faint)
}

pub(super) fn string(value: &Value, at: &str) -> Option<String> {
    value.pointer(at)?.as_str().map(str::to_owned)
}

pub(super) fn number(value: &Value, at: &str) -> Option<String> {
    value.pointer(at)?.as_u64().map(|number| number.to_string())
}

/// An instant of the API's form.
pub(super) fn instant(value: &Value, at: &str) -> Option<Time> {
    units::instant(value.pointer(at)?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> View {
        let now = units::instant("2026-11-22T12:00:00Z").expect("it is an instant");
        View { output: Output::plain(), now }
    }

    #[test]
    fn distances_have_two_units_at_most() {
        let at = |text| view().distance(units::instant(text).expect("it is an instant"));
        assert_eq!(at("2026-11-22T12:30:00Z"), "in 30m");
        assert_eq!(at("2026-11-22T13:30:05Z"), "in 1h 30m");
        assert_eq!(at("2026-11-20T11:00:00Z"), "2d 1h ago");
        assert_eq!(at("2026-11-22T12:00:00.250Z"), "in 250ms");
        assert_eq!(at("2026-11-22T12:00:00Z"), "0ms ago");
    }

    #[test]
    fn a_lapsed_deadline_shows_its_delivery_and_its_timeline() {
        let record = json!({
            "queue": "orders", "key": "42", "state": "lapsed", "due": "2026-11-22T11:30:00.000Z",
            "created_at": "2026-11-22T11:00:00.000Z", "lapsed_at": "2026-11-22T11:30:00.000Z",
            "generation": 1, "priority": 1024, "outcome": null, "payload": "{\"total\": 19.90}",
            "delivery": {"id": "f3k9-17-1", "state": "ready", "attempts": 1,
                "last_error": "503 \u{1b}[2J", "next_attempt_at": "2026-11-22T12:00:05.000Z"},
            "timeline": [
                {"at": "2026-11-22T11:00:00.000Z", "what": "scheduled", "due": "2026-11-22T11:30:00.000Z"},
                {"at": "2026-11-22T11:30:00.000Z", "what": "lapsed"}
            ]
        });
        let expected = "\
orders/42  lapsed: ready

  due           2026-11-22 11:30:00.000 UTC (30m ago)
  lapsed        2026-11-22 11:30:00.000 UTC (30m ago)
  delivery      f3k9-17-1
  attempts      1
  next attempt  2026-11-22 12:00:05.000 UTC (in 5s)
  last error    503  [2J
  created       2026-11-22 11:00:00.000 UTC (1h ago)
  payload       {\"total\": 19.90}

  2026-11-22 11:00:00.000 UTC  scheduled  due 2026-11-22 11:30:00.000 UTC
  2026-11-22 11:30:00.000 UTC  lapsed
";
        assert_eq!(view().deadline(&record), expected);
    }

    #[test]
    fn a_list_has_a_line_for_each() {
        let records = [
            json!({"key": "42", "state": "pending", "due": "2026-11-22T12:12:00.000Z"}),
            json!({"key": "43", "state": "settled", "outcome": "paid", "due": "2026-11-22T11:00:00Z"}),
        ];
        let expected = "\
KEY  STATE          DUE                                  ATTEMPTS  LAST ERROR
42   pending        2026-11-22 12:12:00.000 UTC  in 12m
43   settled: paid  2026-11-22 11:00:00.000 UTC  1h ago
";
        assert_eq!(view().list(&records), expected);
    }

    #[test]
    fn figures_of_queues_line_up_and_outcomes_follow() {
        let queue = json!({
            "name": "orders", "paused": true, "lapse_paused": false,
            "now": {"pending": 1200, "ready": 1, "leased": 0, "dead": 2},
            "total": {"settled": {"paid": 40, "cancelled_by_customer": 2}, "lapsed": 7},
            "too_late": 1
        });
        let expected = "\
QUEUE   PENDING  READY  LEASED  DEAD  SETTLED  LAPSED  TOO LATE
orders     1200      1       0     2       42       7         1  paused
";
        assert_eq!(view().stats(std::slice::from_ref(&queue)), expected);
        let expected = "\
OUTCOME                COUNT
cancelled_by_customer      2
paid                      40
";
        assert_eq!(view().outcomes(&queue), expected);
        assert_eq!(view().outcomes(&json!({"total": {"settled": {}}})), "");
    }

    #[test]
    fn one_line_says_where_a_deadline_stands() {
        let record = json!({"queue": "orders", "key": "42", "state": "pending",
            "due": "2026-11-22T12:30:00.000Z"});
        assert_eq!(
            view().line(&record),
            "orders/42 is pending, due 2026-11-22 12:30:00.000 UTC (in 30m)\n"
        );
        let mut frozen = record;
        frozen["frozen_until"] = "2026-11-22T12:10:00.000Z".into();
        assert!(
            view()
                .line(&frozen)
                .ends_with("(in 30m), frozen until 2026-11-22 12:10:00.000 UTC (in 10m)\n")
        );
        frozen["frozen_until"] = "2026-11-22T11:50:00.000Z".into();
        assert!(view().line(&frozen).ends_with("(in 30m)\n"), "it is over");
        let record = json!({"queue": "orders", "key": "42", "state": "settled", "outcome": "paid",
            "due": "2026-11-22T12:30:00.000Z"});
        assert_eq!(view().line(&record), "orders/42 is settled: paid\n");
    }
}
