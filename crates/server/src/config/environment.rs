//! The environment, read once.
//!
//! `DULY_DATA`, `DULY_HTTP_LISTEN` and so on stand for the keys `data`, `http.listen`; a few other
//! variables steer the command line. What is found here is handed on as a value, so that nothing
//! else in the program depends on the surroundings and tests can bring their own.

use std::collections::BTreeMap;

/// What the surroundings say.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// What the process was started with. Variables that are not text are not seen.
    pub fn of_the_process() -> Environment {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Names of variables that look like settings of ours.
    pub(super) fn ours(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| name.starts_with("DULY_"))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Environment {
        Environment { variables: variables.into_iter().collect() }
    }
}
