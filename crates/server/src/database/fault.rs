//! What can go wrong with a database, sorted by what it means for whoever asked.
//!
//! Every database has hundreds of codes; those who ask need to know whose fault it is and whether
//! asking again may help. The sorting is a table for each database, beside its connection; the kinds
//! are here. Words are the database's own, without names of users, addresses and passwords.

use std::fmt;

/// Whose fault it is, and whether it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no connection, or it was lost. Whether a commit under way happened is unknown.
    Gone,
    /// The database refuses everybody for now: read-only, full, shutting down, out of connections,
    /// locked as a whole, a login that it does not take.
    Unavailable,
    /// Others were in the way and may not be the next time: deadlock, serialization failure, a row
    /// locked for too long. Whatever is unknown counts as this, too.
    Passing,
    /// It took longer than it may.
    Late,
    /// What the statement names is not there: a table, a column, a function. It may be under change.
    Missing,
    /// The statement cannot be: its syntax, or a permission that is not given.
    Statement,
    /// The values cannot be taken: a constraint, a range, a text that is no number.
    Value,
}

impl Trouble {
    /// Does it say, of a statement that was only read, that its text does not fit?
    pub fn is_of_the_text(self) -> bool {
        matches!(self, Trouble::Missing | Trouble::Statement | Trouble::Value)
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of it.
    pub trouble: Trouble,
    /// The database's words, without secrets.
    pub words: String,
}

impl Fault {
    pub(super) fn new(trouble: Trouble, words: impl Into<String>) -> Fault {
        Fault { trouble, words: words.into() }
    }

    pub(super) fn gone(words: impl Into<String>) -> Fault {
        Fault::new(Trouble::Gone, words)
    }

    /// The same without the name of the user, which servers put between quotation marks.
    pub(super) fn without(mut self, user: &str) -> Fault {
        if !user.is_empty() {
            for mark in ['\'', '"'] {
                self.words = self.words.replace(&format!("{mark}{user}{mark}"), "of Duly");
            }
        }
        self
    }

    pub(super) fn late() -> Fault {
        Fault::new(Trouble::Late, "the statements ran for too long and were stopped")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_user_is_in_no_words() {
        for (words, expected) in [
            ("too many connections for role \"duly\"", "too many connections for role of Duly"),
            ("User 'duly' has too many", "User of Duly has too many"),
            ("no table duly", "no table duly"),
        ] {
            assert_eq!(Fault::gone(words).without("duly").words, expected);
            assert_eq!(Fault::gone(words).without("").words, words);
        }
    }
}
