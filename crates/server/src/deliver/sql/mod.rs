//! Guarded statements in the shop's own database.
//!
//! What may be run is named in the operator's configuration and nowhere else; a queue's policy only
//! names it. The first step is the guard (`UPDATE … WHERE status='unpaid'`): when it meets no row,
//! the order was paid and nothing else happens. Here is what is the same for every database:
//! settings, statements, waiting. One file a database does the rest; `SQLite` is the first.

mod sqlite;
mod template;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use duly_engine::command::Verdict;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::sqlite::Patience;
pub use self::template::{Parameter, Template};
use super::failure::retry;
use super::{BadSetting, Delivery};
use crate::config::{Database, SqlAction};

/// An attempt is over by then, the wait for its turn included; work nobody waits for is not begun.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Attempts that wait in front of one database; more wait in their tasks.
const WAITING: usize = 64;

/// A checked action.
#[derive(Debug)]
struct Action {
    steps: Vec<Statement>,
    applied: Option<Statement>,
}

/// A statement and where it stands in the configuration.
#[derive(Debug)]
struct Statement {
    setting: String,
    template: Template,
}

/// One attempt on its way to a database; the verdicts come back in the order of the deliveries.
struct Request {
    action: Arc<Action>,
    deliveries: Vec<Delivery>,
    reply: oneshot::Sender<Vec<Verdict>>,
}

/// All actions and the way to the database of each.
pub(super) struct Databases {
    actions: HashMap<String, (Arc<Action>, mpsc::Sender<Request>)>,
}

impl Databases {
    /// Checks every statement, as far as its database can be reached, and starts a worker for each.
    pub(super) fn start(
        databases: &BTreeMap<String, Database>,
        settings: &BTreeMap<String, SqlAction>,
    ) -> Result<Databases, BadSetting> {
        Databases::start_with(databases, settings, Patience::default())
    }

    fn start_with(
        databases: &BTreeMap<String, Database>,
        settings: &BTreeMap<String, SqlAction>,
        patience: Patience,
    ) -> Result<Databases, BadSetting> {
        let mut of_database: BTreeMap<&str, Vec<(String, Arc<Action>)>> = BTreeMap::new();
        for (name, action) in settings {
            if !databases.contains_key(&action.database) {
                let why = format!("there is no [databases.{}]", action.database);
                return Err(BadSetting { key: format!("sql.{name}.database"), why });
            }
            let checked = Arc::new(read(name, action)?);
            of_database.entry(&action.database).or_default().push((name.clone(), checked));
        }
        let mut actions = HashMap::new();
        for (name, database) in databases {
            let own = of_database.remove(name.as_str()).unwrap_or_default();
            let checked: Vec<&Action> = own.iter().map(|(_, action)| &**action).collect();
            let worker = match database {
                Database::Sqlite(path) => sqlite::start(name, path.clone(), patience, &checked)?,
            };
            actions.extend(own.into_iter().map(|(name, action)| (name, (action, worker.clone()))));
        }
        Ok(Databases { actions })
    }

    /// Hands lapses to the named action in one transaction; one verdict each, in their order.
    pub(super) async fn attempt(&self, name: &str, deliveries: Vec<Delivery>) -> Vec<Verdict> {
        let number = deliveries.len();
        let all = |error: &str| vec![retry(error); number];
        let Some((action, worker)) = self.actions.get(name) else {
            return all(&format!("unknown_action: the configuration has no [sql.{name}]"));
        };
        let (reply, verdicts) = oneshot::channel();
        let request = Request { action: Arc::clone(action), deliveries, reply };
        let asked = async {
            worker.send(request).await.ok()?;
            verdicts.await.ok()
        };
        match timeout(ATTEMPT, asked).await {
            Ok(Some(verdicts)) => verdicts,
            Ok(None) => all("database: its worker has stopped"),
            Err(_) => all("timeout: the database did not answer within 30s"),
        }
    }
}

/// Reads every statement; asks no database.
pub(super) fn check(settings: &BTreeMap<String, SqlAction>) -> Result<(), BadSetting> {
    settings.iter().try_for_each(|(name, action)| read(name, action).map(drop))
}

/// Reads the statements of an action.
fn read(name: &str, action: &SqlAction) -> Result<Action, BadSetting> {
    let statement = |setting: String, text: &str| match Template::parse(text) {
        Ok(template) => Ok(Statement { setting, template }),
        Err(why) => Err(BadSetting { key: setting, why }),
    };
    if action.steps.is_empty() {
        let why = "needs at least one statement, the guard".to_owned();
        return Err(BadSetting { key: format!("sql.{name}.steps"), why });
    }
    let steps = action.steps.iter().enumerate();
    let steps = steps.map(|(index, text)| statement(format!("sql.{name}.steps[{index}]"), text));
    let applied = action.applied.as_deref();
    let applied = applied.map(|text| statement(format!("sql.{name}.applied"), text));
    Ok(Action { steps: steps.collect::<Result<_, _>>()?, applied: applied.transpose()? })
}
