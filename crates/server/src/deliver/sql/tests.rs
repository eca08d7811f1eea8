//! Guarded statements against real database files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use duly_engine::command::Verdict;
use duly_engine::id::Key;
use duly_engine::time::Time;
use rusqlite::Connection;

use super::Databases;
use super::template::Template;
use super::value::values;
use crate::config::{Database, SqlAction};
use crate::database::{Dialect, Patience, Value};
use crate::deliver::tests::{delivery, delivery_id, error, is_retry};
use crate::deliver::{BadSetting, Delivery};

/// A shop's database in a file of its own.
struct Shop {
    folder: PathBuf,
}

impl Shop {
    /// Orders 1 to 5 are unpaid and hold one piece of `mug` each; 6 is paid.
    fn open() -> Shop {
        static SHOPS: AtomicU32 = AtomicU32::new(0);
        let number = SHOPS.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("duly-deliver-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of one's own");
        let shop = Shop { folder };
        shop.furnish(&shop.file());
        shop
    }

    fn furnish(&self, file: &Path) {
        assert!(file.starts_with(&self.folder));
        Connection::open(file)
            .expect("a new file")
            .execute_batch(
                "CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT NOT NULL, by TEXT, note);
                 CREATE TABLE stock (sku TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n < 100));
                 INSERT INTO orders (id, status) VALUES
                   (1,'unpaid'),(2,'unpaid'),(3,'unpaid'),(4,'unpaid'),(5,'unpaid'),(6,'paid');
                 INSERT INTO stock VALUES ('mug', 10), ('full', 99);",
            )
            .expect("good statements");
    }

    fn file(&self) -> PathBuf {
        self.folder.join("shop.db")
    }

    fn connection(&self) -> Connection {
        Connection::open(self.file()).expect("the file is there")
    }

    fn one<T: rusqlite::types::FromSql>(&self, question: &str) -> T {
        self.connection().query_one(question, [], |row| row.get(0)).expect("one row")
    }

    fn status(&self, key: u64) -> String {
        self.one(&format!("SELECT status FROM orders WHERE id='{key}'"))
    }

    fn stock(&self) -> i64 {
        self.one("SELECT n FROM stock WHERE sku='mug'")
    }

    async fn databases(
        &self,
        steps: &[&str],
        applied: Option<&str>,
    ) -> Result<Databases, BadSetting> {
        let action = SqlAction {
            place: "sql.cancel".to_owned(),
            database: "shop".to_owned(),
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
            applied: applied.map(str::to_owned),
        };
        let patience = Patience {
            lock: Duration::from_millis(50),
            // Far more than any statement here needs, except the one that never ends.
            run: Duration::from_secs(1),
            ..Patience::default()
        };
        Databases::start_with(
            &BTreeMap::from([("shop".to_owned(), Database::Sqlite(self.file()))]),
            &BTreeMap::from([("cancel".to_owned(), action)]),
            patience,
        )
        .await
    }

    /// The action of the documentation.
    async fn cancelling(&self) -> Databases {
        self.databases(&[CANCEL, RESTOCK], Some(APPLIED)).await.expect("good statements")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // What is left behind in the system's folder for temporary files harms nobody.
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

const CANCEL: &str =
    "UPDATE orders SET status='cancelled', by=:delivery_id WHERE id=:key AND status='unpaid'";
const RESTOCK: &str = "UPDATE stock SET n = n + :payload.n WHERE sku = :payload.sku";
const APPLIED: &str = "SELECT 1 FROM orders WHERE id=:key AND by=:delivery_id";

fn order(number: u64) -> Delivery {
    delivery(number).saying(r#"{"sku":"mug","n":1}"#)
}

async fn attempt(databases: &Databases, deliveries: Vec<Delivery>) -> Vec<Verdict> {
    let number = deliveries.len();
    let verdicts = databases.attempt("cancel", &deliveries).await;
    assert_eq!(verdicts.len(), number);
    verdicts
}

#[tokio::test]
async fn an_unpaid_order_is_cancelled_and_restocked_and_a_paid_one_is_superseded() {
    let shop = Shop::open();
    let verdicts =
        attempt(&shop.cancelling().await, vec![order(1), order(6), order(2), order(77)]).await;
    let superseded = Verdict::Superseded;
    assert_eq!(verdicts, [Verdict::Done, superseded.clone(), Verdict::Done, superseded]);
    assert_eq!(
        [shop.status(1), shop.status(2), shop.status(6)],
        ["cancelled", "cancelled", "paid"]
    );
    assert_eq!(shop.stock(), 12, "the steps after a guard that met no row were skipped");
    let by: String = shop.one("SELECT by FROM orders WHERE id='1'");
    assert_eq!(by, delivery_id(1).to_string());
}

#[tokio::test]
async fn a_later_attempt_finds_that_an_earlier_one_had_acted() {
    let shop = Shop::open();
    let databases = shop.cancelling().await;
    // The commit's answer is lost: the verdict of this attempt reaches nobody.
    assert_eq!(attempt(&databases, vec![order(1)]).await, [Verdict::Done]);
    let later = vec![order(1).again(), order(6).again()];
    assert_eq!(attempt(&databases, later).await, [Verdict::Done, Verdict::Superseded]);
    assert_eq!(shop.stock(), 11, "nothing was done twice");
    // A first attempt has no earlier one to ask about.
    assert_eq!(attempt(&databases, vec![order(1)]).await, [Verdict::Superseded]);
    let silent = shop.databases(&[CANCEL], None).await.expect("good statements");
    assert_eq!(attempt(&silent, vec![order(1).again()]).await, [Verdict::Superseded]);
}

#[tokio::test]
async fn one_poison_delivery_hinders_no_other_of_its_batch() {
    let shop = Shop::open();
    let poison = delivery(3).saying(r#"{"sku":"full","n":1}"#);
    let batch = vec![order(1), order(2), poison, order(4), order(6)];
    let verdicts = attempt(&shop.cancelling().await, batch).await;
    assert_eq!(verdicts[..2], [Verdict::Done, Verdict::Done]);
    assert_eq!(verdicts[3..], [Verdict::Done, Verdict::Superseded]);
    let Verdict::Dead { error } = &verdicts[2] else { panic!("{:?}", verdicts[2]) };
    assert_eq!(&**error, "sql.cancel.steps[1]: CHECK constraint failed: n < 100");
    assert_eq!(shop.status(3), "unpaid", "the guard of the poison one was rolled back");
    assert_eq!([shop.status(2), shop.status(4)], ["cancelled", "cancelled"]);
    assert_eq!(shop.stock(), 13);
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_dead_and_hinders_no_other() {
    let shop = Shop::open();
    // Half a surrogate pair: JSON to the eye, but no text.
    let poison = delivery(1).saying(r#"{"sku":"\ud800","n":1}"#);
    let verdicts = attempt(&shop.cancelling().await, vec![poison, order(2)]).await;
    assert!(matches!(verdicts[0], Verdict::Dead { .. }), "{verdicts:?}");
    assert_eq!(verdicts[1], Verdict::Done);
    assert!(error(&verdicts[0]).starts_with("payload: "));
}

#[tokio::test]
async fn a_locked_database_is_retried_and_used_again_when_it_is_free() {
    let shop = Shop::open();
    let databases = shop.cancelling().await;
    let other = shop.connection();
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    for verdict in attempt(&databases, vec![order(1), order(2)]).await {
        assert!(is_retry(&verdict, "database: shop: database is locked"), "{verdict:?}");
    }
    other.execute_batch("COMMIT").expect("it was begun");
    let verdicts = attempt(&databases, vec![order(1).again(), order(2).again()]).await;
    assert_eq!(verdicts, [Verdict::Done, Verdict::Done]);
}

#[tokio::test]
async fn a_missing_file_is_retried_and_never_created() {
    let shop = Shop::open();
    let (file, away) = (shop.file(), shop.folder.join("away.db"));
    fs::rename(&file, &away).expect("nobody else moves it");
    let databases = shop.cancelling().await;
    let verdicts = attempt(&databases, vec![order(1)]).await;
    assert!(is_retry(&verdicts[0], "database: shop: its file cannot be found"), "{verdicts:?}");
    assert!(!error(&verdicts[0]).contains("duly-deliver"), "the path stays the operator's");
    assert!(!file.exists());
    fs::rename(&away, &file).expect("nobody else moves it");
    assert_eq!(attempt(&databases, vec![order(1).again()]).await, [Verdict::Done]);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_opened_anew() {
    let shop = Shop::open();
    let databases = shop.cancelling().await;
    assert_eq!(attempt(&databases, vec![order(1)]).await, [Verdict::Done]);
    let restored = shop.folder.join("restored.db");
    shop.furnish(&restored);
    fs::rename(&restored, shop.file()).expect("nobody else moves it");
    assert_eq!(attempt(&databases, vec![order(1).again()]).await, [Verdict::Done]);
    assert_eq!(shop.status(1), "cancelled");
}

#[tokio::test]
async fn what_is_no_database_is_retried() {
    let shop = Shop::open();
    fs::write(shop.file(), "this is a text and not a database, long enough to be read".repeat(99))
        .expect("room for a text");
    let verdicts = attempt(&shop.cancelling().await, vec![order(1)]).await;
    assert!(is_retry(&verdicts[0], "database: shop: "), "{verdicts:?}");
}

#[tokio::test]
async fn tables_that_change_under_a_statement_are_waited_for() {
    let shop = Shop::open();
    let databases = shop.cancelling().await;
    assert_eq!(attempt(&databases, vec![order(1)]).await, [Verdict::Done]);
    let other = shop.connection();
    other.execute_batch("ALTER TABLE orders RENAME TO orders_old").expect("a good statement");
    let verdicts = attempt(&databases, vec![order(2), order(3)]).await;
    for verdict in &verdicts {
        assert!(
            is_retry(verdict, "database: shop: sql.cancel.steps[0]: no such table"),
            "{verdict:?}"
        );
    }
    other.execute_batch("ALTER TABLE orders_old RENAME TO orders").expect("a good statement");
    assert_eq!(attempt(&databases, vec![order(2).again()]).await, [Verdict::Done]);
}

#[tokio::test]
async fn a_value_that_a_statement_cannot_take_is_dead_with_the_databases_words() {
    let shop = Shop::open();
    let step = "UPDATE orders SET note = json_extract(:payload.json, '$.a') WHERE id=:key";
    let databases = shop.databases(&[step], None).await.expect("good statements");
    let poison = delivery(1).saying(r#"{"json":"not json"}"#);
    let good = delivery(2).saying(r#"{"json":{"a":5}}"#);
    let verdicts = attempt(&databases, vec![poison, good]).await;
    assert!(matches!(verdicts[0], Verdict::Dead { .. }), "{verdicts:?}");
    assert_eq!(error(&verdicts[0]), "sql.cancel.steps[0]: malformed JSON");
    assert_eq!(verdicts[1], Verdict::Done);
    assert_eq!(shop.one::<i64>("SELECT note FROM orders WHERE id='2'"), 5);
}

#[tokio::test]
async fn hostile_keys_and_payloads_are_only_ever_values() {
    let shop = Shop::open();
    let step = "INSERT INTO orders (id, status, note) VALUES (:key, 'noted', :payload.note)";
    let databases = shop.databases(&[step], None).await.expect("good statements");
    let hostile = [
        "'; DROP TABLE orders; --",
        "' OR '1'='1",
        "1; DELETE FROM orders",
        "\\' OR 1=1 --",
        "?1",
        ":key",
        "%",
        "\u{202e}x",
        "\" OR \"\"=\"",
        "x' UNION SELECT * FROM stock --",
        "𝕏'",
        "--",
        "/*",
    ];
    let deliveries: Vec<Delivery> = hostile
        .iter()
        .map(|&text| {
            let note = serde_json::to_string(&format!("{text}\0{text}")).expect("text is JSON");
            let mut delivery = delivery(1).saying(&format!("{{\"note\":{note}}}"));
            delivery.leased.key = Key::new(text).expect("a key may be anything but control");
            delivery
        })
        .collect();
    let verdicts = attempt(&databases, deliveries).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Done), "{verdicts:?}");
    for text in hostile {
        let found: (String, Vec<u8>) = shop
            .connection()
            .query_one("SELECT status, CAST(note AS BLOB) FROM orders WHERE id=?1", [text], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("the row that was written");
        assert_eq!(found, ("noted".to_owned(), format!("{text}\0{text}").into_bytes()));
    }
    assert_eq!(shop.one::<i64>("SELECT count(*) FROM orders WHERE status='unpaid'"), 5);
    assert_eq!(shop.stock(), 10);
}

#[tokio::test]
async fn a_guard_may_ask_and_may_return_rows() {
    let shop = Shop::open();
    for guard in [
        "SELECT 1 FROM orders WHERE id=:key AND status='unpaid'",
        "UPDATE orders SET by=:delivery_id WHERE id=:key AND status='unpaid' RETURNING id",
    ] {
        let databases = shop.databases(&[guard, RESTOCK], None).await.expect("good statements");
        let before = shop.stock();
        let verdicts = attempt(&databases, vec![order(1), order(6)]).await;
        assert_eq!(verdicts, [Verdict::Done, Verdict::Superseded], "{guard}");
        assert_eq!(shop.stock(), before + 1);
    }
}

#[tokio::test]
async fn foreign_keys_hold() {
    let shop = Shop::open();
    shop.connection()
        .execute_batch(
            "CREATE TABLE coupons (id TEXT PRIMARY KEY, held_by TEXT REFERENCES orders (id)
               DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO coupons VALUES ('c', NULL);",
        )
        .expect("good statements");
    // Deferred: the violation shows only at the commit.
    let step = "UPDATE coupons SET held_by = :payload.order WHERE id = 'c'";
    let databases = shop.databases(&[step], None).await.expect("good statements");
    let poison = delivery(1).saying(r#"{"order":"nobody"}"#);
    let verdicts = attempt(&databases, vec![poison]).await;
    assert!(matches!(verdicts[0], Verdict::Dead { .. }), "{verdicts:?}");
    assert_eq!(error(&verdicts[0]), "FOREIGN KEY constraint failed");
}

#[tokio::test]
async fn a_statement_without_end_is_stopped_and_hinders_no_other_of_its_batch() {
    let shop = Shop::open();
    let step = "UPDATE orders SET note = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL
        SELECT i+1 FROM n WHERE i < :payload.n) SELECT max(i) FROM n) WHERE id=:key";
    let databases = shop.databases(&[step], None).await.expect("good statements");
    let of = |number, n| delivery(number).saying(&format!("{{\"n\":{n}}}"));
    let verdicts = attempt(&databases, vec![of(1, 3), of(2, i64::MAX), of(3, 4)]).await;
    assert_eq!([&verdicts[0], &verdicts[2]], [&Verdict::Done, &Verdict::Done]);
    assert!(is_retry(&verdicts[1], "timeout: the statements ran for too long"), "{verdicts:?}");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let shop = Shop::open();
    let databases = shop.cancelling().await;
    let (_, desk) = &databases.actions["cancel"];
    let turn = desk.turns.acquire().await.expect("nobody closes it");
    let waiting = vec![order(1)];
    let mut attempt_of_1 = Box::pin(databases.attempt("cancel", &waiting));
    // It is asked once, waits for its turn, and is given up.
    let asked = std::future::poll_fn(|context| Poll::Ready(attempt_of_1.as_mut().poll(context)));
    assert!(asked.await.is_pending());
    drop(attempt_of_1);
    drop(turn);
    assert_eq!(attempt(&databases, vec![order(2)]).await, [Verdict::Done]);
    assert_eq!(shop.status(1), "unpaid");
}

#[tokio::test]
async fn bad_statements_are_refused_at_the_start_by_the_name_of_their_setting() {
    let shop = Shop::open();
    for (steps, applied, key, why) in [
        (&["UPDATE orders SET stat='x'"][..], None, "sql.cancel.steps[0]", "no such column: stat"),
        (&[CANCEL, "UPDATE shelf SET n=1"], None, "sql.cancel.steps[1]", "no such table: shelf"),
        (&["UPDATE orders SET"], None, "sql.cancel.steps[0]", "incomplete input"),
        (&["UPDATE orders SET id=:id"], None, "sql.cancel.steps[0]", "no parameter is called :id"),
        (&[CANCEL], Some("SELECT 1 FROM shelf"), "sql.cancel.applied", "no such table: shelf"),
        (&[CANCEL], Some("DELETE FROM orders"), "sql.cancel.applied", "it must only ask"),
    ] {
        let bad = shop.databases(steps, applied).await.err().expect(why);
        assert_eq!(bad.key, key);
        assert!(bad.why.contains(why), "{bad}");
    }
}

#[test]
fn parameters_have_the_values_of_their_delivery() {
    let json = r#"{"total":"19.90","n":3,"big":12345678901234567890,"f":1.5,"yes":true,
        "no":false,"null":null,"list":[1, 2],"deep":{"er":{"x":"y"}},"q\"uote":1,"e":1e3}"#;
    let text = |text: &str| Value::Text(text.to_owned());
    for (parameter, value) in [
        (":key", text("42")),
        (":queue", text("orders")),
        (":delivery_id", text(&delivery_id(42).to_string())),
        (":due", text("2026-11-22 12:30:00.000")),
        (":lapsed_at", text("2026-11-22 12:30:00.007")),
        (":due_ms", Value::Integer(1_795_350_600_000)),
        (":lapsed_at_ms", Value::Integer(1_795_350_600_007)),
        (":attempt", Value::Integer(1)),
        (":payload", text(json)),
        (":payload.total", text("19.90")),
        (":payload.n", Value::Integer(3)),
        (":payload.big", text("12345678901234567890")),
        (":payload.f", Value::Real(1.5)),
        (":payload.e", Value::Real(1000.0)),
        (":payload.yes", Value::Integer(1)),
        (":payload.no", Value::Integer(0)),
        (":payload.null", Value::Null),
        (":payload.list", text("[1, 2]")),
        (":payload.deep.er", text(r#"{"x":"y"}"#)),
        (":payload.deep.er.x", text("y")),
        (":payload.absent", Value::Null),
        (":payload.n.deeper", Value::Null),
    ] {
        for delivery in [delivery(42).saying(json), delivery(42).carrying(json.as_bytes())] {
            assert_eq!(of(parameter, &delivery), value, "{parameter}");
        }
    }
    let mut late = delivery(42);
    late.leased.due = Time::NEVER;
    assert_eq!(of(":due_ms", &late), Value::Integer(i64::MAX));
    assert_eq!(of(":payload", &late), Value::Null);
    assert_eq!(of(":payload.n", &late), Value::Null);
    let bytes = delivery(42).carrying(b"plain words");
    assert_eq!(of(":payload", &bytes), text("plain words"));
    assert_eq!(of(":payload.n", &bytes), Value::Null);
    assert_eq!(of(":payload", &delivery(42).carrying(b"\xff")), Value::Null);
    assert_eq!(of(":payload.n", &delivery(42).carrying(b"[1]")), Value::Null);
}

fn of(parameter: &str, delivery: &Delivery) -> Value {
    let template =
        Template::parse(&format!("SELECT {parameter}"), Dialect::Sqlite).expect("a good statement");
    values(&template.parameters, delivery).expect("a good payload").remove(0)
}
