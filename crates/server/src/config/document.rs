//! What was typed, from everywhere, as one tree in which every value knows where it was typed.
//!
//! The file is parsed into a tree with places. What the environment and the flags say is put into
//! the same tree, over what the file said, at places beyond the file's end. So there is one
//! document to read, and a mistake in it can always be named by file, line and key, by variable, or
//! by flag. This file does not know which keys there are.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::BadConfig;

/// A setting said outside the file.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// The flag or the variable.
    pub(super) said_by: String,
    /// The dotted key it stands for.
    pub(super) key: &'static str,
    /// What was said.
    pub(super) value: String,
    /// Whether `5` means the number and `true` the truth value, not the text.
    pub(super) is_literal: bool,
}

/// All that was typed: the texts stay with the caller.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    overrides: &'t [Override],
    tree: DeTable<'t>,
}

impl<'t> Document<'t> {
    /// Reads a file's text and puts the overrides over it, later ones over earlier ones.
    /// `variable` answers what `${NAME}` stands for.
    pub(super) fn parse(
        file: &'t str,
        text: &'t str,
        overrides: &'t [Override],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Document<'t>, BadConfig> {
        let mut document = Document { file, text, overrides, tree: DeTable::new() };
        let tree = DeTable::parse(text).map_err(|error| document.complaint(&error))?;
        document.tree = tree.into_inner();
        let mut tree = document.tree.clone();
        expand_table(&mut tree, variable).map_err(|(span, why)| document.bad(&span, &why))?;
        for (index, said) in overrides.iter().enumerate() {
            let place = text.len() + 1 + index;
            put(&mut tree, said.key, &Spanned::new(place..place + 1, literal(said)));
        }
        Ok(Document { tree, ..document })
    }

    /// The document as a typed value.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, BadConfig> {
        let whole = Spanned::new(0..self.text.len(), self.tree.clone());
        T::deserialize(toml::de::Deserializer::from(whole)).map_err(|error| self.complaint(&error))
    }

    /// A complaint about the value under these keys, at the nearest place that was typed.
    pub(super) fn complain(&self, keys: &[&str], why: impl Into<String>) -> BadConfig {
        let mut table = &self.tree;
        let mut span = 0..0;
        for key in keys {
            let Some((written, value)) = table.get_key_value(*key) else { break };
            let DeValue::Table(inner) = value.get_ref() else {
                span = value.span();
                break;
            };
            span = written.span();
            table = inner;
        }
        BadConfig { place: self.place(&span), key: dotted(keys), why: why.into() }
    }

    fn complaint(&self, error: &toml::de::Error) -> BadConfig {
        // The library's sentences may run over several lines; a person gets one.
        self.bad(&error.span().unwrap_or(0..0), &error.message().trim().replace('\n', ", "))
    }

    fn bad(&self, span: &Range<usize>, why: &str) -> BadConfig {
        let mut keys = Vec::new();
        keys_at(&self.tree, span, &mut keys);
        BadConfig { place: self.place(span), key: dotted(&keys), why: why.to_owned() }
    }

    fn place(&self, span: &Range<usize>) -> String {
        let beyond = span.start.checked_sub(self.text.len() + 1);
        if let Some(said) = beyond.and_then(|index| self.overrides.get(index)) {
            return said.said_by.clone();
        }
        let line = self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}", self.file)
    }
}

/// What an override says, as the file would say it.
fn literal(said: &Override) -> DeValue<'_> {
    if said.is_literal
        && let Ok(value) = DeValue::parse(&said.value)
        && (value.get_ref().is_integer() || value.get_ref().is_bool())
    {
        return value.into_inner();
    }
    DeValue::String(Cow::Borrowed(&said.value))
}

fn put<'t>(table: &mut DeTable<'t>, key: &'static str, value: &Spanned<DeValue<'t>>) {
    let (first, rest) =
        key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let name = || Spanned::new(value.span(), Cow::Borrowed(first));
    let Some(rest) = rest else {
        table.remove(first);
        table.insert(name(), value.clone());
        return;
    };
    let mut inner = match table.remove_entry(first) {
        Some((_, inside)) if inside.get_ref().is_table() => inside,
        _ => Spanned::new(value.span(), DeValue::Table(DeTable::new())),
    };
    if let DeValue::Table(inner) = inner.get_mut() {
        put(inner, rest, value);
    }
    table.insert(name(), inner);
}

/// The keys that lead to a place; as far as they are known.
fn keys_at<'a>(table: &'a DeTable<'_>, place: &Range<usize>, keys: &mut Vec<&'a str>) -> bool {
    let within = |span: Range<usize>| span.start <= place.start && place.start < span.end;
    for (key, value) in table {
        keys.push(key.get_ref());
        let found = match value.get_ref() {
            DeValue::Table(inner) => keys_at(inner, place, keys),
            _ => false,
        };
        if found || within(key.span()) || within(value.span()) {
            return true;
        }
        keys.pop();
    }
    false
}

/// Keys as they are written in a file.
fn dotted(keys: &[&str]) -> String {
    let is_bare = |key: &str| {
        !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let written: Vec<String> = keys
        .iter()
        .map(|key| if is_bare(key) { (*key).to_owned() } else { format!("{key:?}") })
        .collect();
    written.join(".")
}

type Misplaced = (Range<usize>, String);

fn expand_table(
    table: &mut DeTable<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Misplaced> {
    table.iter_mut().try_for_each(|(_, value)| expand(value, variable))
}

fn expand(
    value: &mut Spanned<DeValue<'_>>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Misplaced> {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            *text = Cow::Owned(expanded(text, variable).map_err(|why| (span, why))?);
            Ok(())
        }
        DeValue::Array(items) => items.iter_mut().try_for_each(|item| expand(item, variable)),
        DeValue::Table(table) => expand_table(table, variable),
        _ => Ok(()),
    }
}

/// The text with each `${NAME}` replaced; `$${` is a literal `${`.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            whole.push_str(&rest[..at]);
            whole.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        whole.push_str(&rest[..at]);
        let (name, after) = rest[at + 2..].split_once('}').ok_or("`${` is not closed by `}`")?;
        let value =
            variable(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
        whole.push_str(&value);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}
