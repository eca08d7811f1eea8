//! Connections that are kept between requests.
//!
//! A request goes over a connection that has answered before, the one used last first, or over a new
//! one. The task that wants the answer moves the bytes of its connection itself: with a task for each
//! connection, every request would be handed to and fro between two, which costs more than the
//! request. Idle connections are looked at now and then, and those that are old or closed go. A
//! request is never repeated that may have left.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use duly_engine::limits::CONCURRENCY;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::ANSWER_BYTES;
use super::answer::Answer;
use super::connect::{Connector, Stream};
use super::guard::Destination;
use crate::clock;

/// Idle connections are kept for so long.
const IDLE: Duration = Duration::from_secs(30);
/// How often they are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// Idle connections kept of one target: as many as a queue may have requests under way, so that a
/// busy one need not connect again for each of them.
const IDLE_OF_ONE_TARGET: usize = CONCURRENCY as usize;

/// What is sent.
pub(super) type Post = Request<Full<Bytes>>;

/// Connections to all targets.
pub(super) struct Pool {
    connector: Connector,
    idle: Arc<Mutex<Idle>>,
}

/// Those that nobody uses just now, by where they lead, the one used last at the end.
#[derive(Default)]
struct Idle(HashMap<Destination, Vec<(Instant, Box<Line>)>>);

/// A connection, with what is read from it and not understood yet: too large to be moved about.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Nothing, once it is closed.
    connection: Option<Connection<TokioIo<Stream>, Full<Bytes>>>,
}

/// Why there is no answer.
enum Failure {
    /// The connection was closed before any of the request had left.
    Unsent(Box<Post>),
    /// It may have been heard.
    Broken(String),
}

impl Pool {
    /// A pool without connections; must be made inside the runtime.
    pub(super) fn new(connector: Connector) -> Pool {
        let idle = Arc::new(Mutex::new(Idle::default()));
        tokio::spawn(sweep(Arc::downgrade(&idle)));
        Pool { connector, idle }
    }

    /// One request and its answer, of which at most `most` bytes are read. Who stops waiting closes
    /// the connection.
    pub(super) async fn exchange(
        &self,
        target: &Destination,
        mut request: Post,
        most: usize,
    ) -> Result<Answer, String> {
        loop {
            let kept = self.take(target);
            let is_new = kept.is_none();
            let mut line = match kept {
                Some(line) => line,
                // Seldom done, and large: it looks up a name and may speak TLS.
                None => Box::pin(self.connect(target)).await?,
            };
            match line.exchange(request, most).await {
                Ok(answer) => {
                    self.keep(target, line);
                    return Ok(answer);
                }
                // The target closed it while nobody looked.
                Err(Failure::Unsent(unsent)) if !is_new => request = *unsent,
                Err(Failure::Unsent(_)) => {
                    return Err("broken_answer: the connection was closed".to_owned());
                }
                Err(Failure::Broken(error)) => return Err(error),
            }
        }
    }

    async fn connect(&self, target: &Destination) -> Result<Box<Line>, String> {
        let stream = self.connector.connect(target).await.map_err(|error| error.to_string())?;
        Line::over(stream).await.map_err(|error| broken(&error))
    }

    fn take(&self, target: &Destination) -> Option<Box<Line>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.0.get_mut(target)?.pop().map(|(_, line)| line)
    }

    /// Keeps a connection whose answer was read, if the target means to.
    fn keep(&self, target: &Destination, mut line: Box<Line>) {
        if !line.is_idle() {
            return;
        }
        let now = clock::stopwatch();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.0.get_mut(target) {
            Some(lines) if lines.len() < IDLE_OF_ONE_TARGET => lines.push((now, line)),
            Some(_) => {}
            None => {
                idle.0.insert(target.clone(), vec![(now, line)]);
            }
        }
    }
}

impl Line {
    async fn over(stream: TokioIo<Stream>) -> hyper::Result<Box<Line>> {
        let (sender, connection) =
            Builder::new().max_buf_size(ANSWER_BYTES).handshake(stream).await?;
        Ok(Box::new(Line { sender, connection: Some(connection) }))
    }

    /// Is it open, and free for a request? Wakes nobody later: it is asked again.
    fn is_idle(&mut self) -> bool {
        drive(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    async fn exchange(&mut self, request: Post, most: usize) -> Result<Answer, Failure> {
        let Line { sender, connection } = self;
        let mut exchange = pin!(async {
            if sender.ready().await.is_err() {
                return Err(Failure::Unsent(Box::new(request)));
            }
            let answer =
                sender.try_send_request(request).await.map_err(|mut failed| {
                    match failed.take_message() {
                        Some(unsent) => Failure::Unsent(Box::new(unsent)),
                        None => Failure::Broken(broken(failed.error())),
                    }
                })?;
            let (head, rest) = answer.into_parts();
            let mut answer =
                Answer { status: head.status, headers: head.headers, body: Vec::new(), cut: false };
            // What a failure says in its body is nobody's business: it could be an internal page.
            if answer.status.is_success() {
                (answer.body, answer.cut) = read(rest, most).await.map_err(Failure::Broken)?;
            }
            Ok(answer)
        });
        poll_fn(|context| {
            // What arrived goes from the connection to the exchange, the head first and then the
            // body, which must be asked for.
            for _ in 0..2 {
                let answered = exchange.as_mut().poll(context);
                if answered.is_ready() {
                    return answered;
                }
                drive(connection, context);
            }
            exchange.as_mut().poll(context)
        })
        .await
    }
}

/// Moves what can be moved. Dropping a connection that has ended tells whoever waits for an answer.
fn drive(
    connection: &mut Option<Connection<TokioIo<Stream>, Full<Bytes>>>,
    context: &mut Context<'_>,
) {
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(context).is_ready()) {
        *connection = None;
    }
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

/// What went wrong at the bottom of it.
fn broken(error: &hyper::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    format!("broken_answer: {deepest}")
}

/// Lets go of connections that nobody has used for long, or that were closed, as long as there is a pool.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        for lines in idle.0.values_mut() {
            lines.retain_mut(|(since, line)| since.elapsed() < IDLE && line.is_idle());
        }
        idle.0.retain(|_, lines| !lines.is_empty());
    }
}

#[cfg(test)]
impl Pool {
    /// Waits until every idle connection was closed by its target.
    pub(super) async fn until_closed(&self) {
        let any_open = || {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.0.values_mut().flatten().any(|(_, line)| line.is_idle())
        };
        while any_open() {
            tokio::task::yield_now().await;
        }
    }
}
