//! What a command is called with: the operator's words, with parameters in them.
//!
//! The vocabulary is that of `sql` actions. A parameter is a whole argument (`:key`) or part of one
//! (`--order=:key`), and its value stays inside that argument: nothing is ever split, expanded or
//! given to a shell. What a value could still do is to look like an option, so an argument that a
//! value makes begin with `-` is refused, unless the operator has written `--` before it.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::deliver::{Delivery, Parameter, named, text};

/// How a command is called.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) program: String,
    arguments: Vec<Argument>,
}

/// One argument.
#[derive(Debug)]
struct Argument {
    pieces: Vec<Piece>,
    /// Does it stand after a `--`, where nothing is an option any more?
    is_plain: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Parameter(Parameter),
}

/// An entry of `argv` and what is wrong with it.
pub(super) type BadEntry = (usize, String);

impl Call {
    /// Reads `argv`.
    pub(super) fn parse(argv: &[String]) -> Result<Call, BadEntry> {
        let mut arguments = Vec::new();
        let mut is_plain = false;
        for (index, text) in argv.iter().enumerate() {
            let pieces = parse(text).map_err(|why| (index, why))?;
            let is_bad = |why: &str| Err((index, why.to_owned()));
            if index == 0 && !matches!(pieces[..], [Piece::Text(_)]) {
                return is_bad("is the program, which no parameter chooses");
            }
            if !is_plain
                && let [Piece::Text(dashes), Piece::Parameter(_), ..] = &pieces[..]
                && dashes.chars().all(|char| char == '-')
            {
                return is_bad("lets a value choose an option; write --option=:value");
            }
            if index > 0 {
                arguments.push(Argument { pieces, is_plain });
            }
            is_plain |= index > 0 && text == "--";
        }
        let program = argv.first().cloned().ok_or_else(|| (0, "is missing".to_owned()))?;
        Ok(Call { program, arguments })
    }

    /// The arguments for one delivery, or the entry that cannot be filled in.
    pub(super) fn arguments(&self, delivery: &Delivery) -> Result<Vec<String>, BadEntry> {
        let arguments = self.arguments.iter().zip(1..);
        arguments
            .map(|(argument, index)| argument.fill(delivery).map_err(|why| (index, why)))
            .collect()
    }
}

impl Argument {
    fn fill(&self, delivery: &Delivery) -> Result<String, String> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Parameter(parameter) => filled.push_str(&text(parameter, delivery)?),
            }
        }
        if filled.contains('\0') {
            return Err("would have a NUL character in it, which no argument can".to_owned());
        }
        let begins_with_value = matches!(self.pieces.first(), Some(Piece::Parameter(_)));
        if begins_with_value && !self.is_plain && filled.starts_with('-') {
            return Err("would begin with '-' and could be taken for an option".to_owned());
        }
        Ok(filled)
    }
}

fn parse(text: &str) -> Result<Vec<Piece>, String> {
    if text.contains('\0') {
        return Err("has a NUL character in it".to_owned());
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((_, char)) = chars.next() {
        let next = chars.peek().map(|&(_, next)| next);
        match (char, next) {
            (':', Some(':')) => {
                chars.next();
                literal.push(':');
            }
            (':', Some(next)) if next.is_alphabetic() || next == '_' => {
                let parameter = named(&name(&mut chars, text))
                    .map_err(|why| format!("{why}; a colon is written ::"))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Parameter(parameter));
            }
            _ => literal.push(char),
        }
    }
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// A parameter's name. Only after `payload` do dots belong to it: `:key.pdf` is a key and a suffix.
fn name(chars: &mut Peekable<CharIndices<'_>>, text: &str) -> String {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    let mut name = String::new();
    while let Some(&(at, char)) = chars.peek() {
        let mut after = text[at..].chars().skip(1);
        let leads_on = (name == "payload" || name.starts_with("payload."))
            && char == '.'
            && after.next().is_some_and(part);
        if !part(char) && !leads_on {
            break;
        }
        name.push(char);
        chars.next();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::tests::delivery;

    fn call(argv: &[&str]) -> Result<Call, BadEntry> {
        Call::parse(&argv.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    fn filled(argument: &str, payload: &str) -> Result<String, BadEntry> {
        let call = call(&["/bin/true", argument]).expect(argument);
        let delivery = delivery(42).saying(payload);
        call.arguments(&delivery).map(|mut arguments| arguments.remove(0))
    }

    #[test]
    fn parameters_are_whole_arguments_or_parts_of_them() {
        let payload = r#"{"total":19.90,"note":"a b","yes":true,"no":false,"gone":null,
            "lines":[{"sku":"mug"}],"deep":{"er":"x"}}"#;
        for (argument, expected) in [
            (":key", "42"),
            ("--order=:key", "--order=42"),
            (":queue/:key.pdf", "orders/42.pdf"),
            (":payload.total", "19.90"),
            (":payload.note", "a b"),
            (":payload.yes:payload.no", "10"),
            (":payload.gone:payload.absent", ""),
            (":payload.lines", r#"[{"sku":"mug"}]"#),
            (":payload.deep.er.", "x."),
            (":attempt", "1"),
            ("https://shop.example:8080/:key", "https://shop.example:8080/42"),
            ("::key ::::", ":key ::"),
            ("12:30", "12:30"),
            ("a:", "a:"),
            ("", ""),
        ] {
            assert_eq!(filled(argument, payload).as_deref(), Ok(expected), "{argument}");
        }
        assert_eq!(filled(":payload", payload).as_deref(), Ok(payload));
    }

    #[test]
    fn a_value_cannot_become_an_option() {
        let option = r#"{"v":"--force","n":-5,"empty":""}"#;
        for argument in [":payload.v", ":payload.n", ":payload.empty:payload.v"] {
            let (index, why) = filled(argument, option).expect_err(argument);
            assert_eq!(index, 1);
            assert!(why.contains("could be taken for an option"), "{why}");
        }
        assert_eq!(filled("v=:payload.v", option).as_deref(), Ok("v=--force"));
        let after = call(&["/bin/true", "--", ":payload.v"]).expect("a good call");
        let delivery = delivery(42).saying(option);
        let arguments = after.arguments(&delivery).expect("nothing is an option there");
        assert_eq!(arguments, ["--", "--force"]);
    }

    #[test]
    fn a_value_that_no_argument_can_hold_is_refused() {
        let (_, why) = filled(":payload.v", r#"{"v":"a\u0000b"}"#).expect_err("a NUL");
        assert!(why.contains("NUL"), "{why}");
    }

    #[test]
    fn what_cannot_be_a_call_is_refused_by_its_entry() {
        for (argv, index, reason) in [
            (&["/bin/:key"][..], 0, "no parameter chooses"),
            (&["/bin/true", ":id"], 1, "no parameter is called :id"),
            (&["/bin/true", "x", ":payload."], 2, ""),
            (&["/bin/true", "--:key"], 1, "lets a value choose an option"),
            (&["/bin/true", "-:payload.x"], 1, "lets a value choose an option"),
            (&["/bin/true", "a\0b"], 1, "a NUL character"),
            (&[], 0, "is missing"),
        ] {
            match call(argv) {
                Err((entry, why)) => {
                    assert_eq!(entry, index, "{argv:?}");
                    assert!(why.contains(reason) && !reason.is_empty(), "{argv:?}: {why}");
                }
                Ok(_) => assert!(reason.is_empty(), "{argv:?} was taken"),
            }
        }
    }
}
