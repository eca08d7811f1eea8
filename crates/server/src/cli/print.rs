//! The one place that writes to the terminal.
//!
//! What was asked for goes to standard output, what went wrong to standard error. A reader that
//! hangs up (`duly list orders | head`) ends the output without a complaint; any other output that
//! cannot be written is a failure of the command. Whatever a stranger may
//! have put into a text (a webhook's answer, a payload) loses its control characters here, so that it
//! cannot steer the terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use super::exit::Exit;

/// How something is meant to look; only a terminal shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// The main thing.
    Strong,
    /// Beside the point.
    Faint,
    /// It went well.
    Good,
    /// It is still open.
    Open,
    /// It went wrong.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Open => "36",
            Tone::Bad => "31",
        }
    }
}

/// Standard output, and whether it is to have colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    colours: bool,
}

impl Output {
    /// Colours for a terminal, unless the environment says `NO_COLOR`.
    pub(super) fn new(no_color: bool) -> Output {
        Output { colours: !no_color && io::stdout().is_terminal() }
    }

    /// Without colours, as a file would get it.
    #[cfg(test)]
    pub(super) fn plain() -> Output {
        Output { colours: false }
    }

    /// A text in a tone.
    pub(super) fn paint(self, text: &str, tone: Tone) -> String {
        let text = clean(text);
        if self.colours && tone != Tone::Plain {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
        } else {
            text
        }
    }
}

/// Writes to standard output; it is flushed.
pub(super) fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// How a command ends whose output came to this.
pub(super) fn ended(printed: io::Result<()>) -> Exit {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format!("cannot write to standard output: {error}"), None);
            Exit::Io
        }
        _ => Exit::Done,
    }
}

/// Says what went wrong, and if there is one, what to do about it.
pub(super) fn complain(what: impl Display, hint: Option<&str>) {
    let mut text = format!("duly: {}\n", clean(&what.to_string()));
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        text = format!("{text}      {}\n", clean(hint));
    }
    say(&text);
}

/// Writes to standard error; when that is gone there is nobody left to tell.
pub(super) fn say(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// The text with control characters made visible as spaces.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Output, Tone, clean};

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(clean("500 \u{1b}[2Jgone\r\n"), "500  [2Jgone  ");
        assert!(!Output { colours: true }.paint("\u{1b}", Tone::Bad).contains("\u{1b} "));
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Output::plain().paint("done", Tone::Good), "done");
        assert_eq!(Output { colours: true }.paint("done", Tone::Good), "\u{1b}[32mdone\u{1b}[0m");
    }
}
