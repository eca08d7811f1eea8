//! A watch for a table that nobody has described: looks at the table and writes a configuration.
//!
//! What is guessed is marked as a guess, and the watch only observes. It reads the catalogue and the
//! newest rows' statuses, and changes nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::catalogue::{Catalogue, Zone};
use crate::config::Database;
use crate::database::{Connection, Dialect, Patience};

/// Rows whose statuses are counted.
const LOOKED_AT: usize = 1_000;
/// Names that columns have for these things, the likeliest first.
const KEYS: &[&str] = &["id", "order_id", "entity_id", "uuid", "number"];
const CREATED: &[&str] =
    &["created_at", "date_created_gmt", "created", "date_created", "create_time", "created_on"];
const DUE: &[&str] = &["pay_before", "expires_at", "due_at", "expire_time", "valid_until"];
const STATUS: &[&str] = &["status", "state", "order_status", "payment_status"];
const OPEN: &[&str] =
    &["unpaid", "pending", "pending_payment", "wc-pending", "awaiting_payment", "new", "open"];

/// What a status says of an order that was cancelled for want of payment, and of one that was paid.
const CANCELLED: &[&str] =
    &["cancelled", "canceled", "wc-cancelled", "expired", "timeout", "timed_out", "void"];
const PAID: &[&str] = &[
    "paid",
    "processing",
    "wc-processing",
    "wc-completed",
    "complete",
    "completed",
    "shipped",
    "delivered",
];
/// Columns that are filled when money has come, and those that tell when a row was changed.
const PAID_AT: &[&str] = &["paid_at", "date_paid_gmt", "date_paid", "payment_date", "paid_on"];
const CHANGED: &[&str] = &[
    "updated_at",
    "date_updated_gmt",
    "date_modified_gmt",
    "modified_at",
    "modified",
    "changed_at",
];

/// Looks at a table and writes a watch for it.
pub(super) async fn draft(database: &Database, dsn: &str, table: &str) -> Result<String, String> {
    let words = |fault: crate::database::Fault| fault.to_string();
    let dialect = Dialect::of(database);
    let mut connection = Connection::open(database, Patience::default()).await.map_err(words)?;
    let catalogue = Catalogue::read(&mut connection, dialect, table).await.map_err(words)?;
    if catalogue.columns.is_empty() {
        return Err(format!("there is no table {table:?}, or it may not be read"));
    }
    let likely = |names: &[&str]| names.iter().find_map(|name| catalogue.column(name));
    let first = &catalogue.columns[0];
    let key = likely(KEYS).unwrap_or(first);
    let contains = |part: &str| {
        catalogue.columns.iter().find(|column| column.name.to_ascii_lowercase().contains(part))
    };
    let created = likely(CREATED).or_else(|| contains("creat")).or_else(|| contains("date"));
    let due = likely(DUE);
    let status = likely(STATUS).or_else(|| contains("status"));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    if let Some(status) = status {
        let statement = format!(
            "SELECT {} FROM {} ORDER BY {} DESC LIMIT {LOOKED_AT}",
            dialect.as_text(&dialect.quoted(&status.name)),
            catalogue.quoted(),
            dialect.quoted(&key.name),
        );
        for row in connection.query(&statement, &[]).await.map_err(words)? {
            let value = row.into_iter().next().flatten();
            *counts.entry(value.unwrap_or_else(|| "NULL".to_owned())).or_default() += 1;
        }
    }
    let open = OPEN.iter().find(|value| counts.contains_key(**value));
    Ok(written(&Draft {
        catalogue: &catalogue,
        dsn,
        table,
        key,
        created,
        due,
        status,
        counts,
        open,
    }))
}

type Named<'a> = Option<&'a super::catalogue::Column>;

struct Draft<'a> {
    catalogue: &'a Catalogue,
    dsn: &'a str,
    table: &'a str,
    key: &'a super::catalogue::Column,
    created: Named<'a>,
    due: Named<'a>,
    status: Named<'a>,
    counts: BTreeMap<String, usize>,
    open: Option<&'a &'a str>,
}

fn written(draft: &Draft<'_>) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("text is plain JSON");
    let dialect = draft.catalogue.dialect;
    let name =
        |column: Named<'_>| column.map_or("FILL_IN", |column| column.name.as_str()).to_owned();
    let mut text = String::new();
    let mut line = |words: &str| writeln!(text, "{words}").expect("memory takes all text");
    line(
        "# Written after a look at the table. Lines with a question mark are guesses: look at them.",
    );
    line("# The watch only observes; with mode = \"act\" it acts. See docs/watches.md.");
    line("");
    line("[databases.shop]");
    let hidden = draft.dsn.contains('@');
    line(&format!("dsn = {}", quoted(if hidden { "${SHOP_DSN}" } else { draft.dsn })));
    line("");
    line("[watches.shop-orders]");
    line("database = \"shop\"");
    line(&format!("table = {}", quoted(draft.table)));
    line(&format!("key = {}   # {}", quoted(&draft.key.name), draft.key.kind));
    let created = name(draft.created);
    line(&format!("created = {}   # ?", quoted(&created)));
    match draft.due {
        Some(column) => line(&format!("due = {}   # ? or delay = \"30m\"", quoted(&column.name))),
        None => line("delay = \"30m\"   # ?"),
    }
    let status = name(draft.status);
    let value = draft.open.map_or("FILL_IN", |value| *value);
    let condition = format!("{} = '{value}'", dialect.quoted(&status));
    line(&format!("open = {}   # ?", quoted(&condition)));
    line(&format!("outcome = {}", quoted(&status)));
    let needs_zone = draft.created.is_some_and(|it| draft.catalogue.zone_of(it) == Zone::Needed);
    if needs_zone {
        line("time_zone = \"UTC\"   # ? the zone that the shop writes its times in");
    }
    line("mode = \"observe\"");
    line("");
    report(draft, &mut line);
    if !draft.counts.is_empty() {
        let total: usize = draft.counts.values().sum();
        line(&format!("# What stands in {status} of the last {total} rows:"));
        for (value, count) in &draft.counts {
            line(&format!("#   {count:>6}  {}", value.escape_debug()));
        }
        line("");
    }
    line("# When it is to act:");
    line("#");
    line("# [watches.shop-orders.action.sql]");
    let update = format!(
        "UPDATE {} SET {} = 'cancelled' WHERE {} = :key AND {condition}",
        draft.catalogue.quoted(),
        dialect.quoted(&status),
        dialect.quoted(&draft.key.name),
    );
    line(&format!("# steps = [{}]", quoted(&update)));
    line("# applied: a column for :delivery_id tells, after a crash, what was already done.");
    if dialect != Dialect::Sqlite {
        let table = draft.catalogue.quoted();
        line("#");
        line("# What Duly's own user needs, and no more: to observe");
        line(&format!("#   GRANT SELECT ON {table} TO duly;"));
        line("# and to act as above");
        line(&format!("#   GRANT UPDATE ({}) ON {table} TO duly;", dialect.quoted(&status)));
    }
    line("#");
    line("# The index that looks go along:");
    line(&format!(
        "#   CREATE INDEX {} ON {} ({}, {});",
        dialect.quoted(&format!("duly_{}", draft.catalogue.table)),
        draft.catalogue.quoted(),
        dialect.quoted(&status),
        dialect.quoted(&created),
    ));
    text
}

/// How the table shows what others do with a row, for the report of a watch that observes.
fn report(draft: &Draft<'_>, line: &mut impl FnMut(&str)) {
    let dialect = draft.catalogue.dialect;
    let quoted = |text: &str| serde_json::to_string(text).expect("text is plain JSON");
    let column = |names: &[&str]| names.iter().find_map(|name| draft.catalogue.column(name));
    let among = |words: &[&str]| {
        let status = dialect.quoted(&draft.status?.name);
        let seen: Vec<String> = words
            .iter()
            .filter(|word| draft.counts.contains_key(**word))
            .map(|word| format!("'{word}'"))
            .collect();
        (!seen.is_empty()).then(|| format!("{status} IN ({})", seen.join(", ")))
    };
    let paid_at = column(PAID_AT).map(|it| format!("{} IS NOT NULL", dialect.quoted(&it.name)));
    line(
        "# How it shows what your cron did with a row: `duly watch report` then tells how late it was,",
    );
    line("# and what it cancelled although paid. What is left out it does not tell.");
    line("[watches.shop-orders.report]");
    let mut say = |key: &str, found: Option<String>, otherwise: &str, why: &str| match found {
        Some(found) => line(&format!("{key} = {}   # ? {why}", quoted(&found))),
        None => line(&format!("# {key} = {}   # {why}", quoted(otherwise))),
    };
    let why = "which rows that are not open were cancelled for want of payment";
    say("cancelled", among(CANCELLED), "status = 'cancelled'", why);
    let why = "which rows were paid, also if they were cancelled afterwards";
    say("paid", paid_at.or_else(|| among(PAID)), "paid_at IS NOT NULL", why);
    let why = "a column that tells when a row was changed, else that is known to within a look";
    say("changed", column(CHANGED).map(|it| it.name.clone()), "updated_at", why);
    line("");
}
