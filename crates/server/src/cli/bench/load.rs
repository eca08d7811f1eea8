//! The load generator: so many connections, each with one request under way.
//!
//! A closed loop measures what callers feel who wait for their answer, as a shop's request does. It is
//! one thread, so that it takes as little as possible of the machine it shares with the server, and
//! it keeps every latency.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::answers::all_good;
use super::requests::{Template, Wanted};
use super::wire::Connection;
use crate::clock;

/// When to stop: at whichever comes first.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    /// After so many deadlines.
    pub(super) count: u64,
    /// After so long.
    pub(super) time: Duration,
}

/// What the server acknowledged.
pub(super) struct Done {
    /// Deadlines.
    pub(super) count: u64,
    /// How long each request took.
    pub(super) times: Vec<Duration>,
}

/// Sends the template over so many connections, with keys numbered from 0, until it is time to stop.
/// Anything but a yes, or a line of a batch that is none, is an error: a measurement of refusals
/// would look like a very fast server.
pub(super) async fn drive(
    address: SocketAddr,
    connections: usize,
    stop: Stop,
    template: impl Fn() -> Template,
) -> anyhow::Result<Done> {
    let next = Arc::new(AtomicU64::new(0));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let begun = clock::stopwatch();
    let mut under_way = JoinSet::new();
    for mut connection in open {
        let (next, mut template) = (Arc::clone(&next), template());
        under_way.spawn(async move {
            let mut times = Vec::new();
            // Each connection asks at least once, however busy the machine is.
            while times.is_empty() || begun.elapsed() < stop.time {
                let first = next.fetch_add(template.len(), Ordering::Relaxed);
                if first >= stop.count {
                    break;
                }
                let sent = clock::stopwatch();
                ask(&mut connection, &mut template, first).await?;
                times.push(sent.elapsed());
            }
            anyhow::Ok((template.len() * times.len() as u64, times))
        });
    }
    let mut done = Done { count: 0, times: Vec::new() };
    while let Some(ended) = under_way.join_next().await {
        let (count, times) = ended.context("the load generator failed")??;
        done.count += count;
        done.times.extend(times);
    }
    Ok(done)
}

/// Sends these one after the other over one connection.
pub(super) async fn send_all(
    address: SocketAddr,
    requests: impl IntoIterator<Item = Vec<u8>>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    for request in requests {
        let lines = lines(&request);
        let answer = connection.ask_well(&request).await?;
        if lines > 0 {
            all_good(answer, lines)?;
        }
    }
    Ok(())
}

/// Sends the template for the deadlines from this number on, and waits until all of it is a yes.
async fn ask(
    connection: &mut Connection,
    template: &mut Template,
    first: u64,
) -> anyhow::Result<()> {
    let (count, wanted) = (template.len(), template.wanted());
    match wanted {
        Wanted::Status => {
            let answer = connection.ask_well(template.from(first)).await?;
            if count > 1 { all_good(answer, usize::try_from(count)?) } else { Ok(()) }
        }
        Wanted::Reply(reply) => {
            let times = usize::try_from(count).context("it is in memory")?;
            connection.ask_plainly(template.from(first), reply, times).await
        }
    }
}

/// The lines of a request's body; none if it is no batch.
fn lines(request: &[u8]) -> usize {
    let body = request.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    request[body..].split(|byte| *byte == b'\n').count() - 1
}
