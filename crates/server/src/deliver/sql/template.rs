//! A statement as the operator wrote it, taken apart into text and parameters.
//!
//! No database takes `:payload.total` as a parameter's name, and each numbers its own in another
//! way, so a statement is read once into pieces and rendered for the database it is for. Strings,
//! quoted names and comments are passed over. What is found here is found at the start: a parameter
//! that does not exist, a second statement, a `COMMIT` that would break the transaction. Values
//! never become text: they are always bound.

use std::iter::Peekable;
use std::str::CharIndices;

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

/// A statement, taken apart.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// The different parameters, in the order in which they first occur.
    pub parameters: Vec<Parameter>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// An index into the parameters.
    Parameter(usize),
}

impl Template {
    /// Reads a statement.
    pub fn parse(statement: &str) -> Result<Template, String> {
        if statement.contains('\0') {
            // SQLite would take what stands before it for the whole statement.
            return Err("has a NUL character in it".to_owned());
        }
        let mut template = Template { pieces: Vec::new(), parameters: Vec::new() };
        let mut first_word = String::new();
        let mut ended = false;
        let mut chars = statement.char_indices().peekable();
        while let Some((start, char)) = chars.next() {
            let next = chars.peek().map(|&(_, char)| char);
            let comment = matches!((char, next), ('-', Some('-')) | ('/', Some('*')));
            if ended && !(comment || char.is_whitespace()) {
                return Err("holds more than one statement".to_owned());
            }
            match char {
                '\'' | '"' | '`' => skip_quoted(&mut chars, char)?,
                '[' => skip_quoted(&mut chars, ']')?,
                '-' if comment => while chars.next_if(|&(_, at)| at != '\n').is_some() {},
                '/' if comment => skip_comment(&mut chars)?,
                ':' if next == Some(':') => {
                    // A PostgreSQL cast.
                    chars.next();
                }
                // What no parameter is called may be one for a database: it would be bound to nothing.
                ':' if next.is_some_and(|next| {
                    next.is_alphanumeric() || next == '_' || !next.is_ascii()
                }) =>
                {
                    let parameter = template.named(&name(&mut chars))?;
                    template.pieces.push(Piece::Parameter(parameter));
                    continue;
                }
                '?' | '@' | '$' | '#' => {
                    return Err(format!("'{char}' is not understood; parameters are like :key"));
                }
                ';' => ended = true,
                _ if begins_name(char) => {
                    let rest = word(&mut chars);
                    if first_word.is_empty() {
                        first_word = format!("{char}{rest}").to_ascii_uppercase();
                    }
                }
                _ => {}
            }
            let end = chars.peek().map_or(statement.len(), |&(end, _)| end);
            template.text(&statement[start..end]);
        }
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
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// The index of the parameter of this name.
    fn named(&mut self, name: &str) -> Result<usize, String> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        let parameter = match (found, name.split_once('.')) {
            (Some((_, parameter)), _) => parameter.clone(),
            (None, None) if name == "payload" => Parameter::Payload(Vec::new()),
            (None, Some(("payload", path))) if path.split('.').all(|field| !field.is_empty()) => {
                Parameter::Payload(path.split('.').map(str::to_owned).collect())
            }
            _ => {
                let known: Vec<String> =
                    NAMED.iter().map(|(known, _)| format!(":{known}")).collect();
                let known = known.join(" ");
                return Err(format!(
                    "no parameter is called :{name}; there are {known} :payload.<field>"
                ));
            }
        };
        let known = self.parameters.iter().position(|known| *known == parameter);
        Ok(known.unwrap_or_else(|| {
            self.parameters.push(parameter);
            self.parameters.len() - 1
        }))
    }
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

/// Passes over what is quoted up to `end`; a doubled quote stands for itself and needs no care:
/// it reads as the end of one quotation and the beginning of the next.
fn skip_quoted(chars: &mut Chars<'_>, end: char) -> Result<(), String> {
    chars
        .by_ref()
        .find(|&(_, char)| char == end)
        .map(|_| ())
        .ok_or_else(|| format!("has a quotation without its closing {end}"))
}

fn skip_comment(chars: &mut Chars<'_>) -> Result<(), String> {
    chars.next();
    while let Some((_, char)) = chars.next() {
        if char == '*' && chars.next_if(|&(_, next)| next == '/').is_some() {
            return Ok(());
        }
    }
    Err("has a comment without its closing */".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(statement: &str) -> Result<String, String> {
        Template::parse(statement)
            .map(|template| template.render(|index| format!("?{}", index + 1)))
    }

    #[test]
    fn parameters_are_found_wherever_they_stand_and_nowhere_else() {
        for (statement, expected) in [
            ("UPDATE o SET a=:key", "UPDATE o SET a=?1"),
            (
                "UPDATE o SET a=:key, b=:payload.total WHERE c=:key AND d=:payload.a.b",
                "UPDATE o SET a=?1, b=?2 WHERE c=?1 AND d=?3",
            ),
            (
                "SELECT ':key', \":key\", `:key`, [:key], :key",
                "SELECT ':key', \":key\", `:key`, [:key], ?1",
            ),
            ("SELECT 'it''s :key', :key", "SELECT 'it''s :key', ?1"),
            ("SELECT 1 -- :key\n, :key", "SELECT 1 -- :key\n, ?1"),
            ("SELECT 1 -- ends in a comment :key", "SELECT 1 -- ends in a comment :key"),
            ("SELECT /* :key ' */ :key", "SELECT /* :key ' */ ?1"),
            ("SELECT /**/ :key /***/", "SELECT /**/ ?1 /***/"),
            ("SELECT a::text, 5-:attempt, 6/:attempt", "SELECT a::text, 5-?1, 6/?1"),
            ("SELECT (:key||:queue)", "SELECT (?1||?2)"),
            ("select :due,:due_ms,:lapsed_at,:lapsed_at_ms", "select ?1,?2,?3,?4"),
            ("SELECT :payload, ':', a:b", ""),
            (
                "  \n-- why\n/* what */ update o set x=1 ;  -- done ;",
                "  \n-- why\n/* what */ update o set x=1 ;  -- done ;",
            ),
            ("INSERT INTO größe VALUES (:payload.größe)", "INSERT INTO größe VALUES (?1)"),
            ("SELECT 'ends with a quoted colon:'", "SELECT 'ends with a quoted colon:'"),
        ] {
            match rendered(statement) {
                Ok(text) => assert_eq!(text, expected, "{statement}"),
                Err(why) => assert!(expected.is_empty(), "{statement}: {why}"),
            }
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
            ("UPDATE o SET a=?", "'?' is not understood"),
            ("UPDATE o SET a=$1", "'$' is not understood"),
            ("UPDATE o SET a=@key", "'@' is not understood"),
            ("UPDATE o SET a=#key", "'#' is not understood"),
            ("UPDATE o SET a=:5th", "no parameter is called :5th"),
            ("UPDATE o SET a=:\u{20ac}", "no parameter is called :"),
            ("UPDATE o SET a='open", "without its closing '"),
            ("UPDATE o SET a=\"open", "without its closing \""),
            ("UPDATE o SET a=1\0 WHERE b=:key", "a NUL character"),
            ("UPDATE o SET a=1 /* open", "without its closing */"),
            ("UPDATE o SET a=1 /*/", "without its closing */"),
        ] {
            let why = Template::parse(statement).expect_err(statement);
            assert!(why.contains(reason), "{statement}: {why}");
        }
    }
}
