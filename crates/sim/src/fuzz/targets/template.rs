//! Statements of `sql` targets, and what a database makes of them.

use std::cell::RefCell;

use duly::database::Dialect;
use duly::deliver::{Parameter, Template};
use rusqlite::Connection;

use super::Fate;

pub(super) const WORDS: &[&str] = &[
    "UPDATE orders SET status=:delivery_id WHERE id=:key AND status='unpaid'",
    "SELECT ",
    "INSERT ",
    "WITH x AS (",
    ":key",
    ":queue",
    ":delivery_id",
    ":due",
    ":due_ms",
    ":lapsed_at",
    ":attempt",
    ":lapsed_at_ms",
    ":payload",
    ":payload.total",
    ":payload.a.b",
    "::text",
    "--",
    "/*",
    "*/",
    "'",
    "\"",
    "`",
    "[",
    "]",
    ";",
    "?",
    "$1",
    "@x",
    "''",
    "\\'",
    "\n",
    "COMMIT",
    "E'\\''",
    "é",
    "$$",
    "$a$",
    "/*!",
    "\r",
    "UPDATE",
    "\\",
    "x'00'",
    "orders",
    "id",
    "status",
    "stock",
    ",",
    "(",
    ")",
    "=",
    ":",
    "#",
];

thread_local! {
    static SHOP: RefCell<Connection> = RefCell::new(shop());
}

fn shop() -> Connection {
    let shop = Connection::open_in_memory().expect("SQLite has memory");
    shop.execute_batch(
        "CREATE TABLE orders (id, status, total, cancelled_by); CREATE TABLE stock (id, amount)",
    )
    .expect("these are tables");
    shop
}

/// The input is a statement.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::refused("no text") };
    let of_servers = [Dialect::Mysql, Dialect::Postgres].map(|dialect| {
        Template::parse(text, dialect).map_or_else(
            |why| words(&why),
            |template| {
                whole(&template, text);
                vec![template.parameters.len().to_string()]
            },
        )
    });
    let template = match Template::parse(text, Dialect::Sqlite) {
        Ok(template) => template,
        Err(why) => return Fate::refused((words(&why), of_servers)),
    };
    whole(&template, text);
    let numbered = template.render(|index| format!("?{}", index + 1));
    let prepared = SHOP.with_borrow(|shop| {
        let statement = shop.prepare(&numbered).ok()?;
        let parameters = statement.parameter_count();
        let same = parameters == template.parameters.len();
        assert!(same, "SQLite finds {parameters} parameters in {numbered:?}");
        let only_asks = statement.readonly();
        assert!(only_asks || !template.only_asks, "{numbered:?} changes rows and seems to ask");
        Some(only_asks)
    });
    Fate::taken((template.parameters.len(), prepared, of_servers))
}

fn whole(template: &Template, text: &str) {
    let again = template.render(|index| name(&template.parameters[index]));
    assert_eq!(again, text, "nothing but parameters is taken out of a statement");
}

/// Why a statement is refused, without what is particular to it.
fn words(why: &str) -> Vec<String> {
    assert!(!why.is_empty(), "no reason is given");
    why.split(' ').filter(|word| !word.contains(':')).map(str::to_owned).collect()
}

fn name(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Key => ":key".to_owned(),
        Parameter::Queue => ":queue".to_owned(),
        Parameter::DeliveryId => ":delivery_id".to_owned(),
        Parameter::Due => ":due".to_owned(),
        Parameter::DueMs => ":due_ms".to_owned(),
        Parameter::LapsedAt => ":lapsed_at".to_owned(),
        Parameter::LapsedAtMs => ":lapsed_at_ms".to_owned(),
        Parameter::Attempt => ":attempt".to_owned(),
        Parameter::Payload(path) => {
            path.iter().fold(":payload".to_owned(), |name, field| name + "." + field)
        }
    }
}
