//! Messages to a broker: a lapse is published where the operator's configuration says.
//!
//! A queue's policy names a publisher, and the broker's word is the verdict: done only when the broker
//! has confirmed, everything else is a retry. A confirmation can be lost, so a message can come twice,
//! under the same delivery id. One connection a publisher is kept; when it is gone the next attempt makes
//! a new one, and nothing here repeats anything.

mod amqp;
mod connect;
mod redis;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use duly_engine::command::Verdict;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::amqp::Amqp;
use self::connect::Way;
use self::redis::Redis;
use super::failure::retry;
use super::{BadSetting, Delivery};
use crate::config::{PublishAction, PublishDestination};

/// An attempt is over by then, the wait for its turn included.
const ATTEMPT: Duration = Duration::from_secs(30);

/// A broker that does not answer a goodbye is left without.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a broker says to one message: it has it, or why not.
type Said = Result<(), String>;

/// All publishers.
pub(super) struct Publishers {
    publishers: BTreeMap<String, Publisher>,
}

/// A place in a broker, and the way there.
enum Publisher {
    Redis(Box<Redis>),
    Amqp(Amqp),
}

impl Publishers {
    /// Connects nowhere: a broker that is away is retried by every attempt.
    pub(super) fn start(
        settings: &BTreeMap<String, PublishAction>,
    ) -> Result<Publishers, BadSetting> {
        let mut publishers = BTreeMap::new();
        for (name, action) in settings {
            let bad = |why| BadSetting { key: format!("publish.{name}.ca_file"), why };
            let way = Way::new(action).map_err(bad)?;
            let publisher = match &action.destination {
                PublishDestination::Redis(place) => {
                    Publisher::Redis(Box::new(Redis::new(way, place.clone())))
                }
                PublishDestination::Amqp(place) => {
                    Publisher::Amqp(Amqp::new(name, way, place.clone()))
                }
            };
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

    /// Says goodbye to the brokers that expect it. No attempt is under way any more.
    pub(super) async fn stop(&self) {
        let partings: Vec<_> = self.publishers.values().filter_map(Publisher::part).collect();
        let all = async {
            for parting in partings {
                // A session that has panicked needs no goodbye.
                parting.await.unwrap_or_default();
            }
        };
        if timeout(GOODBYE, all).await.is_err() {
            tracing::debug!("a broker heard no goodbye");
        }
    }
}

impl Publisher {
    /// What the broker says to each, or why it said nothing.
    async fn publish(&self, deliveries: &[Delivery]) -> Result<Vec<Said>, String> {
        match self {
            Publisher::Redis(redis) => redis.publish(deliveries).await,
            Publisher::Amqp(amqp) => amqp.publish(deliveries).await,
        }
    }

    /// Lets go of the connection; what is given back ends when the goodbye is said. Redis expects none.
    fn part(&self) -> Option<JoinHandle<()>> {
        match self {
            Publisher::Redis(_) => None,
            Publisher::Amqp(amqp) => amqp.part(),
        }
    }
}
