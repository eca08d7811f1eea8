//! Lapses on their way to real targets, through the whole server.
//!
//! The clock is moved by hand, so thirty minutes pass at once; the sockets, the journal and the
//! shop's database are real. What a target may answer and what becomes of it is tested beside the
//! deliverers; here is what only the whole can show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use duly::config::{ClockSource, Database, Journal, Redis, Settings, SqlAction};
use duly::run::Server;
use duly_engine::answer::Answer;
use duly_engine::command::{Address, Command, Schedule, When};
use duly_engine::deadline::{Deadline, Delivery, DeliveryState, Payload, PayloadKind};
use duly_engine::id::{Key, QueueName};
use duly_engine::limits::Limits;
use duly_engine::queue::{Policy, Target, Webhook};
use duly_engine::time::Span;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A webhook request that waits for its answer.
struct Heard {
    id: String,
    body: Value,
    answer: oneshot::Sender<u16>,
}

/// A webhook receiver: every request is shown to the test, which says how to answer it.
struct Receiver {
    port: u16,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Receiver {
    async fn listen() -> Receiver {
        let (tell, heard) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let router = Router::new().fallback(hear).with_state(tell);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { port, heard }
    }

    async fn hear(&mut self) -> Heard {
        self.heard.recv().await.expect("the receiver listens until the test ends")
    }

    fn target(&self, batch: u32) -> Target {
        Target::Webhook(Webhook {
            url: format!("http://127.0.0.1:{}/lapsed", self.port),
            secrets: vec!["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz".to_owned()],
            batch,
            timeout: Span::from_mins(1),
        })
    }
}

async fn hear(
    State(tell): State<mpsc::UnboundedSender<Heard>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let id = headers["webhook-id"].to_str().expect("an id is ASCII").to_owned();
    let body = serde_json::from_str(&body).expect("a body is JSON");
    let (answer, answered) = oneshot::channel();
    tell.send(Heard { id, body, answer }).unwrap_or_default();
    // A test that drops the request without an answer wants the server to fail.
    let status = answered.await.unwrap_or(500);
    StatusCode::from_u16(status).expect("a status")
}

/// A server in a folder of its own.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Place {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("duly-it-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("a folder of one's own");
        Place { folder }
    }

    /// Starts a server whose queues have these targets.
    async fn start(&self, targets: &[(&str, Target)]) -> Server {
        let policy = |target: &Target| Policy {
            default_delay: Some(Span::from_mins(30)),
            target: target.clone(),
            ..Policy::default()
        };
        let action = SqlAction {
            place: "sql.cancel".to_owned(),
            database: "shop".to_owned(),
            steps: vec![
                "UPDATE orders SET status='cancelled', by=:delivery_id
                 WHERE id=:key AND status='unpaid'"
                    .to_owned(),
                "UPDATE stock SET n = n + :payload.n".to_owned(),
            ],
            applied: None,
        };
        let settings = Settings {
            data: self.folder.join("data"),
            http: Some(([127, 0, 0, 1], 0).into()),
            redis: Redis { listen: None, ..Redis::default() },
            clock: ClockSource::Manual,
            journal: Journal { segment_size: 1 << 20, ..Settings::default().journal },
            databases: BTreeMap::from([("shop".to_owned(), Database::Sqlite(self.shop()))]),
            sql: BTreeMap::from([("cancel".to_owned(), action)]),
            queues: targets.iter().map(|(name, target)| (queue(name), policy(target))).collect(),
            ..Settings::default()
        };
        Server::start(settings, None).await.expect("a server that starts")
    }

    fn shop(&self) -> PathBuf {
        self.folder.join("shop.db")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left behind in the system's folder for temporary files harms nobody.
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a good name")
}

fn at(name: &str, key: &str) -> Address {
    Address { queue: queue(name), key: Key::new(key).expect("a good key") }
}

async fn schedule(server: &Server, name: &str, key: &str, payload: &str) {
    let payload = Payload { kind: PayloadKind::Json, bytes: payload.as_bytes().into() };
    let command = Command::Schedule(Schedule {
        payload: Some(payload),
        ..Schedule::new(at(name, key), When::Default)
    });
    let answer = server.handle().ask(command).await.expect("a driver at work");
    assert!(matches!(answer, Answer::Scheduled { created: true, .. }), "{answer:?}");
}

async fn get(server: &Server, name: &str, key: &str) -> Deadline {
    let answer = server.handle().ask(Command::Get(at(name, key))).await.expect("a driver at work");
    let Answer::Deadline(deadline) = answer else { panic!("{answer:?}") };
    *deadline
}

/// Waits until the delivery is in this state.
async fn until(server: &Server, name: &str, key: &str, state: DeliveryState) -> Delivery {
    loop {
        let delivery = get(server, name, key).await.delivery;
        match delivery {
            Some(delivery) if delivery.state == state => return delivery,
            _ => tokio::task::yield_now().await,
        }
    }
}

fn pass(server: &Server, span: Span) {
    server.handle().advance_clock(span).expect("the clock is moved by hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_webhook_is_tried_again_under_the_same_id_until_it_is_done() {
    let place = Place::new();
    let mut receiver = Receiver::listen().await;
    let server = place.start(&[("orders", receiver.target(1))]).await;
    schedule(&server, "orders", "42", r#"{"total":19.90}"#).await;
    pass(&server, Span::from_mins(30));
    let first = receiver.hear().await;
    assert_eq!(first.body["data"]["key"], "42");
    assert_eq!(first.body["data"]["payload"], json!({"total": 19.9}));
    first.answer.send(503).expect("the request waits");
    let failed = until(&server, "orders", "42", DeliveryState::Ready).await;
    assert_eq!(failed.last_error.as_deref(), Some("status: answered 503 Service Unavailable"));
    pass(&server, Span::from_secs(6));
    let second = receiver.hear().await;
    assert_eq!((&second.id, &second.body["data"]["attempt"]), (&first.id, &json!(2)));
    second.answer.send(204).expect("the request waits");
    let done = until(&server, "orders", "42", DeliveryState::Done).await;
    assert_eq!((done.id.to_string(), done.attempts), (first.id, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_acts_in_the_shops_database() {
    let place = Place::new();
    let shop = rusqlite::Connection::open(place.shop()).expect("a new file");
    shop.execute_batch(
        "CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT, by TEXT);
         CREATE TABLE stock (n INTEGER NOT NULL);
         INSERT INTO orders (id, status) VALUES (1, 'unpaid'), (2, 'paid');
         INSERT INTO stock VALUES (10);",
    )
    .expect("good statements");
    let target = Target::Sql { name: "cancel".to_owned(), batch: 10 };
    let server = place.start(&[("orders", target)]).await;
    for (key, payload) in [("1", r#"{"n":3}"#), ("2", r#"{"n":3}"#)] {
        schedule(&server, "orders", key, payload).await;
    }
    pass(&server, Span::from_mins(30));
    let done = until(&server, "orders", "1", DeliveryState::Done).await;
    until(&server, "orders", "2", DeliveryState::Superseded).await;
    let found: (String, String, i64) = shop
        .query_one("SELECT status, by, n FROM orders, stock WHERE id='1'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("one row");
    assert_eq!(found, ("cancelled".to_owned(), done.id.to_string(), 13));
    server.stop().await;
}

/// The target of the queue `quick` hears and answers a hundred, and all of them are done.
async fn hundred_are_done(quick: &mut Receiver, server: &Server) {
    for _ in 0..100 {
        quick.hear().await.answer.send(200).expect("the request waits");
    }
    for number in 0..100 {
        until(server, "quick", &number.to_string(), DeliveryState::Done).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_hurts_only_its_own_queue() {
    let place = Place::new();
    let (mut hanging, mut quick) = (Receiver::listen().await, Receiver::listen().await);
    let targets = [("hanging", hanging.target(1)), ("quick", quick.target(1))];
    let server = place.start(&targets).await;
    for number in 0..100 {
        schedule(&server, "hanging", &number.to_string(), "null").await;
        schedule(&server, "quick", &number.to_string(), "null").await;
    }
    pass(&server, Span::from_mins(30));
    // As many as the queue may have under way, and none of them is ever answered.
    let mut unanswered = Vec::new();
    for _ in 0..Policy::default().concurrency {
        unanswered.push(hanging.hear().await);
    }
    hundred_are_done(&mut quick, &server).await;
    assert!(hanging.heard.try_recv().is_err(), "more were under way than the queue allows");
    drop(unanswered);
    drop(hanging);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_with_large_batches_leaves_room_to_others() {
    let place = Place::new();
    let (mut hanging, mut quick) = (Receiver::listen().await, Receiver::listen().await);
    let targets = [("hanging", hanging.target(1_000)), ("quick", quick.target(1))];
    let server = place.start(&targets).await;
    // More than the server holds in all, so that nothing is left unless it is kept for others.
    let after = |name: &str, number: usize, delay| {
        Command::Schedule(Schedule::new(at(name, &number.to_string()), When::After(delay)))
    };
    let half_an_hour = Span::from_mins(30);
    let many = 2 * Limits::default().max_attempts_under_way;
    let all = (0..many).map(|number| after("hanging", number, half_an_hour));
    let later =
        (0..100).map(|number| after("quick", number, half_an_hour.plus(Span::from_secs(1))));
    server.handle().ask_all(all.chain(later).collect()).await.expect("a driver at work");
    pass(&server, half_an_hour);
    let unanswered = hanging.hear().await;
    pass(&server, Span::from_secs(1));
    hundred_are_done(&mut quick, &server).await;
    assert!(!unanswered.answer.is_closed(), "the others had to wait until it was given up");
    drop((unanswered, hanging));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_hears_the_answers_that_are_on_their_way() {
    let place = Place::new();
    let mut receiver = Receiver::listen().await;
    let targets = [("orders", receiver.target(1))];
    let server = place.start(&targets).await;
    schedule(&server, "orders", "42", "null").await;
    pass(&server, Span::from_mins(30));
    let heard = receiver.hear().await;
    let stopping = tokio::spawn(server.stop());
    heard.answer.send(200).expect("the request waits");
    stopping.await.expect("a stop in order");
    let server = place.start(&targets).await;
    let delivery = get(&server, "orders", "42").await.delivery.expect("it has lapsed");
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Done, 1));
    server.stop().await;
}
