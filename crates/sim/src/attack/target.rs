//! The webhook's receiver, in the attacker's process: every request is evidence for the oracle.
//!
//! It outlives all the servers of an attack. One first attempt in ten it answers with 500, so that
//! there are second ones.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::Context;
use serde_json::{Value, json};

use super::moment::wall_ms;
use super::name::Name;
use super::oracle::{Handed, Harm, Oracle};
use super::wire::read_message;
use crate::dice::Dice;

/// What requests are signed with; the signature itself is proved elsewhere.
const SECRET: &str = "whsec_YW4gYXR0YWNrZXIncyBzZWNyZXQsIDMyIGJ5dGVzLi4=";

/// A receiver at work.
pub(super) struct Target {
    address: SocketAddr,
    arrivals: Arc<Arrivals>,
}

/// When each deadline's first request came, by the wall clock, and how many came in all.
#[derive(Default)]
struct Arrivals {
    first: Mutex<HashMap<Name, u64>>,
    count: AtomicU64,
}

impl Target {
    /// Listens for the rest of the process.
    pub(super) fn start(oracle: Arc<Oracle>) -> anyhow::Result<Target> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr().context("no free port")?;
        let arrivals = Arc::new(Arrivals::default());
        let told = Arc::clone(&arrivals);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (oracle, arrivals) = (Arc::clone(&oracle), Arc::clone(&told));
                // A caller that is killed in the middle of a request is part of the game.
                thread::spawn(move || drop(receive(stream, &oracle, &arrivals)));
            }
        });
        Ok(Target { address, arrivals })
    }

    /// A queue's target that leads here.
    pub(super) fn policy(&self) -> Value {
        let url = format!("http://{}/lapsed", self.address);
        json!({ "webhook": { "url": url, "secrets": [SECRET] } })
    }

    /// When the first request about a deadline came, by the wall clock.
    pub(super) fn arrived(&self, name: Name) -> Option<u64> {
        let first = self.arrivals.first.lock().expect("nothing panics while it is held");
        first.get(&name).copied()
    }

    /// How many requests came in.
    pub(super) fn received(&self) -> u64 {
        self.arrivals.count.load(Ordering::Relaxed)
    }
}

fn receive(mut stream: TcpStream, oracle: &Oracle, arrivals: &Arrivals) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_message(&mut stream, &mut buffer)? {
        let now = wall_ms();
        arrivals.count.fetch_add(1, Ordering::Relaxed);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let status = if let Some((name, handed)) = Handed::read(&body["data"]) {
            oracle.handed(name, &handed);
            let mut first = arrivals.first.lock().expect("nothing panics while it is held");
            first.entry(name).or_insert(now);
            if now < handed.due {
                oracle.harm(Harm::Early, name, "its webhook came before it was due");
            }
            if request.header("webhook-id") != Some(&handed.delivery) {
                oracle.harm(Harm::IdChanged, name, "its webhook-id is not the delivery's");
            }
            let fails = handed.attempt == 1 && Dice::new(!name.0).percent(10);
            if fails { "500 Internal Server Error" } else { "200 OK" }
        } else {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            oracle.found(Harm::Wrong, format!("a webhook nobody understands: {text}"));
            "400 Bad Request"
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
