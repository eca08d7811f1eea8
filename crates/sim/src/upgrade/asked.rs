//! What a server over a directory answers, as JSON.
//!
//! The clock is moved by hand and begins where the journal ends, which is in a year that no machine
//! shows: so nothing that is answered depends on when it is asked.

use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Context, anyhow};
use duly::client::Client;
use duly::config::{Environment, Flag, Settings};
use duly::run::Server;
use hyper::Method;
use serde_json::{Map, Value, json};

/// Asks everything there is to ask, in order: `METHOD PATH`, without a body.
pub(super) fn answers(data: &Path, questions: &[String]) -> anyhow::Result<Map<String, Value>> {
    let flag = |name, key, value: &str| Flag { name, key, value: value.to_owned() };
    let data = data.to_str().context("the path is text")?;
    let flags = [
        flag("--data", "data", data),
        flag("--http", "http.listen", "127.0.0.1:0"),
        flag("--redis", "redis.listen", "off"),
        flag("--clock", "clock.source", "manual"),
    ];
    let settings = "[journal]\nsegment_size = \"1MiB\"\n";
    let settings = Settings::parse("frozen", settings, &Environment::default(), &flags)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let server = Server::start(settings, None).await?;
        let address = server.http().context("it listens")?;
        let client = Client::new(&format!("http://{address}")).map_err(|why| anyhow!(why))?;
        let mut answers = Map::new();
        for question in questions {
            let (method, path) = question.split_once(' ').context("a method and a path")?;
            let answer = client.send(Method::from_str(method)?, path, "").await?;
            let said = json!({ "status": answer.status, "body": answer.json() });
            answers.insert(question.clone(), said);
        }
        server.stop().await;
        Ok(answers)
    })
}
