//! The shop's own orders, as any shop keeps them: two tables and a guarded `UPDATE` for every change.
//!
//! Whoever wants to end an order (its customer who pays, its customer who changes their mind, Duly
//! when the time is over) does it with `WHERE status='unpaid'`; whoever changes a row has won, and
//! nobody else has. This file knows nothing of Duly; the statements that Duly runs are in `mod.rs`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::Serialize;

/// What is sold one at a time.
pub(super) const LAMP: &str = "lamp";
/// What is sold by the thousand.
pub(super) const TICKET: &str = "ticket";
/// Orders that the page shows at most.
const SHOWN: i64 = 100;
/// Now, as the tables write it.
const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";
/// Upper ends of the bars of the lateness chart, in milliseconds; the last bar has none.
const BARS: [i64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/// The shop's database.
#[derive(Clone)]
pub(super) struct Shop {
    connection: Arc<Mutex<Connection>>,
}

/// How an attempt to change an order went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// This one did it.
    Done,
    /// The order was cancelled before: the money goes back.
    Refunded,
    /// Somebody did it before, or something else.
    TooLate,
}

/// What is sold.
#[derive(Debug, Serialize)]
struct Product {
    id: String,
    name: String,
    price_cents: i64,
    stock: i64,
}

/// An order as the page shows it; times are RFC 3339.
#[derive(Debug, Serialize)]
struct Order {
    id: i64,
    product: String,
    price_cents: i64,
    is_rush: bool,
    status: &'static str,
    created_at: String,
    pay_by: String,
    ended_at: Option<String>,
    late_ms: Option<i64>,
    delivery_id: Option<String>,
}

/// Orders by how they ended.
#[derive(Debug, Default, Serialize)]
struct Counts {
    unpaid: i64,
    paid: i64,
    cancelled: i64,
    cancelled_by_customer: i64,
    refunded: i64,
}

/// The latest rush: the orders that were placed at once and are due in the same instant.
#[derive(Debug, Serialize)]
struct Rush {
    pay_by: String,
    placed: i64,
    unpaid: i64,
    cancelled: i64,
    max_ms: Option<i64>,
}

/// How late the orders were cancelled.
#[derive(Debug, Serialize)]
struct Lateness {
    count: i64,
    median_ms: Option<i64>,
    max_ms: Option<i64>,
    bars: Vec<Bar>,
}

/// One bar of the chart: up to so many milliseconds.
#[derive(Debug, Serialize)]
struct Bar {
    to_ms: Option<i64>,
    count: i64,
}

/// Everything the page shows.
#[derive(Debug, Serialize)]
pub(super) struct Display {
    /// The clock that the shop and Duly share, RFC 3339.
    now: String,
    products: Vec<Product>,
    orders: Vec<Order>,
    counts: Counts,
    rush: Option<Rush>,
    lateness: Lateness,
}

impl Shop {
    /// Opens the shop's database and creates what is missing.
    pub(super) fn open(path: &Path) -> anyhow::Result<Shop> {
        let what = || format!("cannot open the shop's database {}", path.display());
        let connection = Connection::open(path).with_context(what)?;
        connection.busy_timeout(Duration::from_secs(5)).with_context(what)?;
        connection.pragma_update(None, "journal_mode", "wal").with_context(what)?;
        connection.execute_batch(include_str!("schema.sql")).with_context(what)?;
        Ok(Shop { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Does something with the database, away from the threads that serve requests.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            // A panic while it was locked has rolled its transaction back.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await.context("the shop's database is gone")??)
    }

    /// The next `count` order numbers; the first of them.
    pub(super) async fn numbers(&self, count: i64) -> anyhow::Result<i64> {
        self.with(move |connection| {
            let take = "UPDATE numbers SET next = next + ?1 RETURNING next - ?1";
            connection.query_row(take, [count], |row| row.get(0))
        })
        .await
    }

    /// How many of a product are left.
    pub(super) async fn stock(&self, product: &'static str) -> anyhow::Result<i64> {
        self.with(move |connection| {
            let query = "SELECT stock FROM products WHERE id = ?1";
            connection.query_row(query, [product], |row| row.get(0))
        })
        .await
    }

    /// Writes orders numbered from `first` and takes their goods off the shelf; false if too few are left.
    pub(super) async fn place(
        &self,
        product: &'static str,
        first: i64,
        count: i64,
        pay_by: String,
    ) -> anyhow::Result<bool> {
        self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let take = "UPDATE products SET stock = stock - ?2 WHERE id = ?1 AND stock >= ?2";
            if transaction.execute(take, params![product, count])? == 0 {
                return Ok(false);
            }
            let mut insert = transaction.prepare(&format!(
                "INSERT INTO orders (id, product, price_cents, is_rush, status, created_at, pay_by)
                 SELECT ?1, id, price_cents, ?3, 'unpaid', {NOW}, strftime('%Y-%m-%d %H:%M:%f', ?4)
                 FROM products WHERE id = ?2"
            ))?;
            for id in first..first + count {
                insert.execute(params![id, product, product == TICKET, pay_by])?;
            }
            drop(insert);
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    /// Takes the customer's money, if the order is still open; else gives it back.
    pub(super) async fn pay(&self, id: i64) -> anyhow::Result<Change> {
        self.with(move |connection| {
            let pay = format!(
                "UPDATE orders SET status = 'paid', paid_at = {NOW} WHERE id = ?1 AND status = 'unpaid'"
            );
            if connection.execute(&pay, [id])? == 1 {
                return Ok(Change::Done);
            }
            let refund = format!(
                "UPDATE orders SET refunded_at = {NOW}
                 WHERE id = ?1 AND status = 'cancelled' AND refunded_at IS NULL"
            );
            let refunded = connection.execute(&refund, [id])? == 1;
            Ok(if refunded { Change::Refunded } else { Change::TooLate })
        })
        .await
    }

    /// The customer does not want it any more: back on the shelf with it.
    pub(super) async fn cancel(&self, id: i64) -> anyhow::Result<Change> {
        self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let cancel = format!(
                "UPDATE orders SET status = 'cancelled', cancelled_by = 'customer', cancelled_at = {NOW}
                 WHERE id = ?1 AND status = 'unpaid' RETURNING product"
            );
            let product: Option<String> =
                transaction.query_row(&cancel, [id], |row| row.get(0)).optional()?;
            let Some(product) = product else { return Ok(Change::TooLate) };
            transaction
                .execute("UPDATE products SET stock = stock + 1 WHERE id = ?1", [product])?;
            transaction.commit()?;
            Ok(Change::Done)
        })
        .await
    }

    /// The customer got more time.
    pub(super) async fn postpone(&self, id: i64, pay_by: String) -> anyhow::Result<()> {
        self.with(move |connection| {
            let postpone =
                "UPDATE orders SET pay_by = strftime('%Y-%m-%d %H:%M:%f', ?2) WHERE id = ?1";
            connection.execute(postpone, params![id, pay_by]).map(drop)
        })
        .await
    }

    /// Everything the page shows, as of one moment.
    pub(super) async fn display(&self, now: String) -> anyhow::Result<Display> {
        self.with(move |connection| {
            let moment = connection.transaction()?;
            Ok(Display {
                now,
                products: products(&moment)?,
                orders: orders(&moment)?,
                counts: counts(&moment)?,
                rush: rush(&moment)?,
                lateness: lateness(&moment)?,
            })
        })
        .await
    }
}

fn products(connection: &Connection) -> rusqlite::Result<Vec<Product>> {
    connection
        .prepare_cached("SELECT id, name, price_cents, stock FROM products ORDER BY id")?
        .query_map([], |row| {
            Ok(Product {
                id: row.get(0)?,
                name: row.get(1)?,
                price_cents: row.get(2)?,
                stock: row.get(3)?,
            })
        })?
        .collect()
}

/// The newest orders; those that somebody placed by hand and that are still open come first.
fn orders(connection: &Connection) -> rusqlite::Result<Vec<Order>> {
    connection
        .prepare_cached(
            "SELECT orders.id, products.name, orders.price_cents, status, cancelled_by,
                    refunded_at, created_at, orders.pay_by, coalesce(paid_at, orders.cancelled_at),
                    late_ms, is_rush
             FROM orders JOIN products ON products.id = product
             LEFT JOIN cancelled_by_duly AS late ON late.id = orders.id
             ORDER BY (status = 'unpaid' AND NOT is_rush) DESC, orders.id DESC LIMIT ?1",
        )?
        .query_map([SHOWN], order)?
        .collect()
}

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let (status, cancelled_by): (String, Option<String>) = (row.get(3)?, row.get(4)?);
    let refunded_at: Option<String> = row.get(5)?;
    let by_customer = cancelled_by.as_deref() == Some("customer");
    let status = match (status.as_str(), refunded_at) {
        ("unpaid", _) => "unpaid",
        ("paid", _) => "paid",
        (_, Some(_)) => "refunded",
        (_, None) if by_customer => "cancelled_by_customer",
        (_, None) => "cancelled",
    };
    Ok(Order {
        id: row.get(0)?,
        product: row.get(1)?,
        price_cents: row.get(2)?,
        is_rush: row.get(10)?,
        status,
        created_at: in_rfc_3339(&row.get::<_, String>(6)?),
        pay_by: in_rfc_3339(&row.get::<_, String>(7)?),
        ended_at: row.get::<_, Option<String>>(8)?.as_deref().map(in_rfc_3339),
        late_ms: row.get(9)?,
        delivery_id: cancelled_by.filter(|_| !by_customer),
    })
}

/// The tables write `2026-11-22 12:30:00.000`, which is UTC.
fn in_rfc_3339(text: &str) -> String {
    text.replacen(' ', "T", 1) + "Z"
}

fn counts(connection: &Connection) -> rusqlite::Result<Counts> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(status = 'unpaid'), 0), coalesce(sum(status = 'paid'), 0),
                    coalesce(sum(status = 'cancelled' AND refunded_at IS NULL
                        AND cancelled_by <> 'customer'), 0),
                    coalesce(sum(status = 'cancelled' AND refunded_at IS NULL
                        AND cancelled_by = 'customer'), 0),
                    coalesce(sum(refunded_at IS NOT NULL), 0)
             FROM orders",
        )?
        .query_row([], |row| {
            Ok(Counts {
                unpaid: row.get(0)?,
                paid: row.get(1)?,
                cancelled: row.get(2)?,
                cancelled_by_customer: row.get(3)?,
                refunded: row.get(4)?,
            })
        })
}

fn rush(connection: &Connection) -> rusqlite::Result<Option<Rush>> {
    connection
        .prepare_cached(
            "SELECT pay_by, count(*), sum(status = 'unpaid'), count(late_ms), max(late_ms)
             FROM orders LEFT JOIN (SELECT id, late_ms FROM cancelled_by_duly) USING (id)
             WHERE is_rush AND pay_by = (SELECT max(pay_by) FROM orders WHERE is_rush)
             GROUP BY pay_by",
        )?
        .query_row([], |row| {
            Ok(Rush {
                pay_by: in_rfc_3339(&row.get::<_, String>(0)?),
                placed: row.get(1)?,
                unpaid: row.get(2)?,
                cancelled: row.get(3)?,
                max_ms: row.get(4)?,
            })
        })
        .optional()
}

fn lateness(connection: &Connection) -> rusqlite::Result<Lateness> {
    let all: Vec<i64> = connection
        .prepare_cached("SELECT late_ms FROM cancelled_by_duly ORDER BY late_ms")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let median_ms = all.get(all.len().saturating_sub(1) / 2).copied();
    let mut below = 0;
    let ends = BARS.map(Some).into_iter().chain([None]);
    let bars = ends.map(|to_ms| {
        let upto = to_ms.map_or(all.len(), |end| all.partition_point(|late| *late <= end));
        let count = i64::try_from(upto - below).unwrap_or(i64::MAX);
        below = upto;
        Bar { to_ms, count }
    });
    let bars = bars.collect();
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    Ok(Lateness { count, median_ms, max_ms: all.last().copied(), bars })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statement that Duly runs, in a shop whose clock is `late` behind the order's time.
    fn lapse(connection: &Connection, id: i64, late: &str) -> usize {
        let cancel = "UPDATE orders SET status = 'cancelled', cancelled_by = 'd-1-1',
            cancelled_at = strftime('%Y-%m-%d %H:%M:%f', pay_by, ?2)
            WHERE id = ?1 AND status = 'unpaid'";
        connection.execute(cancel, params![id, late]).expect("the statement is good")
    }

    async fn shop_with(orders: i64) -> Shop {
        let shop = Shop::open(Path::new(":memory:")).expect("memory can be opened");
        let pay_by = "2026-11-22T12:30:00.000Z".to_owned();
        for _ in 0..orders {
            let id = shop.numbers(1).await.expect("numbers do not run out");
            assert!(shop.place(LAMP, id, 1, pay_by.clone()).await.expect("it is placed"));
        }
        shop
    }

    async fn shown(shop: &Shop) -> Display {
        shop.display("2026-11-22T12:00:00.000Z".to_owned()).await.expect("it is shown")
    }

    #[tokio::test]
    async fn an_order_is_ended_by_exactly_one() {
        let shop = shop_with(3).await;
        assert_eq!(shop.pay(1).await.expect("pay"), Change::Done);
        assert_eq!(shop.cancel(1).await.expect("cancel"), Change::TooLate);
        assert_eq!(shop.pay(1).await.expect("pay again"), Change::TooLate);
        assert_eq!(shop.cancel(2).await.expect("cancel"), Change::Done);
        let changed = shop.with(|connection| Ok(lapse(connection, 1, "+0 seconds"))).await;
        assert_eq!(changed.expect("it runs"), 0);
        let changed = shop.with(|connection| Ok(lapse(connection, 3, "+0.003 seconds"))).await;
        assert_eq!(changed.expect("it runs"), 1);
        let counts = shown(&shop).await.counts;
        assert_eq!((counts.paid, counts.cancelled_by_customer, counts.cancelled), (1, 1, 1));
    }

    #[tokio::test]
    async fn money_for_a_cancelled_order_goes_back_once() {
        let shop = shop_with(1).await;
        shop.with(|connection| Ok(lapse(connection, 1, "+0.002 seconds"))).await.expect("it runs");
        assert_eq!(shop.pay(1).await.expect("pay"), Change::Refunded);
        assert_eq!(shop.pay(1).await.expect("pay again"), Change::TooLate);
        assert_eq!(shown(&shop).await.orders[0].status, "refunded");
    }

    #[tokio::test]
    async fn goods_leave_the_shelf_and_come_back() {
        let shop = shop_with(2).await;
        assert_eq!(shop.stock(LAMP).await.expect("stock"), 10);
        shop.cancel(1).await.expect("cancel");
        assert_eq!(shop.stock(LAMP).await.expect("stock"), 11);
        let pay_by = "2026-11-22T12:30:00.000Z".to_owned();
        assert!(!shop.place(LAMP, 100, 12, pay_by).await.expect("it is tried"));
        assert_eq!(shop.stock(LAMP).await.expect("stock"), 11);
    }

    #[tokio::test]
    async fn lateness_is_counted_in_whole_milliseconds() {
        let shop = shop_with(5).await;
        for (id, late) in [(1, "+0.001"), (2, "+0.002"), (3, "+0.007"), (4, "+2.5")] {
            let late = format!("{late} seconds");
            shop.with(move |connection| Ok(lapse(connection, id, &late))).await.expect("it runs");
        }
        let lateness = shown(&shop).await.lateness;
        assert_eq!(
            (lateness.count, lateness.median_ms, lateness.max_ms),
            (4, Some(2), Some(2_500))
        );
        let bars: Vec<i64> = lateness.bars.iter().map(|bar| bar.count).collect();
        assert_eq!(bars, [1, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[tokio::test]
    async fn a_new_shop_shows_that_nothing_happened_yet() {
        let display = shown(&shop_with(0).await).await;
        assert_eq!(display.lateness.median_ms, None);
        assert!(display.orders.is_empty());
        assert_eq!(display.products.len(), 2);
    }

    #[tokio::test]
    async fn numbers_are_never_given_twice() {
        let shop = shop_with(0).await;
        assert_eq!(shop.numbers(1_000).await.expect("numbers"), 1);
        assert_eq!(shop.numbers(1).await.expect("numbers"), 1_001);
    }
}
