//! Webhooks: one signed POST for one lapse or for a batch of them.
//!
//! An attempt is one exchange and ends in one verdict a lapse. It is never repeated here, follows no
//! redirect, and takes no longer than the queue's policy allows. A body is made in `deliver::body`, signed
//! in [`signature`], sent over a connection that [`pool`] keeps or [`connect`] makes to where [`guard`]
//! lets it, and what comes back is judged in [`answer`].

mod answer;
mod connect;
mod guard;
mod pool;
mod signature;
#[cfg(test)]
mod tests;

use std::time::Duration;

use duly_engine::command::Verdict;
use duly_engine::id::DeliveryId;
use duly_engine::queue::Webhook;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Request, Uri};
use tokio::time::timeout;

pub use self::answer::Answer;
use self::connect::{Connector, Resolve, system_resolver, web_roots};
use self::guard::Destination;
use self::pool::{Pool, Post};
use self::signature::Secret;
use super::Delivery;
use super::body;
use super::failure::retry;
use crate::clock;

pub use self::guard::Guard;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;
/// So much more for each lapse of a batch: its line in `results` with its error.
const RESULT_BYTES: usize = 1024;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The client of all webhooks.
pub(super) struct Webhooks {
    pool: Pool,
}

impl Webhooks {
    /// A client that goes where `guard` lets it.
    pub(super) fn new(guard: Guard) -> Webhooks {
        Webhooks::over(guard, system_resolver(), web_roots())
    }

    fn over(guard: Guard, resolve: Resolve, roots: rustls::RootCertStore) -> Webhooks {
        Webhooks { pool: Pool::new(Connector::new(guard, resolve, roots)) }
    }

    /// Hands lapses over; one verdict each, in their order.
    pub(super) async fn attempt(&self, webhook: &Webhook, deliveries: &[Delivery]) -> Vec<Verdict> {
        let all = |error: &str| deliveries.iter().map(|_| retry(error)).collect();
        // The form follows the policy and not the number at hand: a receiver meets one form only.
        let batched = webhook.batch > 1 || deliveries.len() != 1;
        let (target, request) = match request(webhook, deliveries, batched) {
            Ok(both) => both,
            Err(error) => return all(&error),
        };
        let most = ANSWER_BYTES + if batched { RESULT_BYTES * deliveries.len() } else { 0 };
        let time = Duration::from_millis(webhook.timeout.millis());
        let answer = match timeout(time, self.pool.exchange(&target, request, most)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return all(&error),
            Err(_) => return all(&format!("timeout: no answer within {}", webhook.timeout)),
        };
        let now = clock::wall();
        if batched {
            let ids: Vec<DeliveryId> = deliveries.iter().map(|each| each.leased.id).collect();
            answer.batch(&ids, now)
        } else {
            vec![answer.single(now)]
        }
    }
}

/// The signed request, and where it goes.
fn request(
    webhook: &Webhook,
    deliveries: &[Delivery],
    batched: bool,
) -> Result<(Destination, Post), String> {
    let url: Uri = webhook.url.parse().map_err(|_| "bad_url: the URL cannot be read")?;
    let target = Destination::of(&url)?;
    let secrets: Vec<Secret> = (webhook.secrets.iter().zip(1..))
        .map(|(text, number)| {
            Secret::parse(text).map_err(|why| format!("bad_secret: secret {number} {why}"))
        })
        .collect::<Result<_, _>>()?;
    let (id, body) = match deliveries {
        [delivery] if !batched => (delivery.leased.id.to_string(), body::single(delivery)),
        _ => (body::batch_id(deliveries), body::batch(deliveries)),
    };
    let timestamp = (clock::wall().millis() / 1_000).to_string();
    let cannot = || "bad_url: the URL cannot be requested".to_owned();
    let path = url.path_and_query().cloned().ok_or_else(cannot)?;
    let mut request = Request::post(Uri::from(path))
        .header(HOST, target.host_header())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, HeaderValue::from_static(concat!("duly/", env!("CARGO_PKG_VERSION"))))
        .header(WEBHOOK_ID, &id)
        .header(WEBHOOK_TIMESTAMP, &timestamp);
    if !secrets.is_empty() {
        let signature = signature::sign(&secrets, &id, &timestamp, &body);
        let mut signature = HeaderValue::try_from(signature)
            .expect("versions, base64 and spaces are a header's value");
        signature.set_sensitive(true);
        request = request.header(WEBHOOK_SIGNATURE, signature);
    }
    let request = request.body(Full::from(body)).map_err(|_| cannot())?;
    Ok((target, request))
}
