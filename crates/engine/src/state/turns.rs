//! Whose turn it is: queues that may have something to hand out, in lines.
//!
//! A queue stands in a line from the moment something in it stirs (a lapse, the end of a request, a
//! new policy) until its turn finds nothing that may go. So a turn is looked for among the queues
//! that have one, and ten thousand resting queues cost nothing. Being in line is a hint: handing
//! out looks at the queue itself.
//!
//! Requests under way are counted here too, because a queue's concurrency counts requests while a
//! request may carry many deliveries. Nothing here is journalled: at the opening no request is
//! under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{QueueNo, Token};
use crate::time::Time;

/// Queues in the order of their turns; each stands in it once.
#[derive(Debug, Default)]
pub(crate) struct Line {
    order: VecDeque<QueueNo>,
    standing: BTreeSet<QueueNo>,
}

impl Line {
    /// Puts a queue at the end, unless it stands in line already.
    pub(crate) fn join(&mut self, queue: QueueNo) {
        if self.standing.insert(queue) {
            self.order.push_back(queue);
        }
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> Option<QueueNo> {
        let queue = self.order.pop_front()?;
        self.standing.remove(&queue);
        Some(queue)
    }
}

/// Lines, waits and requests.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Queues with a target that the server's own deliverers act on.
    pub(crate) served: Line,
    /// Queues with the target `none`.
    pub(crate) closing: Line,
    /// Queues that hold as much already as they leave to others; they stand in line again, one of them
    /// each time somebody's delivery is over.
    pub(crate) crowded: Line,
    /// Queues held back by their rate, and until when.
    paced: BTreeSet<(Time, QueueNo)>,
    /// Requests under way by the token of their first delivery. The tokens of one request have no
    /// other's between them, so a delivery belongs to the request that begins last before it.
    requests: BTreeMap<Token, Request>,
}

#[derive(Debug)]
struct Request {
    queue: QueueNo,
    /// Deliveries of it that are not over.
    left: usize,
}

impl Turns {
    /// Holds a queue back until then.
    pub(crate) fn hold_back(&mut self, queue: QueueNo, until: Time) {
        self.paced.insert((until, queue));
    }

    /// A queue that was held back until now at the latest.
    pub(crate) fn let_go(&mut self, now: Time) -> Option<QueueNo> {
        let first = *self.paced.first().filter(|(until, _)| *until <= now)?;
        self.paced.remove(&first);
        Some(first.1)
    }

    /// When the first queue that is held back by its rate may go on.
    pub(crate) fn next_let_go(&self) -> Option<Time> {
        self.paced.first().map(|(until, _)| *until)
    }

    /// A request with so many deliveries begins.
    pub(crate) fn begin_request(&mut self, queue: QueueNo, first: Token, deliveries: usize) {
        self.requests.insert(first, Request { queue, left: deliveries });
    }

    /// One delivery of a request is over; says whose request ended with it.
    pub(crate) fn one_is_over(&mut self, token: Token) -> Option<QueueNo> {
        let (&first, request) = self.requests.range_mut(..=token).next_back()?;
        request.left -= 1;
        if request.left > 0 {
            return None;
        }
        self.requests.remove(&first).map(|request| request.queue)
    }
}
