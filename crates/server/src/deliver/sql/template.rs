//! A statement as the operator wrote it, taken apart into text and parameters.
//!
//! No database takes `:payload.total` as a parameter's name, and each numbers its own in another
//! way, so a statement is read once into pieces and rendered for the database it is for. Strings,
//! quoted names and comments are passed over as that database reads them; where that depends on how
//! a server is set, the statement is refused, so that a parameter is never found inside a string.
//! What is found here is found at the start: a parameter that does not exist, a second statement, a
//! `COMMIT` that would break the transaction. Values never become text: they are always bound.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::database::Dialect;

/// What a statement may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// The caller's key.
    Key,
    /// The queue's name.
    Queue,
    /// The delivery's id.
    DeliveryId,
    /// When it was due, as the text of a date.
    Due,
    /// When it was due, in milliseconds since 1970.
    DueMs,
    /// When it lapsed, as the text of a date.
    LapsedAt,
    /// When it lapsed, in milliseconds since 1970.
    LapsedAtMs,
    /// The number of the attempt.
    Attempt,
    /// The payload, or the field that the path leads to.
    Payload(Vec<String>),
}

/// The parameters without a path, by name.
const NAMED: &[(&str, Parameter)] = &[
    ("key", Parameter::Key),
    ("queue", Parameter::Queue),
    ("delivery_id", Parameter::DeliveryId),
    ("due", Parameter::Due),
    ("due_ms", Parameter::DueMs),
    ("lapsed_at", Parameter::LapsedAt),
    ("lapsed_at_ms", Parameter::LapsedAtMs),
    ("attempt", Parameter::Attempt),
];

/// How a step may begin: what reads or changes rows, and can be undone with its transaction.
const STEPS: &[&str] = &["UPDATE", "INSERT", "DELETE", "REPLACE", "SELECT", "WITH"];

/// What changes rows, and may stand inside a `WITH`.
const CHANGES: &[&str] = &["UPDATE", "INSERT", "DELETE", "MERGE", "REPLACE"];

/// A statement, taken apart.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// The parameters in the order of their places, as often as they occur: beside one column the
    /// same value may have to be a number, beside another a text.
    pub parameters: Vec<Parameter>,
    /// Whether it can change no row.
    pub only_asks: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// An index into the parameters.
    Parameter(usize),
}

impl Template {
    /// Reads a statement as a database of that language reads it.
    pub fn parse(statement: &str, dialect: Dialect) -> Result<Template, String> {
        if statement.contains('\0') {
            // SQLite would take what stands before it for the whole statement.
            return Err("has a NUL character in it".to_owned());
        }
        let mut template = Template { pieces: Vec::new(), parameters: Vec::new(), only_asks: true };
        let mut first_word = String::new();
        let mut ended = false;
        let mut reader = Reader { statement, chars: statement.char_indices().peekable(), dialect };
        while let Some((start, char)) = reader.chars.next() {
            let is_comment = reader.passes_comment(start, char)?;
            if ended && !(is_comment || char.is_whitespace()) {
                return Err("holds more than one statement".to_owned());
            }
            if !is_comment && !reader.passes_quotation(start, char)? {
                match char {
                    ':' if reader.next_is(':') => {
                        // A PostgreSQL cast.
                        reader.chars.next();
                    }
                    // What no parameter is called may be one for a database: it would be bound to
                    // nothing.
                    ':' if reader.peek().is_some_and(|next| {
                        next.is_alphanumeric() || next == '_' || !next.is_ascii()
                    }) =>
                    {
                        let parameter = named(&name(&mut reader.chars))?;
                        template.pieces.push(Piece::Parameter(template.parameters.len()));
                        template.parameters.push(parameter);
                        continue;
                    }
                    // In PostgreSQL these are parts of operators.
                    '?' | '@' | '#' if dialect == Dialect::Postgres => {}
                    '?' | '@' | '$' | '#' => {
                        return Err(format!(
                            "'{char}' is not understood; parameters are like :key"
                        ));
                    }
                    ';' => ended = true,
                    _ if begins_name(char) => {
                        let rest = word(&mut reader.chars);
                        let word = format!("{char}{rest}").to_ascii_uppercase();
                        template.only_asks &= !CHANGES.contains(&word.as_str());
                        if first_word.is_empty() {
                            first_word = word;
                        }
                    }
                    _ => {}
                }
            }
            template.text(&statement[start..reader.at()]);
        }
        template.only_asks |= first_word == "SELECT";
        if STEPS.contains(&first_word.as_str()) {
            Ok(template)
        } else {
            Err(format!("begins with none of {}", STEPS.join(", ")))
        }
    }

    /// The statement for a database; `place` writes the parameter of that index.
    pub fn render(&self, place: impl Fn(usize) -> String) -> String {
        let pieces = self.pieces.iter();
        pieces
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Parameter(index) => place(*index),
            })
            .collect()
    }

    fn text(&mut self, text: &str) {
        if let Some(Piece::Text(before)) = self.pieces.last_mut() {
            before.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

/// The parameter of this name, which is written without its colon.
pub(in crate::deliver) fn named(name: &str) -> Result<Parameter, String> {
    let path = name.split_once('.');
    Ok(match (NAMED.iter().find(|(known, _)| *known == name), path) {
        (Some((_, parameter)), _) => parameter.clone(),
        (None, None) if name == "payload" => Parameter::Payload(Vec::new()),
        (None, Some(("payload", path))) if path.split('.').all(|field| !field.is_empty()) => {
            Parameter::Payload(path.split('.').map(str::to_owned).collect())
        }
        _ => {
            let known: Vec<String> = NAMED.iter().map(|(known, _)| format!(":{known}")).collect();
            let known = known.join(" ");
            return Err(format!(
                "no parameter is called :{name}; there are {known} :payload.<field>"
            ));
        }
    })
}

/// Passes over what is no part of the statement's structure.
struct Reader<'a> {
    statement: &'a str,
    chars: Chars<'a>,
    dialect: Dialect,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|&(_, char)| char)
    }

    fn next_is(&mut self, char: char) -> bool {
        self.peek() == Some(char)
    }

    /// Where reading goes on.
    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.statement.len(), |&(at, _)| at)
    }

    /// Was it the beginning of a comment? Then it has been passed over.
    fn passes_comment(&mut self, start: usize, char: char) -> Result<bool, String> {
        let rest = &self.statement[start..];
        let to_the_end_of_the_line = match (char, self.dialect) {
            ('-', Dialect::Mysql) => {
                // Without a space behind them these are two minus signs.
                rest.strip_prefix("--").is_some_and(|rest| {
                    rest.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
                })
            }
            ('-', _) => rest.starts_with("--"),
            ('#', Dialect::Mysql) => true,
            _ => false,
        };
        if to_the_end_of_the_line {
            let ends =
                |char: char| char == '\n' || (char == '\r' && self.dialect == Dialect::Postgres);
            while self.chars.next_if(|&(_, char)| !ends(char)).is_some() {}
            return Ok(true);
        }
        if !rest.starts_with("/*") {
            return Ok(false);
        }
        if self.dialect == Dialect::Mysql && (rest.starts_with("/*!") || rest.starts_with("/*M!")) {
            return Err("has a comment of the kind that is run: /*!".to_owned());
        }
        self.chars.next();
        let mut depth = 1;
        while depth > 0 {
            let Some((_, char)) = self.chars.next() else {
                return Err("has a comment without its closing */".to_owned());
            };
            if char == '*' && self.chars.next_if(|&(_, next)| next == '/').is_some() {
                depth -= 1;
            } else if self.dialect == Dialect::Postgres
                && char == '/'
                && self.chars.next_if(|&(_, next)| next == '*').is_some()
            {
                depth += 1;
            }
        }
        Ok(true)
    }

    /// Was it the beginning of a string or of a quoted name? Then it has been passed over.
    fn passes_quotation(&mut self, start: usize, char: char) -> Result<bool, String> {
        match (char, self.dialect) {
            ('\'' | '"', Dialect::Mysql) => self.skip_unambiguous(char)?,
            ('\'' | '"', _) | ('`', Dialect::Sqlite | Dialect::Mysql) => self.skip_quoted(char)?,
            ('[', Dialect::Sqlite) => self.skip_quoted(']')?,
            ('e' | 'E', Dialect::Postgres) if self.next_is('\'') => {
                self.chars.next();
                self.skip_escaped()?;
            }
            ('$', Dialect::Postgres) => self.skip_dollars(start)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Up to `end`; a doubled quote stands for itself and needs no care: it reads as the end of one
    /// quotation and the beginning of the next.
    fn skip_quoted(&mut self, end: char) -> Result<(), String> {
        let closed = self.chars.by_ref().any(|(_, char)| char == end);
        if closed { Ok(()) } else { Err(unclosed(end)) }
    }

    /// The same where the server's `sql_mode` says whether a backslash hides what follows it: a
    /// string that would end in two places is refused.
    fn skip_unambiguous(&mut self, end: char) -> Result<(), String> {
        let mut backslashes = 0_u32;
        for (_, char) in self.chars.by_ref() {
            if char == end && backslashes % 2 == 1 {
                return Err(format!(
                    "has a backslash before {end}, which means one thing or another by the \
                     server's sql_mode; write a quote in a string twice"
                ));
            }
            if char == end {
                return Ok(());
            }
            backslashes = if char == '\\' { backslashes + 1 } else { 0 };
        }
        Err(unclosed(end))
    }

    /// Up to the end of an `E'…'`, in which a backslash hides what follows it.
    fn skip_escaped(&mut self) -> Result<(), String> {
        while let Some((_, char)) = self.chars.next() {
            match char {
                '\\' => drop(self.chars.next()),
                '\'' if self.chars.next_if(|&(_, next)| next == '\'').is_none() => return Ok(()),
                _ => {}
            }
        }
        Err(unclosed('\''))
    }

    /// Up to the end of a `$tag$ … $tag$`.
    fn skip_dollars(&mut self, start: usize) -> Result<(), String> {
        let rest = &self.statement[start..];
        let is_tag = |tag: &str| {
            !tag.starts_with(|char: char| char.is_ascii_digit())
                && tag.chars().all(|char| char.is_alphanumeric() || char == '_')
        };
        let before = self.statement[..start].chars().next_back();
        let is_in_name = before.is_some_and(|char| char.is_alphanumeric() || "_$".contains(char));
        let tag = rest[1..].split_once('$').map(|(tag, _)| tag).filter(|tag| is_tag(tag));
        let (Some(tag), false) = (tag, is_in_name) else {
            return Err("'$' is not understood; parameters are like :key".to_owned());
        };
        let fence = &rest[..tag.len() + 2];
        let Some(length) = rest[fence.len()..].find(fence) else { return Err(unclosed('$')) };
        let end = start + fence.len() + length + fence.len();
        while self.chars.next_if(|&(at, _)| at < end).is_some() {}
        Ok(())
    }
}

fn unclosed(end: char) -> String {
    format!("has a quotation without its closing {end}")
}

type Chars<'a> = Peekable<CharIndices<'a>>;

fn begins_name(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

fn word(chars: &mut Chars<'_>) -> String {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    std::iter::from_fn(|| chars.next_if(|&(_, char)| part(char)).map(|(_, char)| char)).collect()
}

/// A parameter's name; after `payload` come dots and fields.
fn name(chars: &mut Chars<'_>) -> String {
    let mut name = word(chars);
    while chars.next_if(|&(_, char)| char == '.').is_some() {
        name.push('.');
        name.push_str(&word(chars));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{Mysql, Postgres, Sqlite};

    const ALL: [Dialect; 3] = [Sqlite, Mysql, Postgres];

    /// Every parameter is written as `?`.
    fn rendered(statement: &str, dialect: Dialect) -> Result<String, String> {
        Template::parse(statement, dialect).map(|template| template.render(|_| "?".to_owned()))
    }

    #[test]
    fn parameters_are_found_wherever_they_stand_and_nowhere_else() {
        for (statement, expected) in [
            ("UPDATE o SET a=:key", "UPDATE o SET a=?"),
            (
                "UPDATE o SET a=:key, b=:payload.total WHERE c=:key AND d=:payload.a.b",
                "UPDATE o SET a=?, b=? WHERE c=? AND d=?",
            ),
            ("SELECT ':key', \":key\", :key", "SELECT ':key', \":key\", ?"),
            ("SELECT 'it''s :key', :key", "SELECT 'it''s :key', ?"),
            ("SELECT 1 -- :key\n, :key", "SELECT 1 -- :key\n, ?"),
            ("SELECT 1 -- ends in a comment :key", "SELECT 1 -- ends in a comment :key"),
            ("SELECT /* :key ' */ :key", "SELECT /* :key ' */ ?"),
            ("SELECT /**/ :key /***/", "SELECT /**/ ? /***/"),
            ("SELECT a::text, 5-:attempt, 6/:attempt", "SELECT a::text, 5-?, 6/?"),
            ("SELECT (:key||:queue)", "SELECT (?||?)"),
            ("select :due,:due_ms,:lapsed_at,:lapsed_at_ms", "select ?,?,?,?"),
            ("SELECT :payload, ':', a:b", ""),
            (
                "  \n-- why\n/* what */ update o set x=1 ;  -- done ;",
                "  \n-- why\n/* what */ update o set x=1 ;  -- done ;",
            ),
            ("INSERT INTO größe VALUES (:payload.größe)", "INSERT INTO größe VALUES (?)"),
            ("SELECT 'ends with a quoted colon:'", "SELECT 'ends with a quoted colon:'"),
        ] {
            for dialect in ALL {
                match rendered(statement, dialect) {
                    Ok(text) => assert_eq!(text, expected, "{dialect:?}: {statement}"),
                    Err(why) => assert!(expected.is_empty(), "{dialect:?}: {statement}: {why}"),
                }
            }
        }
    }

    #[test]
    fn each_database_is_read_as_it_reads() {
        for (dialect, statement, expected) in [
            (Sqlite, "SELECT [:key], `:key`, :key", "SELECT [:key], `:key`, ?"),
            (Sqlite, r"SELECT 'a\', :key", r"SELECT 'a\', ?"),
            (Sqlite, "SELECT 1 --:key\n, :key", "SELECT 1 --:key\n, ?"),
            (Mysql, "SELECT `:key`, a[:key", "SELECT `:key`, a[?"),
            (Mysql, "SELECT 1 # :key '\n, :key", "SELECT 1 # :key '\n, ?"),
            (Mysql, "SELECT 5--:attempt", "SELECT 5--?"),
            (Mysql, "SELECT 1 --\t:key\n, :key", "SELECT 1 --\t:key\n, ?"),
            (Mysql, r"SELECT 'a\\', :key", r"SELECT 'a\\', ?"),
            (Mysql, r"SELECT '\n:key', :key", r"SELECT '\n:key', ?"),
            (
                Mysql,
                "SELECT /*+ MAX_EXECUTION_TIME(5) */ :key",
                "SELECT /*+ MAX_EXECUTION_TIME(5) */ ?",
            ),
            (Mysql, "SELECT /* /* :key */ :key", "SELECT /* /* :key */ ?"),
            (Postgres, "SELECT a[:attempt], :key::text", "SELECT a[?], ?::text"),
            (Postgres, r"SELECT 'a\', :key", r"SELECT 'a\', ?"),
            (Postgres, r"SELECT E'a\':key', :key", r"SELECT E'a\':key', ?"),
            (Postgres, r"SELECT e'a\\', :key", r"SELECT e'a\\', ?"),
            (Postgres, "SELECT E'it''s :key', :key", "SELECT E'it''s :key', ?"),
            (Postgres, r"SELECT some'a\', :key", r"SELECT some'a\', ?"),
            (Postgres, "SELECT $$:key'$$, :key", "SELECT $$:key'$$, ?"),
            (Postgres, "SELECT $a$ $b$ :key $$ $a$, :key", "SELECT $a$ $b$ :key $$ $a$, ?"),
            (Postgres, "SELECT /* /* :key */ :key */ :key", "SELECT /* /* :key */ :key */ ?"),
            (Postgres, "SELECT 1 -- :key\r, :key", "SELECT 1 -- :key\r, ?"),
            (
                Postgres,
                "SELECT a #>> '{b}', c ? :key, d @> :payload",
                "SELECT a #>> '{b}', c ? ?, d @> ?",
            ),
        ] {
            let text = rendered(statement, dialect);
            assert_eq!(text.as_deref(), Ok(expected), "{dialect:?}: {statement}");
        }
    }

    #[test]
    fn a_statement_that_cannot_be_a_step_is_refused_with_the_reason() {
        for (statement, reason) in [
            ("", "begins with none of"),
            ("-- nothing", "begins with none of"),
            ("COMMIT", "begins with none of"),
            ("begin; UPDATE o SET a=1", "more than one"),
            ("PRAGMA journal_mode=off", "begins with none of"),
            ("ATTACH 'x' AS y", "begins with none of"),
            ("DROP TABLE orders", "begins with none of"),
            ("UPDATE o SET a=1; COMMIT", "more than one"),
            ("UPDATE o SET a=1; :key", "more than one"),
            ("UPDATE o SET a=1; 'x'", "more than one"),
            ("UPDATE o SET a=:id", "no parameter is called :id"),
            ("UPDATE o SET a=:payload.", "no parameter is called :payload."),
            ("UPDATE o SET a=:payload.a..b", "no parameter is called :payload.a..b"),
            ("UPDATE o SET a=:key.b", "no parameter is called :key.b"),
            ("UPDATE o SET a=$1", "'$' is not understood"),
            ("UPDATE o SET a=:5th", "no parameter is called :5th"),
            ("UPDATE o SET a=:\u{20ac}", "no parameter is called :"),
            ("UPDATE o SET a='open", "without its closing '"),
            ("UPDATE o SET a=\"open", "without its closing \""),
            ("UPDATE o SET a=1\0 WHERE b=:key", "a NUL character"),
            ("UPDATE o SET a=1 /* open", "without its closing */"),
            ("UPDATE o SET a=1 /*/", "without its closing */"),
        ] {
            for dialect in ALL {
                let why = Template::parse(statement, dialect).expect_err(statement);
                assert!(why.contains(reason), "{dialect:?}: {statement}: {why}");
            }
        }
        for (dialect, statement, reason) in [
            (Sqlite, "UPDATE o SET a=?", "'?' is not understood"),
            (Sqlite, "UPDATE o SET a=@key", "'@' is not understood"),
            (Sqlite, "UPDATE o SET a=#key", "'#' is not understood"),
            (Mysql, "UPDATE o SET a=?", "'?' is not understood"),
            (Mysql, "UPDATE o SET a=@key", "'@' is not understood"),
            (Mysql, r"UPDATE o SET a='\':key'", "a backslash before '"),
            (Mysql, r#"UPDATE o SET a="\\\"""#, "a backslash before \""),
            (Mysql, "UPDATE o SET a=1 /*!50000 , b=:key */", "a comment of the kind that is run"),
            (Mysql, "UPDATE o SET a=1 /*M!100100 , b=2 */", "a comment of the kind that is run"),
            (Mysql, "UPDATE o SET a=1; # done\n x", "more than one"),
            (Postgres, "UPDATE o SET a=$a$ open $b$", "without its closing $"),
            (Postgres, "UPDATE o SET a=b$c$ :key $c$", "'$' is not understood"),
            (Postgres, r"UPDATE o SET a=E'open\'", "without its closing '"),
            (Postgres, "UPDATE o SET a=1 /* /* */", "without its closing */"),
        ] {
            let why = Template::parse(statement, dialect).expect_err(statement);
            assert!(why.contains(reason), "{dialect:?}: {statement}: {why}");
        }
    }

    #[test]
    fn what_may_change_rows_is_told_from_what_only_asks() {
        for (statement, only_asks) in [
            ("SELECT 1 FROM o WHERE id=:key", true),
            ("SELECT 1 FROM o WHERE id=:key FOR UPDATE", true),
            ("WITH x AS (SELECT 'UPDATE') SELECT 1 FROM x", true),
            ("WITH x AS (DELETE FROM o RETURNING id) SELECT 1 FROM x", false),
            ("DELETE FROM o", false),
            ("INSERT INTO o SELECT 1", false),
        ] {
            for dialect in ALL {
                let template = Template::parse(statement, dialect).expect(statement);
                assert_eq!(template.only_asks, only_asks, "{dialect:?}: {statement}");
            }
        }
    }
}
