//! Guarded statements in the shop's own database.
//!
//! What may be run is named in the operator's configuration and nowhere else; a queue's policy only
//! names it. The first step is the guard (`UPDATE … WHERE status='unpaid'`): when it meets no row,
//! the order was paid and nothing else happens. Here are the settings; `attempt` is one attempt,
//! `template` and `value` make statements and values of what the operator wrote and the caller gave.
//! Which database it is matters to nobody here but the reader of statements.

mod attempt;
mod template;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use duly_engine::command::Verdict;

use self::attempt::Desk;
pub(super) use self::template::named;
pub use self::template::{Parameter, Template};
pub(super) use self::value::text;
use super::failure::retry;
use super::{BadSetting, Delivery};
use crate::config::{Database, SqlAction};
use crate::database::{Connection, Dialect, Patience};

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
    /// As its database takes it.
    text: String,
    parameters: Vec<Parameter>,
}

/// All actions and the way to the database of each.
pub(super) struct Databases {
    actions: HashMap<String, (Action, Arc<Desk>)>,
}

impl Databases {
    /// Checks every statement, as far as its database can be reached.
    pub(super) async fn start(
        databases: &BTreeMap<String, Database>,
        settings: &BTreeMap<String, SqlAction>,
    ) -> Result<Databases, BadSetting> {
        Databases::start_with(databases, settings, Patience::default()).await
    }

    async fn start_with(
        databases: &BTreeMap<String, Database>,
        settings: &BTreeMap<String, SqlAction>,
        patience: Patience,
    ) -> Result<Databases, BadSetting> {
        let mut of_database: BTreeMap<&str, Vec<(&String, Action)>> = BTreeMap::new();
        for (name, action) in settings {
            let checked = read(action, databases)?;
            of_database.entry(&action.database).or_default().push((name, checked));
        }
        let mut actions = HashMap::new();
        for (name, own) in of_database {
            let database = &databases[name];
            let checked = own.iter().map(|(_, action)| action);
            prepare(name, database, patience, checked).await?;
            let desk = Arc::new(Desk::new(name, database.clone(), patience));
            actions.extend(
                own.into_iter().map(|(name, action)| (name.clone(), (action, Arc::clone(&desk)))),
            );
        }
        Ok(Databases { actions })
    }

    /// Hands lapses to the named action in one transaction; one verdict each, in their order.
    pub(super) async fn attempt(&self, name: &str, deliveries: &[Delivery]) -> Vec<Verdict> {
        let Some((action, desk)) = self.actions.get(name) else {
            let error = format!("unknown_action: the configuration has no [sql.{name}]");
            return vec![retry(&error); deliveries.len()];
        };
        desk.attempt(action, deliveries).await
    }
}

/// Lets the database read every statement. One that cannot be used now is no error: its deliveries
/// are retried until it can.
async fn prepare(
    name: &str,
    database: &Database,
    patience: Patience,
    actions: impl Iterator<Item = &Action>,
) -> Result<(), BadSetting> {
    let mut connection = match Connection::open(database, patience).await {
        Ok(connection) => connection,
        Err(fault) => {
            tracing::warn!(
                database = name,
                error = fault.words,
                "the database cannot be used yet; its deliveries are retried until it can"
            );
            return Ok(());
        }
    };
    for statement in actions.flat_map(Action::statements) {
        match connection.describe(&statement.text).await {
            Ok(_) => {}
            Err(fault) if fault.trouble.is_of_the_text() => {
                return Err(BadSetting { key: statement.setting.clone(), why: fault.words });
            }
            Err(fault) => tracing::warn!(
                database = name,
                setting = statement.setting,
                error = fault.words,
                "a statement could not be checked now"
            ),
        }
    }
    Ok(())
}

impl Action {
    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.steps.iter().chain(&self.applied)
    }
}

/// Reads every statement; asks no database.
pub(super) fn check(
    databases: &BTreeMap<String, Database>,
    settings: &BTreeMap<String, SqlAction>,
) -> Result<(), BadSetting> {
    settings.values().try_for_each(|action| read(action, databases).map(drop))
}

/// Reads the statements of an action.
fn read(action: &SqlAction, databases: &BTreeMap<String, Database>) -> Result<Action, BadSetting> {
    let place = &action.place;
    let bad = |key: String, why: String| Err(BadSetting { key, why });
    let Some(database) = databases.get(&action.database) else {
        let why = format!("there is no [databases.{}]", action.database);
        return bad(format!("{place}.database"), why);
    };
    if action.steps.is_empty() {
        let why = "needs at least one statement, the guard".to_owned();
        return bad(format!("{place}.steps"), why);
    }
    let dialect = Dialect::of(database);
    let template = |setting: &str, text: &str| match Template::parse(text, dialect) {
        Ok(template) => Ok(template),
        Err(why) => Err(BadSetting { key: setting.to_owned(), why }),
    };
    let statement = |setting: String, template: Template| Statement {
        setting,
        text: template.render(|index| dialect.place(index)),
        parameters: template.parameters,
    };
    let mut steps = Vec::with_capacity(action.steps.len());
    for (index, text) in action.steps.iter().enumerate() {
        let setting = format!("{place}.steps[{index}]");
        let template = template(&setting, text)?;
        steps.push(statement(setting, template));
    }
    let mut applied = None;
    if let Some(text) = &action.applied {
        let setting = format!("{place}.applied");
        let template = template(&setting, text)?;
        if !template.only_asks {
            return bad(setting, "changes rows; it must only ask".to_owned());
        }
        applied = Some(statement(setting, template));
    }
    Ok(Action { steps, applied })
}
