//! The whole server, put together and taken apart again.
//!
//! Starting: take the port, open the directory, declare the configured queues, start the
//! deliverers, then listen. Stopping goes the other way round: no new requests, let attempts under
//! way come to their verdicts, let the driver finish what it was asked, let the journal and the
//! archive reach the disk.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::id::QueueName;
use duly_engine::queue::Policy;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task;

use crate::clock::{self, Clock};
use crate::config::{ClockSource, Redis, Settings};
use crate::deliver::{self, DeliverSettings, Deliverers, Guard};
use crate::driver::open::{self, StoreSettings};
use crate::handle::Handle;
use crate::listen::http::{self, HttpSettings, Secrets};
use crate::listen::redis;
use crate::metrics::Metrics;
use crate::outbox::{Outboxes, Perform};
use crate::reconciliation::Desks;
use crate::watch::Watches;

pub use crate::deliver::{BadSetting, LAUNCH, hindrance, launch};
pub use crate::driver::examine::{Examination, examine};
pub use crate::watch::{BadWatch, Preview};

/// How long attempts under way may take to end when the server stops.
const LAST_ATTEMPTS: Duration = Duration::from_secs(20);
/// Files that the process may have open, if the system lets it.
const FILES: u64 = 262_144;
/// Threads that serve requests and targets; the driver, the journal and the archive have their own.
const WORKERS: usize = 2;

/// Finds what can be found wrong in the settings without the directory, a database or the network.
pub fn check(settings: &Settings) -> Result<(), BadSetting> {
    deliver::check(&deliver_settings(settings))
}

/// What every watch of the configuration would do, or why it could not.
pub fn preview_watches(
    settings: &Settings,
) -> anyhow::Result<Vec<(QueueName, Result<Preview, String>)>> {
    let Settings { databases, watches, data, .. } = settings;
    Ok(briefly()?.block_on(crate::watch::preview(databases, watches, data, clock::wall())))
}

/// A configuration that watches this table; or why there is none.
pub fn draft_watch(settings: &Settings, dsn: &str, table: &str) -> anyhow::Result<String> {
    let database = settings.databases.values().next().context("no database is named")?;
    let drafted = briefly()?.block_on(crate::watch::draft(database, dsn, table));
    drafted.map_err(|why| anyhow::anyhow!(why))
}

/// A runtime for a question or two.
fn briefly() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a thread for the database")
}

/// Serves until the process is told to stop (SIGTERM or SIGINT). `beside` is served on the same
/// address as the API; `ready` is called once everything has started.
pub fn serve(
    settings: Settings,
    beside: Option<axum::Router>,
    ready: impl FnOnce(),
) -> anyhow::Result<ExitCode> {
    open_more_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("duly-worker")
        .enable_all()
        .build()
        .context("cannot start the threads that serve requests")?;
    runtime.block_on(async {
        let server = Server::start(settings, beside).await?;
        ready();
        told_to_stop().await?;
        tracing::info!("stopping");
        server.stop().await;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    })
}

/// Every connection is a file to the system, and its usual limit is meant for a person's shell.
fn open_more_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A server at work.
pub struct Server {
    handle: Handle,
    /// Where HTTP is listened to, with the port that was really taken.
    http: Option<SocketAddr>,
    /// Where the Redis protocol is spoken.
    redis: Option<SocketAddr>,
    /// The same for watch links alone.
    public: Option<SocketAddr>,
    stopping: watch::Sender<bool>,
    listening: Vec<task::JoinHandle<()>>,
    deliverers: Deliverers,
    outboxes: Outboxes,
    watches: Watches,
    driver: JoinHandle<()>,
}

impl Server {
    /// Starts everything.
    pub async fn start(settings: Settings, beside: Option<axum::Router>) -> anyhow::Result<Server> {
        let listener = listener_of(settings.http).await?;
        let redis_listeners = redis::Listeners::bind(&settings.redis).await?;
        let public_listener = listener_of(settings.public).await?;
        let metrics = Metrics::default();
        let running = open::open(
            &settings.data,
            &StoreSettings {
                segment_bytes: settings.journal.segment_size,
                reserve: settings.journal.reserve,
                keep_bytes: settings.journal.keep,
                events_bytes: usize::try_from(settings.events_keep).unwrap_or(usize::MAX),
            },
            settings.limits.clone(),
            match settings.clock {
                ClockSource::Machine => Clock::Machine,
                ClockSource::Manual => Clock::manual(),
            },
            metrics.clone(),
        )?;
        tokio::spawn(running.answers.share_out());
        let handle = Handle::new(running.door);
        declare(&handle, &settings).await?;
        let deliverers =
            Deliverers::start(handle.clone(), &deliver_settings(&settings), running.attempts)
                .await?;
        let desks = Desks::of(settings.watches.keys());
        let watches = Watches::start(
            &handle,
            &settings.data,
            &settings.databases,
            &settings.watches,
            &metrics,
            &desks,
        )
        .await?;
        let (stopping, stopped) = watch::channel(false);
        let outboxes = Outboxes::start(
            &settings.outboxes,
            &settings.databases,
            &settings.data,
            &carrying_out(&handle),
            metrics.outboxes(),
            &stopped,
        )
        .await?;
        let mut server = Server {
            handle,
            http: None,
            redis: None,
            public: None,
            stopping,
            listening: Vec::new(),
            deliverers,
            outboxes,
            watches,
            driver: running.ended,
        };
        let redis = settings.redis.clone();
        server.speak_redis(redis_listeners, redis, settings.tables(), &metrics, stopped.clone());
        let routers = http::routers(
            server.handle.clone(),
            HttpSettings {
                tables: settings.tables(),
                desks,
                link_secrets: link_secrets(&settings, running.secret),
                public_url: settings.links.public_url.clone(),
                public_streams: settings.public_streams,
                stopping: stopped.clone(),
            },
            metrics,
        );
        if let Some(listener) = listener {
            let address = listener.local_addr().context("the listener has no address")?;
            let router = beside.into_iter().fold(routers.api, axum::Router::merge);
            server.listening.push(tokio::spawn(http::serve(listener, router, stopped.clone())));
            server.http = Some(address);
            tracing::info!(http = %address, "listening");
        }
        if let Some(listener) = public_listener {
            let address = listener.local_addr().context("the listener has no address")?;
            let serving = http::serve_public(listener, routers.public, stopped);
            server.listening.push(tokio::spawn(serving));
            server.public = Some(address);
            tracing::info!(public = %address, "listening for watch links alone");
        }
        Ok(server)
    }

    fn speak_redis(
        &mut self,
        listeners: redis::Listeners,
        settings: Redis,
        tables: BTreeSet<String>,
        metrics: &Metrics,
        stopping: watch::Receiver<bool>,
    ) {
        self.redis = listeners.address();
        if let Some(address) = self.redis {
            tracing::info!(redis = %address, "listening");
        }
        if let Some(path) = &settings.unix {
            tracing::info!(redis = %path.display(), "listening");
        }
        let (handle, figures) = (self.handle.clone(), metrics.redis().clone());
        self.listening.push(tokio::spawn(async move {
            redis::serve(listeners, handle, &settings, tables, figures, stopping).await;
        }));
    }

    /// Where HTTP is listened to.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where the Redis protocol is spoken.
    pub fn redis(&self) -> Option<SocketAddr> {
        self.redis
    }

    /// Where watch links alone are served.
    pub fn public(&self) -> Option<SocketAddr> {
        self.public
    }

    /// The way to the engine, as every listener has it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops in order; everything that was answered is on the disk afterwards.
    pub async fn stop(self) {
        // The listener may have ended by itself, and then nobody hears it.
        self.stopping.send(true).unwrap_or_default();
        for listening in self.listening {
            if let Err(error) = listening.await {
                tracing::error!(%error, "a listener did not stop in order");
            }
        }
        self.outboxes.stopped().await;
        self.watches.stop().await;
        self.deliverers.stop(LAST_ATTEMPTS).await;
        self.handle.stop();
        let driver = self.driver;
        if task::spawn_blocking(move || driver.join()).await.is_err() {
            tracing::error!("the driver did not stop in order");
        }
    }
}

/// An outbox's rows mean what the lines of a batch mean.
fn carrying_out(handle: &Handle) -> Perform {
    let handle = handle.clone();
    Arc::new(move |lines| {
        let handle = handle.clone();
        Box::pin(async move { http::carry_out(&handle, &lines).await })
    })
}

async fn listener_of(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    Ok(Some(listener.with_context(|| format!("cannot listen on {address}"))?))
}

/// What links are signed with: the operator's secrets, or the directory's own.
fn link_secrets(settings: &Settings, own: [u8; 32]) -> Secrets {
    let given = settings.links.secrets.iter().map(|secret| secret.as_bytes().to_vec());
    let given: Vec<Vec<u8>> = given.collect();
    Secrets::new(if given.is_empty() { vec![own.to_vec()] } else { given })
}

/// Makes the engine's queues those of the configuration; a queue that is no longer declared stays
/// and may be changed over the API again.
async fn declare(handle: &Handle, settings: &Settings) -> anyhow::Result<()> {
    let put = |queue, policy: Policy, declared| Command::PutQueue {
        queue,
        policy: Box::new(policy),
        declared: Some(declared),
    };
    let mut wishes: Vec<(QueueName, Policy, bool)> = settings
        .queues
        .iter()
        .map(|(queue, policy)| (queue.clone(), policy.clone(), true))
        .collect();
    let Ok(Answer::Queues(known)) = handle.ask(Command::ListQueues).await else {
        bail!("the driver stopped while it was being started");
    };
    let declared: BTreeSet<_> = settings.queues.keys().collect();
    wishes.extend(
        known
            .into_iter()
            .filter(|known| known.declared && !declared.contains(&known.queue))
            .map(|known| (known.queue, known.policy, false)),
    );
    let names: Vec<QueueName> = wishes.iter().map(|(queue, _, _)| queue.clone()).collect();
    let commands =
        wishes.into_iter().map(|(queue, policy, declared)| put(queue, policy, declared)).collect();
    let Ok(answers) = handle.ask_all(commands).await else {
        bail!("the driver stopped while it was being started");
    };
    for (queue, answer) in names.into_iter().zip(answers) {
        if let Answer::Refused(refusal) = answer {
            let why = format!("is refused: {}", refusal.code());
            return Err(BadSetting { key: format!("queues.{queue}"), why }.into());
        }
    }
    Ok(())
}

fn deliver_settings(settings: &Settings) -> DeliverSettings {
    let loopback_only = settings.http.is_none_or(|address| address.ip().is_loopback());
    DeliverSettings {
        guard: Guard {
            allow_private: settings.webhook_allow_private,
            allow_loopback: loopback_only,
        },
        databases: settings.databases.clone(),
        sql: settings.sql.clone(),
        exec: settings.exec.clone(),
        publish: settings.publish.clone(),
    }
}
