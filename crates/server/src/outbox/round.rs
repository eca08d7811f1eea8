//! One round: rows become lines of a batch, and the answers become the rows' fate.
//!
//! A line is carried out, the server dies, and the row is still there: the next round must not do it
//! again. Most wishes bear that (a schedule that keeps, a settle); one that begins a new generation
//! does not. So a round first asks what each deadline is ([`Round::questions`]), binds each row to
//! the generation it met, has that made durable, and only then carries it out. A row whose deadline
//! has gone beyond the generation it was bound to was carried out. For this a round takes each
//! deadline only once, in the order of the rows; the others come in the next.
//!
//! Rows are text, answers are text: what a wish means is the batch's own to say. Nothing here asks
//! anybody or waits.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use duly_engine::id::Generation;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number; larger ones were written later.
    pub(super) id: String,
    /// `schedule` or `settle`.
    pub(super) op: String,
    /// The queue.
    pub(super) queue: String,
    /// The deadline's key.
    pub(super) key: String,
    /// The fields of the call, as a JSON object.
    pub(super) body: String,
}

/// What is to become of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done and can go.
    Done,
    /// It was refused: the answer is for whoever wrote it.
    Refused(String),
    /// It could not be decided now; it comes again.
    Later,
}

/// To which generations rows were bound before they were carried out; 0 when there was no deadline.
pub(super) type Bound = BTreeMap<String, Binding>;

/// What a row was bound to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    generation: u32,
    /// Of all that the row says: a table may use a number twice.
    hash: String,
}

/// What of a body concerns the round.
#[derive(Default, Deserialize)]
struct Peek {
    generation: Option<IgnoredAny>,
    if_exists: Option<String>,
}

/// A row that is being carried out.
#[derive(Debug)]
struct Wish {
    row: Row,
    hash: String,
    kind: Kind,
    bound: Option<Generation>,
    fate: Option<Fate>,
}

/// How a wish bears being carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Well: it finds everything as it wants it.
    Keeps,
    /// It would begin one generation more.
    Begins,
    /// Well, as long as it meets the same generation.
    Settles,
    /// It says itself which generation it means, or nothing that a batch understands.
    AsItIs,
}

/// Some rows on their way.
#[derive(Debug)]
pub(super) struct Round(Vec<Wish>);

/// An answer, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    status: u16,
    deadline: Option<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    generation: u32,
}

/// The answers are not those of the lines that were asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

impl Round {
    /// Takes rows in their order, each deadline once.
    pub(super) fn of(rows: Vec<Row>) -> Round {
        let mut met = BTreeSet::new();
        let first = |row: &Row| met.insert((row.queue.clone(), row.key.clone()));
        Round(rows.into_iter().filter(first).map(Wish::of).collect())
    }

    /// Is there nothing to do?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to ask before anything is done: a line for each row that can be carried out.
    pub(super) fn questions(&self) -> String {
        let ask = |wish: &Wish| json!({"op": "get", "queue": wish.row.queue, "key": wish.row.key});
        lines(self.open().map(|wish| ask(wish).to_string()))
    }

    /// Binds each row to what its deadline is now, unless it was bound before; gives what must be
    /// durable before anything is carried out.
    pub(super) fn bind(&mut self, answers: &str, before: &Bound) -> Result<Bound, Garbled> {
        let mut told = told(answers)?.into_iter();
        let mut bound = before.clone();
        for wish in self.0.iter_mut().filter(|wish| wish.fate.is_none()) {
            let (told, _) = told.next().ok_or(Garbled)?;
            let now = match (told.status, told.deadline) {
                (_, Some(shown)) => shown.generation,
                (status, None) if may_pass(status) => {
                    wish.fate = Some(Fate::Later);
                    continue;
                }
                (_, None) => 0,
            };
            let known = before.get(&wish.row.id).filter(|binding| binding.hash == wish.hash);
            let generation = known.map_or(now, |binding| binding.generation);
            if wish.kind == Kind::Begins && now > generation {
                // It was carried out, and the process ended before the row could go.
                wish.fate = Some(Fate::Done);
                continue;
            }
            wish.bound = Some(Generation(generation));
            if matches!(wish.kind, Kind::Begins | Kind::Settles) {
                bound.insert(wish.row.id.clone(), Binding { generation, hash: wish.hash.clone() });
            }
        }
        if told.next().is_some() { Err(Garbled) } else { Ok(bound) }
    }

    /// The lines that carry it out.
    pub(super) fn wishes(&self) -> String {
        lines(self.open().map(Wish::line))
    }

    /// What becomes of each row.
    pub(super) fn fates(mut self, answers: &str) -> Result<Vec<(Row, Fate)>, Garbled> {
        let mut told = told(answers)?.into_iter();
        for wish in self.0.iter_mut().filter(|wish| wish.fate.is_none()) {
            let (told, text) = told.next().ok_or(Garbled)?;
            wish.fate = Some(match told.status {
                200..300 => Fate::Done,
                status if may_pass(status) => Fate::Later,
                _ => Fate::Refused(text.to_owned()),
            });
        }
        let fated = self.0.into_iter().map(|wish| (wish.row, wish.fate.unwrap_or(Fate::Later)));
        if told.next().is_some() { Err(Garbled) } else { Ok(fated.collect()) }
    }

    fn open(&self) -> impl Iterator<Item = &Wish> {
        self.0.iter().filter(|wish| wish.fate.is_none())
    }
}

impl Wish {
    fn of(row: Row) -> Wish {
        let hash = hash(&row);
        let (kind, fate) = match (row.op.as_str(), serde_json::from_str::<Peek>(&row.body)) {
            ("schedule" | "settle", Err(error)) => {
                // A line break in it would be another line of the batch, so it is not even sent.
                (Kind::AsItIs, Some(refused("malformed_json", &format!("the body: {error}"))))
            }
            ("schedule", Ok(Peek { if_exists: Some(word), .. })) if word != "keep" => {
                (Kind::Begins, None)
            }
            ("schedule", Ok(_)) => (Kind::Keeps, None),
            ("settle", Ok(Peek { generation: None, .. })) => (Kind::Settles, None),
            ("settle", Ok(_)) => (Kind::AsItIs, None),
            (other, _) => {
                let why = format!("{other:?} is none of schedule and settle");
                (Kind::AsItIs, Some(refused("bad_field", &why)))
            }
        };
        Wish { row, hash, kind, bound: None, fate }
    }

    /// The line of the batch. The body's text stays as it is, so that a payload keeps its bytes; its
    /// line breaks stand where JSON has blanks.
    fn line(&self) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let Row { op, queue, key, body, .. } = &self.row;
        let (op, queue, key) = (text(op), text(queue), text(key));
        let generation = match (self.kind, self.bound) {
            (Kind::Settles, Some(Generation(number @ 1..))) => format!(",\"generation\":{number}"),
            _ => String::new(),
        };
        let fields = body.trim().trim_start_matches('{').trim_start().replace(['\n', '\r'], " ");
        let comma = if fields.starts_with('}') { "" } else { "," };
        format!("{{\"op\":{op},\"queue\":{queue},\"key\":{key}{generation}{comma}{fields}")
    }
}

fn hash(row: &Row) -> String {
    let mut hash = Sha256::new();
    for part in [&row.op, &row.queue, &row.key, &row.body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    BASE64.encode(hash.finalize())
}

fn refused(code: &str, detail: &str) -> Fate {
    Fate::Refused(json!({"status": 400, "code": code, "detail": detail}).to_string())
}

/// What stays bound when these rows have gone.
pub(super) fn still_bound(mut bound: Bound, fates: &[(Row, Fate)]) -> Bound {
    for (row, fate) in fates {
        if *fate != Fate::Later {
            bound.remove(&row.id);
        }
    }
    bound
}

/// Is the server in a state that passes, so that nothing is said about the row?
fn may_pass(status: u16) -> bool {
    status == 429 || status >= 500
}

fn lines(each: impl Iterator<Item = String>) -> String {
    each.fold(String::new(), |text, line| text + &line + "\n")
}

fn told(answers: &str) -> Result<Vec<(Told, &str)>, Garbled> {
    let each = answers.lines().filter(|line| !line.is_empty());
    each.map(|line| Ok((serde_json::from_str(line).map_err(|_| Garbled)?, line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32, op: &str, key: &str, body: &str) -> Row {
        Row {
            id: id.to_string(),
            op: op.to_owned(),
            queue: "orders".to_owned(),
            key: key.to_owned(),
            body: body.to_owned(),
        }
    }

    fn shown(generation: u32) -> String {
        format!("{{\"status\":200,\"deadline\":{{\"generation\":{generation}}}}}\n")
    }

    const NONE: &str = "{\"status\":404,\"code\":\"unknown_deadline\"}\n";

    #[test]
    fn a_row_is_a_line_of_a_batch_and_keeps_its_bytes() {
        let body = " {\"after\": \"30m\",\n \"payload\":{\"a\":1.10}} ";
        let mut round = Round::of(vec![
            row(1, "schedule", "4\"2", body),
            row(2, "settle", "43", "{\"outcome\":\"paid\"}"),
            row(3, "schedule", "44", "{}"),
        ]);
        assert_eq!(round.questions().lines().count(), 3);
        let bound = round.bind(&[NONE, &shown(3), NONE].concat(), &Bound::new());
        assert_eq!(bound.expect("it fits").len(), 1, "only the settle is bound to what it met");
        assert_eq!(
            round.wishes().lines().collect::<Vec<_>>(),
            [
                r#"{"op":"schedule","queue":"orders","key":"4\"2","after": "30m",  "payload":{"a":1.10}}"#,
                r#"{"op":"settle","queue":"orders","key":"43","generation":3,"outcome":"paid"}"#,
                r#"{"op":"schedule","queue":"orders","key":"44"}"#,
            ]
        );
    }

    #[test]
    fn each_deadline_is_taken_once_and_in_the_order_of_the_rows() {
        let settle = "{\"outcome\":\"paid\"}";
        let rows = vec![
            row(1, "schedule", "42", "{}"),
            row(2, "settle", "42", settle),
            row(3, "settle", "43", settle),
        ];
        let Round(wishes) = Round::of(rows);
        let ids: Vec<&str> = wishes.iter().map(|wish| wish.row.id.as_str()).collect();
        assert_eq!(ids, ["1", "3"]);
    }

    #[test]
    fn what_was_carried_out_before_a_crash_is_not_carried_out_again() {
        let rows = || vec![row(7, "schedule", "42", "{\"if_exists\":\"replace\",\"after\":5}")];
        let mut first = Round::of(rows());
        let bound = first.bind(&shown(1), &Bound::new()).expect("it fits");
        assert_eq!(first.wishes().lines().count(), 1);
        // The server died after it, or before it.
        let mut after = Round::of(rows());
        after.bind(&shown(2), &bound).expect("it fits");
        assert_eq!(after.wishes(), "", "it was done");
        assert_eq!(after.fates(""), Ok(vec![(rows().remove(0), Fate::Done)]));
        let mut before = Round::of(rows());
        before.bind(&shown(1), &bound).expect("it fits");
        assert_eq!(before.wishes().lines().count(), 1, "it was not");
        // Another wish under the same number is another wish.
        let other = vec![row(7, "schedule", "42", "{\"if_exists\":\"replace\",\"after\":6}")];
        let mut other = Round::of(other);
        other.bind(&shown(2), &bound).expect("it fits");
        assert_eq!(other.wishes().lines().count(), 1);
    }

    #[test]
    fn what_was_bound_stays_bound_until_its_row_has_gone() {
        let renew = "{\"if_exists\":\"renew\",\"after\":5}";
        let rows = || vec![row(7, "schedule", "42", renew), row(8, "schedule", "43", renew)];
        let mut first = Round::of(rows());
        let bound = first.bind(&shown(1).repeat(2), &Bound::new()).expect("it fits");
        // After the crash there is no answer about one of them for a while.
        let busy = "{\"status\":503,\"code\":\"stopping\"}\n";
        let mut again = Round::of(rows());
        let bound = again.bind(&[busy, &shown(2)].concat(), &bound).expect("it fits");
        let fates = again.fates("").expect("the other was done");
        let bound = still_bound(bound, &fates);
        assert_eq!(bound.keys().collect::<Vec<_>>(), ["7"]);
        let mut at_last = Round::of(rows().drain(..1).collect());
        at_last.bind(&shown(2), &bound).expect("it fits");
        assert_eq!(at_last.wishes(), "", "it was done before the crash");
    }

    #[test]
    fn a_settle_repeated_after_a_crash_means_the_generation_that_it_meant() {
        let rows = || vec![row(7, "settle", "42", "{\"outcome\":\"paid\"}")];
        let mut first = Round::of(rows());
        let bound = first.bind(&shown(1), &Bound::new()).expect("it fits");
        let mut again = Round::of(rows());
        again.bind(&shown(2), &bound).expect("it fits");
        assert!(again.wishes().contains("\"generation\":1"), "{}", again.wishes());
    }

    #[test]
    fn what_was_refused_is_told_and_what_may_pass_comes_again() {
        let rows = vec![
            row(1, "settle", "1", "{\"outcome\":\"paid\"}"),
            row(2, "schedule", "2", "{\"after\":1}"),
            row(3, "schedule", "3", "{\"after\":"),
            row(4, "erase", "4", "{}"),
            row(5, "schedule", "5", "{\"after\":1}"),
        ];
        let mut round = Round::of(rows);
        let broken = "{\"status\":503,\"code\":\"stopping\"}\n";
        round.bind(&[&shown(1), NONE, broken].concat(), &Bound::new()).expect("it fits");
        let late = "{\"status\":409,\"code\":\"too_late\"}\n";
        let fates = round.fates(&[late, "{\"status\":507,\"code\":\"storage_low\"}\n"].concat());
        let fates: Vec<Fate> = fates.expect("it fits").into_iter().map(|(_, fate)| fate).collect();
        assert_eq!(fates[0], Fate::Refused(late.trim().to_owned()));
        assert_eq!([&fates[1], &fates[4]], [&Fate::Later, &Fate::Later]);
        for (fate, code) in [(&fates[2], "malformed_json"), (&fates[3], "bad_field")] {
            assert!(matches!(fate, Fate::Refused(answer) if answer.contains(code)), "{fate:?}");
        }
    }

    #[test]
    fn answers_to_other_lines_are_not_taken() {
        for answers in ["", "{}\n", "nonsense\n", &[NONE, NONE].concat()] {
            let mut round = Round::of(vec![row(1, "schedule", "42", "{}")]);
            assert_eq!(round.bind(answers, &Bound::new()), Err(Garbled), "{answers:?}");
        }
    }
}
