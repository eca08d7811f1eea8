//! The demonstration: the real server, and a small real shop that uses it.
//!
//! The shop has its own database and its own pages, and is to Duly what any shop is: a caller of the
//! public HTTP API, and an `sql` action in the operator's configuration. Nothing in the server knows
//! that it is there, and it reaches into nothing: whoever wants to build such a shop can read how.

mod duly;
mod routes;
mod shop;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::Router;
use duly_engine::id::QueueName;
use duly_engine::queue::{Policy, Target};
use duly_engine::time::Span;

use crate::client::Client;
use crate::config::{Database, Settings, SqlAction};
use duly::{ACTION, Duly, QUEUE};
use shop::Shop;

/// What a lapse does in the shop's database: cancel the order unless it was paid in the same instant,
/// and put the goods back on the shelf. The row itself notes when that was.
const STEPS: [&str; 2] = [
    "UPDATE orders SET status = 'cancelled', cancelled_by = :delivery_id,
            cancelled_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
     WHERE id = :key AND status = 'unpaid'",
    "UPDATE products SET stock = stock + 1 WHERE id = :payload.product",
];
/// Whether an earlier attempt came through whose answer was lost.
const APPLIED: &str = "SELECT 1 FROM orders WHERE id = :key AND cancelled_by = :delivery_id";

/// Opens the shop in `directory`, with Duly's own data beside it. The settings declare its queue and
/// its action; the router serves its pages under `/demo` and finds Duly at `address`.
pub fn open(
    directory: &Path,
    address: SocketAddr,
    settings: Settings,
) -> anyhow::Result<(Settings, Router)> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let directory =
        directory.canonicalize().with_context(|| format!("cannot find {}", directory.display()))?;
    let database = directory.join("shop.db");
    let shop = Shop::open(&database)?;
    let client = Client::new(&format!("http://{address}")).map_err(anyhow::Error::msg)?;
    let router = routes::router(shop, Duly::new(client));
    let settings = declared(settings, directory.join("duly-data"), database)?;
    Ok((settings, router))
}

/// The settings with what an operator of this shop would have written into `duly.toml`.
fn declared(mut settings: Settings, data: PathBuf, database: PathBuf) -> anyhow::Result<Settings> {
    settings.data = data;
    // The shop asks over HTTP; the other port stays free for a server of one's own.
    settings.redis.listen = None;
    // A small shop gets by with small files.
    settings.journal.segment_size = 8 << 20;
    settings.journal.keep = 64 << 20;
    settings.databases = BTreeMap::from([("shop".to_owned(), Database::Sqlite(database))]);
    let action = SqlAction {
        place: format!("sql.{ACTION}"),
        database: "shop".to_owned(),
        steps: STEPS.map(str::to_owned).to_vec(),
        applied: Some(APPLIED.to_owned()),
    };
    settings.sql = BTreeMap::from([(ACTION.to_owned(), action)]);
    let policy = Policy {
        default_delay: Some(Span::from_mins(30)),
        target: Target::Sql { name: ACTION.to_owned(), batch: 100 },
        ..Policy::default()
    };
    settings.queues = BTreeMap::from([(QueueName::new(QUEUE)?, policy)]);
    // The terminal belongs to the person who tries it; only what is wrong is said there.
    settings.log.level = tracing::Level::WARN;
    // Who tries Duly on the shop may also try a queue of their own.
    settings.limits.auto_create_queues = true;
    Ok(settings)
}

/// The first lines on the terminal: where to go, what to do, where things lie.
pub fn welcome(address: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "
  Duly and a small shop are running. Open

      http://{address}/demo

  Place an order, then pay it, or do nothing and watch it being cancelled on time.
  Stop the server meanwhile (Ctrl-C) and start it again: no order is forgotten.

  The shop's orders   {directory}/shop.db
  Duly's own data     {directory}/duly-data
  From a shell        duly list orders --url http://{address}

"
    )
}
