//! How long a client may take over one thing.
//!
//! A clock runs only while there is something to wait for that must end: what was told and is not
//! taken, a request that was begun, silence where the operator bounds it. What goes on as it should
//! costs no timer.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::metrics::Cut;

/// How long what was told may lie untaken, and a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// What runs out.
pub(super) struct Patience {
    idle: Option<Duration>,
    running: Option<(Cut, Pin<Box<Sleep>>)>,
}

impl Patience {
    /// With silence bounded by this.
    pub(super) fn new(idle: Option<Duration>) -> Patience {
        Patience { idle, running: None }
    }

    /// There was progress: whatever is waited for next is waited for anew.
    pub(super) fn renew(&mut self) {
        self.running = None;
    }

    /// Returns when this has been waited for, without progress, for too long.
    pub(super) async fn run_out(&mut self, wait: Option<Cut>) {
        let length = match wait {
            Some(Cut::Slow | Cut::Unfinished) => Some(PATIENCE),
            Some(Cut::Idle) => self.idle,
            None => None,
        };
        let Some((wait, length)) = wait.zip(length) else {
            self.running = None;
            return std::future::pending().await;
        };
        if self.running.as_ref().is_none_or(|(running, _)| *running != wait) {
            self.running = Some((wait, Box::pin(sleep(length))));
        }
        if let Some((_, sleep)) = &mut self.running {
            sleep.as_mut().await;
        }
    }
}
