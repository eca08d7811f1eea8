//! What the shop asks of Duly: four calls of the public HTTP API.
//!
//! This is all that it takes to use Duly from a program. Answers are read as far as the shop needs
//! them; a refusal is handed on in Duly's own words.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};

/// The shop's queue.
pub(super) const QUEUE: &str = "orders";
/// The action that its lapses run.
pub(super) const ACTION: &str = "cancel-order";

/// The way to Duly.
#[derive(Clone, Debug)]
pub(super) struct Duly {
    client: Client,
}

/// Why Duly did not do it, for a person.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct No(pub(super) String);

impl Duly {
    /// A way to the server that `client` speaks to.
    pub(super) fn new(client: Client) -> Duly {
        Duly { client }
    }

    /// Order `id` is to be paid within `within`; answers the exact instant.
    pub(super) async fn schedule(
        &self,
        id: i64,
        product: &str,
        within: &str,
    ) -> Result<String, No> {
        let wish = json!({
            "after": within, "payload": { "product": product }, "if_exists": "replace"
        });
        let answer = self.ask(Method::PUT, &path(id, ""), wish.to_string()).await?;
        due(&answer["deadline"])
    }

    /// Orders `first` to `first + count - 1` are all to be paid by the same instant.
    pub(super) async fn schedule_all(
        &self,
        first: i64,
        count: i64,
        product: &str,
        due: &str,
    ) -> Result<(), No> {
        let mut lines = String::new();
        for id in first..first + count {
            let wish = json!({
                "op": "schedule", "queue": QUEUE, "key": id.to_string(), "due": due,
                "payload": { "product": product }, "if_exists": "replace"
            });
            writeln!(lines, "{wish}").expect("memory takes all text");
        }
        let answer = self.send(Method::POST, "/v1/batch", lines).await?;
        for line in String::from_utf8_lossy(&answer.body).lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            if line["deadline"].is_null() {
                return Err(problem(&line));
            }
        }
        Ok(())
    }

    /// The order ended by itself: it was paid, or its customer cancelled it.
    pub(super) async fn settle(&self, id: i64, outcome: &str) -> Result<(), No> {
        let wish = json!({ "outcome": outcome });
        self.ask(Method::POST, &path(id, "/settle"), wish.to_string()).await.map(drop)
    }

    /// The customer gets more time; answers the new instant.
    pub(super) async fn extend(&self, id: i64, by: &str) -> Result<String, No> {
        let wish = json!({ "by": by });
        let answer = self.ask(Method::POST, &path(id, "/extend"), wish.to_string()).await?;
        due(&answer["deadline"])
    }

    /// What time it is for Duly, which is what decides.
    pub(super) async fn now(&self) -> Result<String, No> {
        let answer = self.ask(Method::GET, "/v1/clock", String::new()).await?;
        text(&answer["clock"]["now"])
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, No> {
        Ok(self.send(method, path, body).await?.json())
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<Answer, No> {
        let answer =
            self.client.send(method, path, body).await.map_err(|away| No(away.to_string()))?;
        if answer.is_success() { Ok(answer) } else { Err(problem(&answer.json())) }
    }
}

fn path(id: i64, call: &str) -> String {
    format!("/v1/queues/{QUEUE}/deadlines/{id}{call}")
}

fn due(deadline: &Value) -> Result<String, No> {
    text(&deadline["due"])
}

fn text(value: &Value) -> Result<String, No> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| No("Duly's answer is not understood".to_owned()))
}

fn problem(problem: &Value) -> No {
    No(problem["title"].as_str().unwrap_or("Duly refused").to_owned())
}
