//! What a target is told: the event of one lapse, or of several together.
//!
//! The caller's payload goes in as it was written, byte for byte, so that a receiver sees the same
//! number that was scheduled (`19.90` stays `19.90`). Bytes that came by another protocol travel as
//! `payload_base64`. The id of a batch is its own: the delivery ids inside are what to remember.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use duly_engine::deadline::PayloadKind;
use duly_engine::id::DeliveryId;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::deliver::Delivery;
use crate::json::{self, Text};
use crate::units::Shown;

/// An event in the form of Standard Webhooks.
#[derive(Serialize)]
struct Event<Data> {
    r#type: &'static str,
    timestamp: Shown,
    data: Data,
}

/// One lapse.
#[derive(Serialize)]
struct Lapse<'a> {
    queue: &'a str,
    key: &'a str,
    delivery_id: Text<DeliveryId>,
    due: Shown,
    lapsed_at: Shown,
    late_ms: u64,
    attempt: u32,
    #[serde(flatten)]
    payload: Carried<'a>,
}

/// A payload, as JSON or as bytes.
#[derive(Serialize)]
enum Carried<'a> {
    #[serde(rename = "payload")]
    Json(Option<&'a RawValue>),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

/// The body for one lapse.
pub(super) fn single(delivery: &Delivery) -> Vec<u8> {
    let timestamp = Shown(delivery.leased.lapsed_at);
    json::written(&Event { r#type: "deadline.lapsed", timestamp, data: lapse(delivery) })
}

/// The body for several lapses; it happened when the last of them did.
pub(super) fn batch(deliveries: &[Delivery]) -> Vec<u8> {
    let last = deliveries.iter().map(|delivery| delivery.leased.lapsed_at).max();
    let timestamp = Shown(last.unwrap_or_default());
    let data: Vec<Lapse<'_>> = deliveries.iter().map(lapse).collect();
    json::written(&Event { r#type: "deadline.lapsed.batch", timestamp, data })
}

/// The id of a batch: never the same for two requests, because a lease's token never is. A receiver
/// that drops ids it has seen therefore never drops a batch whose answer was lost.
pub(super) fn batch_id(deliveries: &[Delivery]) -> String {
    let mut hash = Sha256::new();
    for delivery in deliveries {
        hash.update(format!("{} {}\n", delivery.leased.id, delivery.leased.token.0));
    }
    format!("batch-{}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..12]))
}

fn lapse(delivery: &Delivery) -> Lapse<'_> {
    let leased = &delivery.leased;
    Lapse {
        queue: leased.queue.as_str(),
        key: leased.key.as_str(),
        delivery_id: Text(leased.id),
        due: Shown(leased.due),
        lapsed_at: Shown(leased.lapsed_at),
        late_ms: leased.lapsed_at.since(leased.due).millis(),
        attempt: leased.attempt,
        payload: carried(delivery),
    }
}

fn carried(delivery: &Delivery) -> Carried<'_> {
    let Some(payload) = &delivery.payload else { return Carried::Json(None) };
    // Read once more before it goes to a stranger: it must not break what is around it.
    match (payload.kind, serde_json::from_slice(&payload.bytes)) {
        (PayloadKind::Json, Ok(raw)) => Carried::Json(Some(raw)),
        _ => Carried::Base64(STANDARD.encode(&payload.bytes)),
    }
}
