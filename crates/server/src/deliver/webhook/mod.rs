//! Webhooks: one signed POST for one lapse or for a batch of them.
//!
//! An attempt is one exchange and ends in one verdict a lapse. It is never repeated here, follows no
//! redirect, and takes no longer than the queue's policy allows. A body is made in `deliver::body`, signed
//! in [`signature`], sent over a connection from [`connect`] to where [`guard`] lets it, and what
//! comes back is judged in [`answer`].

mod answer;
mod connect;
mod guard;
mod signature;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use duly_engine::command::Verdict;
use duly_engine::id::DeliveryId;
use duly_engine::queue::Webhook;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

pub use self::answer::Answer;
use self::connect::{Connector, Resolve, system_resolver, web_roots};
use self::guard::Destination;
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
/// Idle connections are kept for so long.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept of one target.
const IDLE_OF_ONE_TARGET: usize = 64;

/// The client of all webhooks.
pub(super) struct Webhooks {
    client: Client<Connector, Full<Bytes>>,
}

impl Webhooks {
    /// A client that goes where `guard` lets it.
    pub(super) fn new(guard: Guard) -> Webhooks {
        Webhooks::over(guard, system_resolver(), web_roots())
    }

    fn over(guard: Guard, resolve: Resolve, roots: rustls::RootCertStore) -> Webhooks {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_OF_ONE_TARGET)
            .http1_max_buf_size(ANSWER_BYTES)
            .build(Connector::new(guard, resolve, roots));
        Webhooks { client }
    }

    /// Hands lapses over; one verdict each, in their order.
    pub(super) async fn attempt(&self, webhook: &Webhook, deliveries: &[Delivery]) -> Vec<Verdict> {
        let all = |error: &str| deliveries.iter().map(|_| retry(error)).collect();
        // The form follows the policy and not the number at hand: a receiver meets one form only.
        let batched = webhook.batch > 1 || deliveries.len() != 1;
        let request = match request(webhook, deliveries, batched) {
            Ok(request) => request,
            Err(error) => return all(&error),
        };
        let most = ANSWER_BYTES + if batched { RESULT_BYTES * deliveries.len() } else { 0 };
        let time = Duration::from_millis(webhook.timeout.millis());
        let answer = match timeout(time, self.exchange(request, most)).await {
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

    /// One request and its answer, of which at most `most` bytes are read.
    async fn exchange(&self, request: Request<Full<Bytes>>, most: usize) -> Result<Answer, String> {
        let answer = self.client.request(request).await.map_err(|error| cause(&error))?;
        let (head, rest) = answer.into_parts();
        let mut answer =
            Answer { status: head.status, headers: head.headers, body: Vec::new(), cut: false };
        // What a failure says in its body is nobody's business: it could be an internal page.
        if answer.status.is_success() {
            (answer.body, answer.cut) = read(rest, most).await?;
        }
        Ok(answer)
    }
}

/// The signed request.
fn request(
    webhook: &Webhook,
    deliveries: &[Delivery],
    batched: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let url: Uri = webhook.url.parse().map_err(|_| "bad_url: the URL cannot be read")?;
    Destination::of(&url)?;
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
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("duly/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &id)
        .header("webhook-timestamp", &timestamp);
    if !secrets.is_empty() {
        let signature = signature::sign(&secrets, &id, &timestamp, &body);
        let mut signature = HeaderValue::try_from(signature)
            .expect("versions, base64 and spaces are a header's value");
        signature.set_sensitive(true);
        request = request.header("webhook-signature", signature);
    }
    request.body(Full::from(body)).map_err(|_| "bad_url: the URL cannot be requested".to_owned())
}

/// A body, and whether it was longer than `most`.
async fn read(mut body: Incoming, most: usize) -> Result<(Vec<u8>, bool), String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| "broken_answer: the answer broke off")?;
        if let Ok(data) = frame.into_data() {
            let room = most - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((bytes, true));
            }
        }
    }
    Ok((bytes, false))
}

/// What went wrong at the bottom of a client's error.
fn cause(error: &hyper_util::client::legacy::Error) -> String {
    let mut deepest: &(dyn Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_connect() {
        // The connector's own words begin with their code.
        return deepest.to_string();
    }
    format!("broken_answer: {deepest}")
}
