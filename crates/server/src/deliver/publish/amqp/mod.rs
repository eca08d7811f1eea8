//! Messages to a queue or an exchange of an AMQP 0.9.1 broker: `RabbitMQ`.
//!
//! A session is one connection with one channel that confirms. It begins with the first message and is
//! kept; all attempts share it, so many messages are on their way at once, and each has its own answer.
//! The protocol is written by hand, as that of Redis is: the clients that there are bring half a hundred
//! crates, or panic at what a broker may say, and confirming is the one thing that has to be certain.

mod handshake;
mod method;
mod session;
mod talk;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Said;
use super::connect::Way;
use crate::config::AmqpDestination;
use crate::deliver::{Delivery, body};

/// Attempts that wait for the session to take their messages.
const ATTEMPTS: usize = 64;

/// A message for the broker, and who waits for its word on it.
struct Letter {
    id: String,
    queue: String,
    key: String,
    attempt: u32,
    /// When the deadline lapsed, in seconds since 1970.
    lapsed_at_s: u64,
    body: Vec<u8>,
    said: oneshot::Sender<Said>,
}

impl Letter {
    fn new(delivery: &Delivery) -> (Letter, oneshot::Receiver<Said>) {
        let (said, answer) = oneshot::channel();
        let leased = &delivery.leased;
        let letter = Letter {
            id: leased.id.to_string(),
            queue: leased.queue.as_str().to_owned(),
            key: leased.key.as_str().to_owned(),
            attempt: leased.attempt,
            lapsed_at_s: leased.lapsed_at.millis() / 1000,
            body: body::single(delivery),
            said,
        };
        (letter, answer)
    }
}

/// A place in an AMQP broker, and the way there.
pub(super) struct Amqp {
    account: Arc<Account>,
    session: Mutex<Option<Running>>,
}

/// Where a session leads.
struct Account {
    /// What it is called in the configuration.
    name: String,
    way: Way,
    place: AmqpDestination,
}

/// A session at work. It ends by itself when its connection does.
struct Running {
    letters: mpsc::Sender<Vec<Letter>>,
    work: JoinHandle<()>,
}

impl Amqp {
    /// Connects nowhere yet.
    pub(super) fn new(name: &str, way: Way, place: AmqpDestination) -> Amqp {
        let account = Arc::new(Account { name: name.to_owned(), way, place });
        Amqp { account, session: Mutex::new(None) }
    }

    /// What the broker says to each, or why it said nothing.
    pub(super) async fn publish(&self, deliveries: &[Delivery]) -> Result<Vec<Said>, String> {
        let ended = || "its connection has ended".to_owned();
        let (letters, answers): (Vec<_>, Vec<_>) = deliveries.iter().map(Letter::new).unzip();
        self.letters().send(letters).await.map_err(|_| ended())?;
        let mut said = Vec::with_capacity(answers.len());
        for answer in answers {
            said.push(answer.await.unwrap_or_else(|_| Err(ended())));
        }
        Ok(said)
    }

    /// The way into the session: the one at work, or else a new one.
    fn letters(&self) -> mpsc::Sender<Vec<Letter>> {
        let mut session = self.session();
        match &*session {
            Some(running) if !running.letters.is_closed() => running.letters.clone(),
            _ => {
                let (letters, inbox) = mpsc::channel(ATTEMPTS);
                let work = tokio::spawn(session::run(Arc::clone(&self.account), inbox));
                *session = Some(Running { letters: letters.clone(), work });
                letters
            }
        }
    }

    fn session(&self) -> MutexGuard<'_, Option<Running>> {
        // It is whole whenever nobody holds it.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the session, which then says goodbye and ends.
    pub(super) fn part(&self) -> Option<JoinHandle<()>> {
        let Running { letters, work } = self.session().take()?;
        drop(letters);
        Some(work)
    }
}
