//! What a server that runs says about itself.

use duly_engine::time::Span;
use hyper::Method;
use serde_json::Value;

use super::{Findings, Level};
use crate::cli::show;
use crate::client::Client;
use crate::config::Settings;

/// A queue whose workers were silent for so long has none.
const WORKED_ON: Span = Span::from_mins(10);

/// Asks the server that uses the directory; false if there was no answer.
pub(super) fn ask(url: Option<&str>, settings: &Settings, findings: &mut Findings) -> bool {
    let about = "server";
    let Some(url) =
        url.map(str::to_owned).or_else(|| settings.http.map(|address| format!("http://{address}")))
    else {
        findings.add(Level::Warning, about, "HTTP is off: it cannot be asked");
        return false;
    };
    let client = match Client::new(&url) {
        Ok(client) => client,
        Err(why) => {
            findings.add(Level::Warning, about, why);
            return false;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let said = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut said = Vec::new();
            for path in ["/readyz", "/v1/clock", "/v1/stats"] {
                said.push(client.send(Method::GET, path, "").await.map_err(|no| no.to_string())?);
            }
            Ok(said)
        }),
        Err(error) => Err(error.to_string()),
    };
    let said = match said {
        Ok(said) => said,
        Err(why) => {
            findings.add(Level::Warning, about, format!("{why}; --url names it"));
            return false;
        }
    };
    let (ready, clock, stats) = (said[0].json(), said[1].json(), said[2].json());
    match show::string(&ready, "/detail") {
        None if said[0].is_success() => findings.add(Level::Good, about, format!("ready at {url}")),
        why => {
            let why = why.unwrap_or_else(|| format!("it answered {}", said[0].status));
            findings.add(Level::Warning, about, format!("not ready: {why}"));
        }
    }
    clock_is(&clock, findings);
    for queue in stats["queues"].as_array().into_iter().flatten() {
        queue_is(queue, &stats, findings);
    }
    true
}

fn clock_is(clock: &Value, findings: &mut Findings) {
    match show::string(clock, "/clock/guard") {
        Some(reason) => {
            let text = format!("the clock guard is up ({reason}): lapsing is withheld");
            findings.add(Level::Warning, "clock", text);
        }
        None => findings.add(Level::Good, "clock", "trusted"),
    }
}

fn queue_is(queue: &Value, stats: &Value, findings: &mut Findings) {
    let name = show::string(queue, "/name").unwrap_or_default();
    let count = |place: &str| queue.pointer(place).and_then(Value::as_u64).unwrap_or(0);
    let (pending, ready, dead) = (count("/now/pending"), count("/now/ready"), count("/now/dead"));
    findings.add(Level::Good, &name, format!("{pending} pending, {ready} ready, {dead} dead"));
    if dead > 0 {
        let text = format!("{dead} dead deliveries: `duly list {name} --delivery dead`");
        findings.add(Level::Warning, &name, text);
    }
    let silent = match (show::instant(stats, "/now"), show::instant(queue, "/last_leased_at")) {
        (Some(now), Some(leased)) => now.since(leased) > WORKED_ON,
        (_, leased) => leased.is_none(),
    };
    let is_pulled = show::string(queue, "/target").as_deref() == Some("pull");
    if is_pulled && silent && pending + ready > 0 {
        let text = "nobody acts: no worker has leased from it in ten minutes";
        findings.add(Level::Warning, &name, text);
    }
}
