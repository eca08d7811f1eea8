//! How much was done, and whether it was enough: the one line that every command ends with.
//!
//! A check that ran nothing passes; so every figure may have a floor, and falling short of one is a
//! failure like a violation. The line reads `NAME: figure=value … violations=0`, figures in the order
//! in which they were first counted.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]

use std::process::ExitCode;

/// The figures of one command.
#[derive(Debug)]
pub(crate) struct Counters {
    name: &'static str,
    figures: Vec<Figure>,
    violations: u64,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: u64,
    floor: u64,
}

impl Counters {
    /// For a command of this name; nothing is counted yet.
    pub(crate) fn new(name: &'static str) -> Counters {
        Counters { name, figures: Vec::new(), violations: 0 }
    }

    /// Adds to a figure.
    pub(crate) fn add(&mut self, figure: &'static str, more: u64) {
        self.figure(figure).value += more;
    }

    /// Says how much a figure must be at the end.
    pub(crate) fn floor(&mut self, figure: &'static str, floor: u64) {
        self.figure(figure).floor = floor;
    }

    /// Says what is broken, at once, and counts it.
    pub(crate) fn violation(&mut self, what: &str) {
        eprintln!("VIOLATION ({}): {what}", self.name);
        self.violations += 1;
    }

    /// How many violations there were.
    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    /// What a figure is now.
    pub(crate) fn value(&self, figure: &str) -> u64 {
        self.figures.iter().find(|known| known.name == figure).map_or(0, |known| known.value)
    }

    /// Takes in the figures of a part that ran beside this one. Floors stay as they are here.
    pub(crate) fn take_in(&mut self, part: &Counters) {
        for figure in &part.figures {
            self.add(figure.name, figure.value);
        }
        self.violations += part.violations;
    }

    /// Prints the line, and what fell short; says how the program should end.
    pub(crate) fn end(&self) -> ExitCode {
        println!("{}", self.line());
        let short: Vec<&Figure> =
            self.figures.iter().filter(|figure| figure.value < figure.floor).collect();
        for Figure { name, value, floor } in &short {
            eprintln!("TOO LITTLE ({}): {name}={value}, floor {floor}", self.name);
        }
        if self.violations == 0 && short.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn line(&self) -> String {
        let figures = self.figures.iter().map(|Figure { name, value, .. }| (*name, *value));
        let all = figures.chain([("violations", self.violations)]);
        let words: Vec<String> = all.map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}: {}", self.name, words.join(" "))
    }

    fn figure(&mut self, name: &'static str) -> &mut Figure {
        let known = self.figures.iter().position(|figure| figure.name == name);
        let index = known.unwrap_or_else(|| {
            self.figures.push(Figure { name, value: 0, floor: 0 });
            self.figures.len() - 1
        });
        &mut self.figures[index]
    }
}

/// Ends a command that could not even do its work.
pub(crate) fn broken(error: &anyhow::Error) -> ExitCode {
    eprintln!("BROKEN: {error:#}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::Counters;

    #[test]
    fn too_little_is_a_failure() {
        let mut counters = Counters::new("run");
        counters.floor("seeds", 2);
        counters.add("seeds", 1);
        assert_eq!(counters.end(), ExitCode::FAILURE);
        counters.add("seeds", 1);
        assert_eq!(counters.end(), ExitCode::SUCCESS);
        assert_eq!(counters.line(), "run: seeds=2 violations=0");
        counters.violation("for the sake of the example");
        assert_eq!(counters.end(), ExitCode::FAILURE);
    }
}
