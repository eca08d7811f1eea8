//! Reads one Rust source as far as the rules need: its words, its string literals, and the paths
//! it names, made absolute. It exists so that comments and strings can never be mistaken for code.
//!
//! It is a lexer and not a parser: it never judges, expands no macro and accepts what the compiler
//! would refuse. What it cannot see: a path put together by a macro, and a renamed crate.

/// One source, read.
pub(super) struct Source {
    /// Relative to the root of the repository, with `/`.
    pub(super) path: String,
    /// The text as it is.
    pub(super) text: String,
    /// The code without comments.
    pub(super) tokens: Vec<Token>,
    /// Every path of two or more segments, absolute as far as `crate`, `self` and `super` go.
    pub(super) paths: Vec<Named>,
}

/// A token and the line it stands on, counted from 1.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What the rules tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    Text(String),
    Mark(char),
    /// `::`, which is one token so that a path is words between these.
    PathSep,
}

/// A path as the code names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) line: usize,
    /// Begins with `crate` when it lies in the same crate.
    pub(super) segments: Vec<String>,
}

impl Source {
    /// Reads `text` as the file at `path`.
    pub(super) fn read(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let paths = paths(&tokens, &module_of(path));
        Self { path: path.to_owned(), text: text.to_owned(), tokens, paths }
    }

    /// The module at the root of the server this file belongs to; none for other crates and tests.
    pub(super) fn server_module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("crates/server/src/")?;
        let first = inside.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib").then(|| name.to_owned())
    }
}

impl Token {
    /// The word, if it is one.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Text(_) | Kind::Mark(_) | Kind::PathSep => None,
        }
    }

    /// Whether it is this mark.
    pub(super) fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// `crates/server/src/listen/http/mod.rs` is the module `crate::listen::http`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let mut module = vec!["crate".to_owned()];
    module
        .extend(inside.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part).to_owned()));
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// Splits the text into tokens, dropping comments, numbers, lifetimes and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(here) = reader.peek(0) {
        let line = reader.line;
        let kind = match here {
            '/' if reader.peek(1) == Some('/') => {
                reader.skip_while(|c| c != '\n');
                continue;
            }
            '/' if reader.peek(1) == Some('*') => {
                reader.skip_block_comment();
                continue;
            }
            '"' => Kind::Text(reader.text()),
            '\'' => {
                reader.skip_quote();
                continue;
            }
            c if c.is_alphabetic() || c == '_' => match reader.word_or_text() {
                Some(kind) => kind,
                None => continue,
            },
            c if c.is_ascii_digit() => {
                reader.skip_while(|c| c.is_alphanumeric() || c == '_');
                continue;
            }
            c if c.is_whitespace() => {
                reader.step();
                continue;
            }
            ':' if reader.peek(1) == Some(':') => {
                reader.step();
                reader.step();
                Kind::PathSep
            }
            mark => {
                reader.step();
                Kind::Mark(mark)
            }
        };
        tokens.push(Token { line, kind });
    }
    tokens
}

/// A place in the text.
struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) -> Option<char> {
        let here = self.peek(0)?;
        self.at += 1;
        if here == '\n' {
            self.line += 1;
        }
        Some(here)
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.step();
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (Some(_), _) => {
                    self.step();
                    continue;
                }
                (None, _) => return,
            }
            self.step();
            self.step();
            if depth == 0 {
                return;
            }
        }
    }

    /// A string from its opening quote; escapes stay as they are written.
    fn text(&mut self) -> String {
        self.step();
        let mut text = String::new();
        while let Some(c) = self.step() {
            match c {
                '"' => break,
                '\\' => text.extend([Some(c), self.step()].into_iter().flatten()),
                c => text.push(c),
            }
        }
        text
    }

    /// A lifetime or a character: neither matters to a rule.
    fn skip_quote(&mut self) {
        self.step();
        if self.peek(0) == Some('\\') {
            self.step();
            self.step();
            self.skip_while(|c| c != '\'');
            self.step();
        } else if self.peek(1) == Some('\'') {
            self.step();
            self.step();
        }
    }

    /// A word, or the string that a prefix such as `r#` or `b` opens.
    fn word_or_text(&mut self) -> Option<Kind> {
        let from = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[from..self.at].iter().collect();
        let prefix = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
        match self.peek(0) {
            Some('"') if prefix && !word.contains('r') => Some(Kind::Text(self.text())),
            Some('"' | '#') if prefix && word.contains('r') => self.raw(),
            Some('\'') if word == "b" => {
                self.skip_quote();
                None
            }
            _ => Some(Kind::Word(word)),
        }
    }

    /// After `r`: a raw string, or a raw word such as `r#type`.
    fn raw(&mut self) -> Option<Kind> {
        let from = self.at;
        self.skip_while(|c| c == '#');
        let hashes = self.at - from;
        if self.peek(0) != Some('"') {
            return None;
        }
        self.step();
        let mut text = String::new();
        while let Some(c) = self.step() {
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
            text.push(c);
        }
        Some(Kind::Text(text))
    }
}

/// Every path the tokens name, from `use` trees and from expressions alike.
fn paths(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut module = module.to_vec();
    // The depth of braces at which each `mod name {` inside the file ends.
    let mut inline = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.is('{') {
            depth += 1;
        } else if token.is('}') {
            depth = depth.saturating_sub(1);
            if inline.last() == Some(&depth) {
                inline.pop();
                module.pop();
            }
        }
        match token.word() {
            Some("mod") if tokens.get(at + 2).is_some_and(|next| next.is('{')) => {
                inline.push(depth);
                module.push(tokens[at + 1].word().unwrap_or_default().to_owned());
                at += 2;
            }
            Some("use") => {
                let mut leaves = Vec::new();
                at = use_tree(tokens, at + 1, &[], &mut leaves);
                for (line, leaf) in leaves {
                    found.push(Named { line, segments: absolute(&leaf, &module) });
                }
            }
            Some(_) => {
                let (after, segments) = plain_path(tokens, at);
                if segments.len() > 1 {
                    found.push(Named { line: token.line, segments: absolute(&segments, &module) });
                }
                at = after;
            }
            None => at += 1,
        }
    }
    found
}

/// Reads one branch of a `use` tree from `at`; returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    stem: &[String],
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = stem.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) if word == "as" => at += 2,
            Kind::Word(word) => {
                path.push(word.clone());
                at += 1;
            }
            Kind::PathSep => at += 1,
            Kind::Mark('*') => {
                path.push("*".to_owned());
                at += 1;
            }
            Kind::Mark('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is('}')) {
                    at = use_tree(tokens, at, &path, leaves);
                    if tokens.get(at).is_some_and(|token| token.is(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Kind::Mark(_) | Kind::Text(_) => break,
        }
    }
    leaves.push((line, path));
    at
}

/// Reads `a::b::c` from `at`; returns where it ends.
fn plain_path(tokens: &[Token], mut at: usize) -> (usize, Vec<String>) {
    let mut segments = Vec::new();
    while let Some(word) = tokens.get(at).and_then(Token::word) {
        segments.push(word.to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.kind != Kind::PathSep) {
            break;
        }
        at += 1;
    }
    (at, segments)
}

/// Resolves `self`, `super` and the crate's own name against the module the path stands in.
fn absolute(segments: &[String], module: &[String]) -> Vec<String> {
    let mut base = match segments.first().map(String::as_str) {
        Some("self" | "super") => module.to_vec(),
        Some("duly") => vec!["crate".to_owned()],
        _ => return segments.to_vec(),
    };
    let mut rest = segments;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "self" | "duly" => {}
            "super" => {
                base.pop();
            }
            _ => break,
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    base
}
