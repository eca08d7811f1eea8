//! `COMMAND`: the table of commands, told to clients.
//!
//! Libraries ask where keys stand and how many words there are, to route and to check before they
//! send; `redis-cli` asks for the manual, and shows it while somebody types. All of it is read from
//! the table, the arguments out of the usage that a person reads.

use super::table::{Keys, Row, TABLE, find};
use super::{Client, Next, No};
use crate::reading::Words;
use crate::reply::Reply;

/// The version that had all these commands first.
const SINCE: &str = "0.1.0";

/// `COMMAND [COUNT | LIST | INFO name… | DOCS name… | GETKEYS command…]`
pub(super) fn command(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    let Some(subcommand) = words.get(1) else {
        return Ok(Next::Say(Reply::List(TABLE.iter().map(described).collect())));
    };
    let named = || words.from(2).map(find);
    let said = match (subcommand.to_ascii_uppercase().as_slice(), words.len()) {
        (b"COUNT", 2) => Reply::count(TABLE.len()),
        (b"LIST", 2) => Reply::List(TABLE.iter().map(|row| Reply::text(&lower(row))).collect()),
        (b"INFO", 2) => Reply::List(TABLE.iter().map(described).collect()),
        (b"INFO", _) => {
            Reply::List(named().map(|row| row.map_or(Reply::NoList, described)).collect())
        }
        (b"DOCS", 2) => Reply::Map(TABLE.iter().map(documented).collect()),
        (b"DOCS", _) => Reply::Map(named().flatten().map(documented).collect()),
        (b"GETKEYS", 3..) => keys(words)?,
        (name, _) => {
            let known = ["COUNT", "DOCS", "GETKEYS", "INFO", "LIST"];
            return Err(No::subcommand("command", name, &known));
        }
    };
    Ok(Next::Say(said))
}

fn lower(row: &Row) -> String {
    row.name.to_ascii_lowercase()
}

/// Which words are keys: the first, the last counted from the end, and the step between.
fn places(row: &Row) -> [i64; 3] {
    match row.keys {
        Keys::Keyless => [0, 0, 0],
        Keys::First => [1, 1, 1],
        Keys::All => [1, -1, 1],
    }
}

fn described(row: &Row) -> Reply {
    let (fewest, most) = row.count.bounds();
    let words = i64::try_from(fewest).expect("it is a small number");
    let words = if fewest == most { words } else { -words };
    let [first, last, step] = places(row).map(Reply::Integer);
    let nothing = || Reply::List(Vec::new());
    Reply::List(vec![
        Reply::text(&lower(row)),
        Reply::Integer(words),
        Reply::Set(Vec::new()),
        first,
        last,
        step,
        Reply::Set(Vec::new()),
        nothing(),
        nothing(),
        nothing(),
    ])
}

fn documented(row: &Row) -> (Reply, Reply) {
    let arguments = Usage::read(row.usage);
    let told = vec![
        (Reply::Word("summary"), Reply::text(row.summary)),
        (Reply::Word("since"), Reply::text(SINCE)),
        (Reply::Word("group"), Reply::Word(row.group.word())),
        (Reply::Word("arguments"), Reply::List(arguments.iter().map(Argument::told).collect())),
    ];
    (Reply::text(&lower(row)), Reply::Map(told))
}

fn keys(words: &Words<'_>) -> Result<Reply, No> {
    let row = find(words.at(2)).ok_or_else(|| No::err("Invalid command specified"))?;
    if row.count.check(words.len() - 2, row.name).is_err() {
        return Err(No::err("Invalid number of arguments specified for command"));
    }
    let bulk = |key: &[u8]| Reply::Bulk(key.to_vec());
    match row.keys {
        Keys::Keyless => Err(No::err("The command has no key arguments")),
        Keys::First => Ok(Reply::List(words.from(3).take(1).map(bulk).collect())),
        Keys::All => Ok(Reply::List(words.from(3).map(bulk).collect())),
    }
}

/// What may stand behind a command's name, as clients read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Argument {
    name: String,
    /// The word before it.
    token: Option<String>,
    form: Form,
    may_be_left_out: bool,
    may_be_repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing but its word.
    Word,
    /// A value.
    Value,
    /// One of these.
    Choice(Vec<Argument>),
    /// These in order.
    Together(Vec<Argument>),
}

impl Argument {
    fn new(name: &str, form: Form) -> Argument {
        let (name, token) = (name.to_ascii_lowercase(), None);
        Argument { name, token, form, may_be_left_out: false, may_be_repeated: false }
    }

    fn told(&self) -> Reply {
        let (kind, of) = match &self.form {
            Form::Word => ("pure-token", None),
            Form::Value if self.name == "key" => ("key", None),
            Form::Value => ("string", None),
            Form::Choice(of) => ("oneof", Some(of)),
            Form::Together(of) => ("block", Some(of)),
        };
        let mut fields = vec![
            (Reply::Word("name"), Reply::text(&self.name)),
            (Reply::Word("type"), Reply::text(kind)),
        ];
        if of.is_none() && self.form == Form::Value {
            fields.push((Reply::Word("display_text"), Reply::text(&self.name)));
        }
        if let Some(token) = &self.token {
            fields.push((Reply::Word("token"), Reply::text(token)));
        }
        let flags = [(self.may_be_left_out, "optional"), (self.may_be_repeated, "multiple")];
        let flags: Vec<Reply> =
            flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| Reply::Status(flag)).collect();
        if !flags.is_empty() {
            fields.push((Reply::Word("flags"), Reply::Set(flags)));
        }
        if let Some(of) = of {
            let of = of.iter().map(Argument::told).collect();
            fields.push((Reply::Word("arguments"), Reply::List(of)));
        }
        Reply::Map(fields)
    }
}

/// A usage that is being read.
struct Usage<'a>(&'a str);

impl Usage<'_> {
    /// What a row of the table says.
    fn read(usage: &str) -> Vec<Argument> {
        let mut usage = Usage(usage);
        let mut choices = usage.choices();
        if choices.len() > 1 { vec![one_of(choices)] } else { choices.remove(0) }
    }

    /// What stands here up to the next bracket that closes, choice by choice.
    fn choices(&mut self) -> Vec<Vec<Argument>> {
        let mut choices = vec![Vec::new()];
        loop {
            self.0 = self.0.trim_start();
            if self.takes("|") {
                choices.push(Vec::new());
                continue;
            }
            let Some(argument) = self.argument() else { return choices };
            choices.last_mut().expect("there is one at least").push(argument);
        }
    }

    fn argument(&mut self) -> Option<Argument> {
        let mut argument = if self.takes("[") {
            let within = one_of(self.choices());
            self.takes("]");
            Argument { may_be_left_out: true, ..within }
        } else if self.takes("<") {
            let within = one_of(self.choices());
            self.takes(">");
            within
        } else {
            self.word()?
        };
        argument.may_be_repeated |= self.takes("…");
        Some(argument)
    }

    /// A value, or a word of the protocol with the value that belongs to it.
    fn word(&mut self) -> Option<Argument> {
        let ends = |letter: char| letter.is_whitespace() || "[]<>|…".contains(letter);
        let (word, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        if word.is_empty() {
            return None;
        }
        self.0 = rest;
        if word.contains(|letter: char| letter.is_ascii_lowercase()) {
            return Some(Argument::new(word, Form::Value));
        }
        let behind = rest.trim_start();
        let value = behind.starts_with(|letter: char| letter == '<' || letter.is_ascii_lowercase());
        let argument = if value {
            self.0 = behind;
            self.argument()?
        } else {
            Argument::new(word, Form::Word)
        };
        Some(Argument { token: Some(word.to_owned()), ..argument })
    }

    fn takes(&mut self, mark: &str) -> bool {
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// Choices as one argument.
fn one_of(mut choices: Vec<Vec<Argument>>) -> Argument {
    let together = |mut these: Vec<Argument>| {
        if these.len() == 1 { these.remove(0) } else { named(Form::Together, these) }
    };
    if choices.len() == 1 {
        together(choices.remove(0))
    } else {
        named(Form::Choice, choices.into_iter().map(together).collect())
    }
}

/// Several arguments under the name of the first.
fn named(form: fn(Vec<Argument>) -> Form, of: Vec<Argument>) -> Argument {
    let name = of.first().map_or(String::new(), |first| first.name.clone());
    Argument::new(&name, form(of))
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::{Argument, Form, Usage};

    /// As `redis-cli` shows it.
    fn shown(arguments: &[Argument]) -> String {
        let shown: Vec<String> = arguments.iter().map(one).collect();
        shown.join(" ")
    }

    fn one(argument: &Argument) -> String {
        let value = match &argument.form {
            Form::Word => String::new(),
            Form::Value => argument.name.clone(),
            Form::Choice(of) => of.iter().map(one).collect::<Vec<_>>().join("|"),
            Form::Together(of) => shown(of),
        };
        let words = [argument.token.clone().unwrap_or_default(), value];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut said = words.join(" ");
        if argument.may_be_repeated {
            said = format!("{said} [{said} ...]");
        }
        if argument.may_be_left_out { format!("[{said}]") } else { said }
    }

    #[test]
    fn a_usage_is_read_as_it_is_meant() {
        for (usage, meant) in [
            ("", ""),
            ("key…", "key [key ...]"),
            ("key value [NX | XX] [EX s | KEEPTTL]", "key value [NX|XX] [EX s|KEEPTTL]"),
            ("q <score member>…", "q score member [score member ...]"),
            ("[v [AUTH user password]]", "[v [AUTH user password]]"),
            ("d <done | dead> [X <a | b>]", "d done|dead [X a|b]"),
            ("GET pattern… | SET name", "GET pattern [GET pattern ...]|SET name"),
        ] {
            assert_eq!(shown(&Usage::read(usage)), meant);
        }
    }

    /// Fewest words that stand behind the name.
    fn fewest(arguments: &[Argument]) -> usize {
        let least = |argument: &Argument| {
            let token = usize::from(argument.token.is_some());
            let words = token
                + match &argument.form {
                    Form::Word => 0,
                    Form::Value => 1,
                    Form::Choice(of) => {
                        of.iter().map(|it| fewest(std::slice::from_ref(it))).min().unwrap_or(0)
                    }
                    Form::Together(of) => fewest(of),
                };
            if argument.may_be_left_out { 0 } else { words }
        };
        arguments.iter().map(least).sum()
    }

    #[test]
    fn a_usage_has_as_many_words_as_its_command() {
        for row in TABLE {
            let words = 1 + fewest(&Usage::read(row.usage));
            let (least, most) = row.count.bounds();
            // An option that is not left out in fact is said to be missing by its own words.
            assert!((least..=most).contains(&words), "{}: {words}", row.name);
            assert!(row.summary.starts_with(char::is_uppercase) && !row.summary.ends_with('.'));
        }
    }
}
