//! Who wants to be told when something happens to one deadline.
//!
//! Thousands of pages may show a countdown while thousands of other orders are placed and paid. So
//! one task reads what happens and calls those whose deadline it was; nobody else wakes up. While
//! nobody watches it sleeps. A call says only that it is time to look again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duly_engine::command::Address;
use duly_engine::id::Seq;
use tokio::sync::{Notify, watch};

use crate::handle::Events;
use crate::listen::stopped;

/// All who watch.
#[derive(Clone)]
pub(super) struct Watchers(Arc<Shared>);

struct Shared {
    events: Events,
    board: Mutex<Board>,
    /// Somebody watches, and nobody did before.
    begun: Notify,
}

#[derive(Default)]
struct Board {
    watched: HashMap<Address, Vec<Arc<Notify>>>,
    /// What happened up to this fact is called out, or happened before anybody watched.
    read_to: Seq,
}

/// One who watches a deadline, until dropped.
pub(super) struct Watcher {
    all: Watchers,
    at: Address,
    call: Arc<Notify>,
}

impl Watchers {
    /// Nobody watches yet; the task that calls ends when the server stops.
    pub(super) fn new(events: Events, stopping: watch::Receiver<bool>) -> Watchers {
        let (board, begun) = (Mutex::default(), Notify::new());
        let watchers = Watchers(Arc::new(Shared { events, board, begun }));
        tokio::spawn(call_out(watchers.clone(), stopping));
        watchers
    }

    /// Watches a deadline: whatever happens to it from now on is called out.
    pub(super) fn watch(&self, at: Address) -> Watcher {
        let call = Arc::new(Notify::new());
        let mut board = self.board();
        if board.watched.is_empty() {
            // Nothing was read while nobody watched.
            board.read_to = self.0.events.last();
            self.0.begun.notify_one();
        }
        board.watched.entry(at.clone()).or_default().push(Arc::clone(&call));
        Watcher { all: self.clone(), at, call }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls whomever it concerns that has happened since the last time.
    fn read_on(&self) -> More {
        let after = self.board().read_to;
        let page = self.0.events.read(after);
        let mut board = self.board();
        if board.watched.is_empty() {
            return More::NobodyWatches;
        }
        let Ok(page) = page else {
            // More has happened than is kept: everybody looks again. Asked before they are called, so
            // that nothing is skipped that they cannot have seen.
            board.read_to = self.0.events.last();
            board.watched.values().flatten().for_each(|call| call.notify_one());
            return More::No;
        };
        for announcement in page.announcements {
            // Only what is over can be erased, and a page that shows it so is right.
            let Some(told) = announcement.told else { continue };
            let at = Address { queue: announcement.queue, key: told.key };
            board.watched.get(&at).into_iter().flatten().for_each(|call| call.notify_one());
        }
        board.read_to = board.read_to.max(page.up_to);
        if page.more { More::Yes } else { More::No }
    }
}

enum More {
    Yes,
    No,
    NobodyWatches,
}

async fn call_out(watchers: Watchers, mut stopping: watch::Receiver<bool>) {
    let mut news = watchers.0.events.news();
    loop {
        news.borrow_and_update();
        let next = async {
            match watchers.read_on() {
                More::Yes => tokio::task::yield_now().await,
                More::No => drop(news.changed().await),
                More::NobodyWatches => watchers.0.begun.notified().await,
            }
        };
        tokio::select! {
            biased;
            () = stopped(&mut stopping) => return,
            () = next => {}
        }
    }
}

impl Watcher {
    /// Returns when something has happened to it since the last call, or since it is watched.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut board = self.all.board();
        if let Some(calls) = board.watched.get_mut(&self.at) {
            calls.retain(|call| !Arc::ptr_eq(call, &self.call));
            if calls.is_empty() {
                board.watched.remove(&self.at);
            }
        }
    }
}
