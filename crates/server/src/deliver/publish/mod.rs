//! Messages to a broker: a lapse is published where the operator's configuration says.
//!
//! A queue's policy names a publisher, and the broker's word is the verdict: done only when the broker
//! has confirmed, everything else is a retry. A confirmation can be lost, so a message can come twice,
//! under the same delivery id. One connection a publisher is kept; when it is gone the next attempt makes
//! a new one, and nothing here repeats anything.

mod redis;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use duly_engine::command::Verdict;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::redis::Connection;
use super::failure::retry;
use super::{BadSetting, Delivery, body};
use crate::config::PublishAction;

/// An attempt is over by then, the wait for its turn included.
const ATTEMPT: Duration = Duration::from_secs(30);

/// All publishers.
pub(super) struct Publishers {
    publishers: BTreeMap<String, Publisher>,
}

/// A place in a broker, and the way there.
struct Publisher {
    action: PublishAction,
    tls: Option<Arc<ClientConfig>>,
    /// The connection while nobody uses it.
    idle: Mutex<Option<Connection>>,
}

impl Publishers {
    /// Connects nowhere: a broker that is away is retried by every attempt.
    pub(super) fn start(
        settings: &BTreeMap<String, PublishAction>,
    ) -> Result<Publishers, BadSetting> {
        let mut publishers = BTreeMap::new();
        for (name, action) in settings {
            let tls = if action.tls {
                let bad = |why| BadSetting { key: format!("publish.{name}.ca_file"), why };
                Some(redis::encryption(action.ca_file.as_deref()).map_err(bad)?)
            } else {
                None
            };
            let publisher = Publisher { action: action.clone(), tls, idle: Mutex::new(None) };
            publishers.insert(name.clone(), publisher);
        }
        Ok(Publishers { publishers })
    }

    /// Publishes lapses; one verdict each, in their order.
    pub(super) async fn attempt(&self, name: &str, deliveries: &[Delivery]) -> Vec<Verdict> {
        let all = |error: &str| deliveries.iter().map(|_| retry(error)).collect();
        let Some(publisher) = self.publishers.get(name) else {
            return all(&format!("unknown_publisher: there is no [publish.{name}]"));
        };
        match timeout(ATTEMPT, publisher.publish(deliveries)).await {
            Ok(Ok(said)) => said
                .into_iter()
                .map(|said| match said {
                    Ok(()) => Verdict::Done,
                    Err(why) => retry(&format!("publish: {name}: {why}")),
                })
                .collect(),
            Ok(Err(why)) => all(&format!("publish: {name}: {why}")),
            Err(_) => all(&format!("timeout: {name} did not confirm within 30s")),
        }
    }
}

impl Publisher {
    /// What the broker says to each, or why it said nothing. Whoever publishes has the connection; one
    /// that is given up in the middle is not used again.
    async fn publish(&self, deliveries: &[Delivery]) -> Result<Vec<Result<(), String>>, String> {
        let mut idle = self.idle.lock().await;
        let kept = match idle.take() {
            Some(kept) => kept.if_open().await,
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&self.action, self.tls.clone()).await?,
        };
        let messages = deliveries
            .iter()
            .map(|delivery| (delivery.leased.id.to_string(), body::single(delivery)));
        let messages: Vec<(String, Vec<u8>)> = messages.collect();
        let said = connection.publish(&self.action.destination, &messages).await?;
        *idle = Some(connection);
        Ok(said)
    }
}
