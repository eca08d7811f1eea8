//! What the configuration lets one foresee, without asking anybody.

use std::path::Path;

use duly_engine::queue::{Policy, Target, Webhook};

use super::{Findings, Level};
use crate::config::{ClockSource, Database, Settings, Tls};
use crate::run::hindrance;

/// Looks over the settings, which are sound by themselves.
pub(super) fn look(settings: &Settings, findings: &mut Findings) {
    let about = "configuration";
    match settings.http {
        Some(address) => findings.add(Level::Good, about, format!("listens on {address}")),
        None => {
            findings.add(Level::Warning, about, "HTTP is off: nobody can ask this server anything");
        }
    }
    if settings.clock == ClockSource::Manual {
        findings.add(Level::Warning, about, "the clock is moved by hand: nothing lapses by itself");
    }
    for (name, database) in &settings.databases {
        look_at_database(name, database, findings);
    }
    for (name, action) in &settings.exec {
        let program = action.argv.first().map_or("", String::as_str);
        if let Some(why) = hindrance(Path::new(program)) {
            let text = format!("the command {name}, {program}, cannot be run: {why}");
            findings.add(Level::Warning, about, text);
        }
    }
    for (name, policy) in &settings.queues {
        look_at_queue(name.as_str(), policy, findings);
    }
}

fn look_at_database(name: &str, database: &Database, findings: &mut Findings) {
    let text = match database {
        Database::Sqlite(path) if !path.is_file() => {
            format!("the database {name}, {}, is not there", path.display())
        }
        Database::Mysql(reach) | Database::Postgres(reach)
            if reach.tls != Tls::Required && !reach.place.is_this_machine() =>
        {
            format!(
                "the database {name} may be reached without TLS: whoever is between can read and \
                 change what is asked; write tls=required"
            )
        }
        Database::Sqlite(_) | Database::Mysql(_) | Database::Postgres(_) => return,
    };
    findings.add(Level::Warning, "configuration", text);
}

fn look_at_queue(name: &str, policy: &Policy, findings: &mut Findings) {
    if let Target::Webhook(webhook) = &policy.target {
        look_at_webhook(name, webhook, findings);
    }
    if policy.payload_retention > policy.retention {
        let text = "payload_retention is longer than retention, which ends it";
        findings.add(Level::Note, name, text);
    }
}

/// Also for queues that the API made: what holds for a target holds wherever it was written.
pub(super) fn look_at_webhook(name: &str, webhook: &Webhook, findings: &mut Findings) {
    if webhook.secrets.is_empty() {
        let text = "its webhook has no secret: whoever knows the address can pretend to be Duly";
        findings.add(Level::Warning, name, text);
    }
    let host = webhook.url.strip_prefix("http://").map(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        host.strip_prefix('[').map_or_else(
            || host.split(':').next().unwrap_or_default(),
            |rest| rest.split(']').next().unwrap_or_default(),
        )
    });
    let is_here = |host: &str| host == "localhost" || host == "::1" || host.starts_with("127.");
    if host.is_some_and(|host| !is_here(host)) {
        let text = "its webhook is called without TLS: whoever is between can read the payloads";
        findings.add(Level::Warning, name, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn a_way_to_a_database_that_may_be_listened_to_is_named() {
        for (dsn, is_named) in [
            ("mysql://u:p@db.example/shop", false),
            ("mysql://u:p@db.example/shop?tls=preferred", true),
            ("postgres://u:p@db.example/shop?sslmode=disable", true),
            ("postgres://u:p@127.0.0.1/shop", false),
            ("postgres://u:p@/shop?host=/run/postgresql", false),
            ("sqlite:///no/such/file", true),
        ] {
            let text = format!("[databases.shop]\ndsn = \"{dsn}\"\n");
            let settings = Settings::parse("duly.toml", &text, &Environment::default(), &[]);
            let mut findings = Findings::default();
            look(&settings.expect("a good DSN"), &mut findings);
            let named = findings.0.iter().any(|finding| finding.text.contains("the database shop"));
            assert_eq!(named, is_named, "{dsn}");
            assert_eq!(findings.worst() == Level::Warning, is_named, "{dsn}");
        }
    }
}
