//! The shop's pages and what happens behind them.
//!
//! Every change follows the same order, which is the order that any shop should follow. To place:
//! Duly first, then the order's row, so that no order is ever without a deadline; a deadline without
//! an order finds no row and does nothing. To end: the guarded row first, then tell Duly.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use duly_engine::time::Span;
use serde::Deserialize;
use serde_json::{Value, json};

use super::duly::{Duly, No};
use super::shop::{Change, LAMP, Shop, TICKET};
use crate::units;

/// How long a customer may choose to have for paying.
const WITHIN: [&str; 3] = ["10s", "30s", "30m"];
/// How much more time a customer gets at a time.
const MORE_TIME: &str = "1m";
/// How many orders the button of the rush places, if there are so many tickets.
const RUSH: i64 = 1_000;
/// How long they have, at least.
const RUSH_WITHIN: Span = Span::from_secs(10);

/// The page is made of these files and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Counter {
    shop: Shop,
    duly: Duly,
}

/// Everything under `/demo`.
pub(super) fn router(shop: Shop, duly: Duly) -> Router {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { page_file(kind, text) });
    Router::new()
        .route("/demo", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/demo/", get(|| async { Redirect::permanent("/demo") }))
        .route("/demo/page.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/demo/page.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/demo/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
        .route("/demo/state", get(display))
        .route("/demo/orders", post(place))
        .route("/demo/rush", post(rush))
        .route("/demo/orders/{id}/pay", post(pay))
        .route("/demo/orders/{id}/more-time", post(more_time))
        .route("/demo/orders/{id}/cancel", post(cancel))
        .with_state(Counter { shop, duly })
}

fn page_file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers: HeaderMap =
        headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    (headers, text).into_response()
}

/// Why the shop did not do it.
enum Sorry {
    /// It cannot be done, in words for the customer.
    Customer(StatusCode, &'static str),
    /// Duly did not do its part.
    Duly(No),
    /// The shop's own fault.
    Shop(anyhow::Error),
}

impl From<No> for Sorry {
    fn from(no: No) -> Sorry {
        Sorry::Duly(no)
    }
}

impl From<anyhow::Error> for Sorry {
    fn from(fault: anyhow::Error) -> Sorry {
        Sorry::Shop(fault)
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Sorry::Customer(status, why) => (status, why.to_owned()),
            Sorry::Duly(No(why)) => (StatusCode::BAD_GATEWAY, why),
            Sorry::Shop(fault) => {
                tracing::error!("the demonstration shop failed: {fault:#}");
                (StatusCode::INTERNAL_SERVER_ERROR, "the shop has a problem".to_owned())
            }
        };
        (status, Json(json!({ "sorry": why }))).into_response()
    }
}

type Answer = Result<Json<Value>, Sorry>;

async fn display(State(counter): State<Counter>) -> Result<Response, Sorry> {
    let now = counter.duly.now().await?;
    Ok(Json(counter.shop.display(now).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    within: String,
}

async fn place(State(counter): State<Counter>, Json(wish): Json<Wish>) -> Answer {
    if !WITHIN.contains(&wish.within.as_str()) {
        let why = "the shop gives 10s, 30s or 30m to pay";
        return Err(Sorry::Customer(StatusCode::BAD_REQUEST, why));
    }
    if counter.shop.stock(LAMP).await? == 0 {
        return Err(sold_out());
    }
    let id = counter.shop.numbers(1).await?;
    let pay_by = counter.duly.schedule(id, LAMP, &wish.within).await?;
    if !counter.shop.place(LAMP, id, 1, pay_by).await? {
        counter.duly.settle(id, "sold_out").await?;
        return Err(sold_out());
    }
    Ok(Json(json!({ "placed": 1, "first": id })))
}

/// Sells all the tickets there are, to people who will not pay.
async fn rush(State(counter): State<Counter>) -> Answer {
    let count = counter.shop.stock(TICKET).await?.min(RUSH);
    if count == 0 {
        return Err(sold_out());
    }
    let first = counter.shop.numbers(count).await?;
    let now = units::instant(&counter.duly.now().await?).map_err(|bad| No(bad.to_string()))?;
    // The same instant for all of them, on a whole second.
    let earliest = now.plus(RUSH_WITHIN).millis();
    let due = duly_engine::time::Time::from_millis(earliest.div_ceil(1_000) * 1_000);
    let due = units::show_instant(due);
    counter.duly.schedule_all(first, count, TICKET, &due).await?;
    if !counter.shop.place(TICKET, first, count, due).await? {
        return Err(sold_out());
    }
    Ok(Json(json!({ "placed": count, "first": first })))
}

fn sold_out() -> Sorry {
    Sorry::Customer(StatusCode::CONFLICT, "sold out, until an order is cancelled")
}

/// The payment provider says that the customer has paid.
async fn pay(State(counter): State<Counter>, Path(id): Path<i64>) -> Answer {
    match counter.shop.pay(id).await? {
        Change::Done => {
            tell(&counter, id, "paid").await;
            Ok(Json(json!({ "ended": "paid" })))
        }
        Change::Refunded => Ok(Json(json!({ "ended": "refunded" }))),
        Change::TooLate => Err(over()),
    }
}

async fn cancel(State(counter): State<Counter>, Path(id): Path<i64>) -> Answer {
    match counter.shop.cancel(id).await? {
        Change::Done => {
            tell(&counter, id, "cancelled_by_customer").await;
            Ok(Json(json!({ "ended": "cancelled_by_customer" })))
        }
        Change::Refunded | Change::TooLate => Err(over()),
    }
}

/// Tells Duly how the order ended. The row has decided already: if Duly does not hear it, or hears it
/// too late, its guarded statement finds the row closed and leaves it alone.
async fn tell(counter: &Counter, id: i64, outcome: &str) {
    if let Err(No(why)) = counter.duly.settle(id, outcome).await {
        tracing::warn!(order = id, outcome, why, "Duly did not take the settle of an ended order");
    }
}

async fn more_time(State(counter): State<Counter>, Path(id): Path<i64>) -> Answer {
    let pay_by = counter.duly.extend(id, MORE_TIME).await?;
    counter.shop.postpone(id, pay_by.clone()).await?;
    Ok(Json(json!({ "pay_by": pay_by })))
}

fn over() -> Sorry {
    Sorry::Customer(StatusCode::CONFLICT, "this order is over already")
}
