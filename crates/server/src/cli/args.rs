//! The command line as it is typed.
//!
//! Only form is checked here; durations and instants go to the server as they were written, so that
//! there is one reading of them. Every command's help begins with examples.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::{Case, Over};
use crate::run::LAUNCH;

const TEMPLATE: &str = "{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Every order is paid, or duly cancelled: the deadline server.
#[derive(Debug, Parser)]
#[command(
    name = "duly",
    bin_name = "duly",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    help_template = TEMPLATE,
    before_help = "Examples:
  duly demo                                     a small shop to try it on, in your browser
  duly serve                                    the server, on 127.0.0.1:7830 and :7831
  duly schedule orders 42 --after 30m           order 42 must be paid within 30 minutes
  duly settle orders 42 paid                    it was paid in time
  duly list orders --state pending              what is still open, earliest first",
    after_help = super::exit::HELP,
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the server until it is told to stop.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly serve
  duly serve --data /var/lib/duly --config /etc/duly.toml
  duly serve --clock manual            for tests: time moves only when told to")]
    Serve(Serve),
    /// Run the server with a small shop on top, to see it at work.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly demo                            then open http://127.0.0.1:7830/demo
  duly demo --http 127.0.0.1:8080 --data /tmp/shop")]
    Demo(Demo),
    /// One request to a running server.
    #[command(flatten)]
    Ask(Request),
    /// Measure this server on this machine.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly bench                           about a minute, beside whatever runs here
  duly bench --quick --json
  duly bench --over redis
  duly bench --only schedule-64 --only batch --data /mnt/ssd/bench")]
    Bench(Bench),
    /// Print the commented default configuration, or check a file.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly config > duly.toml
  duly config --check duly.toml")]
    Config(Config),
    /// Look at a table and write a configuration that watches it; nothing is changed.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly init sqlite:///var/lib/shop/shop.db orders > duly.toml
  duly init mysql://duly:secret@127.0.0.1/shop orders")]
    Init(Init),
    /// Table watches: what would they do, and what have they seen?
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly watch check --config duly.toml   how many rows are open, overdue, would be armed
  duly watch check --config duly.toml --data /var/lib/duly
  duly watch report                     what your cron did, and what Duly would have done
  duly watch report shop-orders --json")]
    Watch(Watch),
    /// Look over a data directory and the configuration; nothing is changed.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly doctor                          what does ./duly-data hold, and is it whole?
  duly doctor --data /var/lib/duly --config /etc/duly.toml
  duly doctor --json",
  after_help = "It reads everything, which takes a while, and ends with 65 if something is corrupt. A server
cannot start meanwhile. One that is running is asked how it is instead.")]
    Doctor(Doctor),
    /// What the server starts commands with.
    #[command(name = LAUNCH, hide = true)]
    Launch(Launch),
}

/// What a running server is asked.
#[derive(Debug, Subcommand)]
pub(super) enum Request {
    /// Promise that something is done by a time, unless it is settled before.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly schedule orders 42 --after 30m
  duly schedule orders 42 --due 2026-11-22T12:30:00Z --payload '{\"total\":\"19.90\"}'
  duly schedule orders 42 --after 30m --if-exists renew")]
    Schedule(Schedule),
    /// Say that the awaited thing happened.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly settle orders 42 paid
  duly settle orders 42 cancelled_by_customer
  duly settle orders 42 paid --remember 1h     if the schedule may come later")]
    Settle(Settle),
    /// Move the due time of a pending deadline.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly extend orders 42 --by 15m
  duly extend orders 42 --due 2026-11-22T18:00:00Z --if-due 2026-11-22T12:30:00Z")]
    Extend(Extend),
    /// Hold back the lapse of a pending deadline for a while; 0s ends it.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly freeze orders 42 10m            the customer is at the payment provider
  duly freeze orders 42 0s             and is back",
  after_help = "A freeze adds no time and leaves the due time as it is: the deadline lapses when it is due
or when the freeze ends, whichever is later, and the queue's grace after that. For more
time there is `duly extend`.")]
    Freeze(Freeze),
    /// Show a deadline with everything that happened to it.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly get orders 42
  duly get orders 42 --json")]
    Get(Deadline),
    /// List the deadlines of a queue, earliest due first.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly list orders
  duly list orders --state pending --due-to 2026-11-22T13:00:00Z
  duly list orders --delivery dead --all")]
    List(List),
    /// Follow what happens, until Ctrl-C.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly tail
  duly tail --queue orders --json
  duly tail --after 1042               what came after that event, and what comes",
  after_help = "When the server goes away it waits, and goes on where it stopped.")]
    Tail(Tail),
    /// Print a link by which a page may watch a deadline.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly link orders 42
  duly link orders 42 --ttl 2h --show-outcome")]
    Link(Link),
    /// Count deadlines by state and outcome, in all queues or in one.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly stats
  duly stats orders")]
    Stats(Stats),
    /// Hold back the deliveries of a queue, or its lapses.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly pause orders                    lapses go on, deliveries wait
  duly pause orders --lapses           nothing lapses: late payments still win")]
    Pause(Pause),
    /// Let a paused queue go on.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly resume orders
  duly resume orders --lapses")]
    Resume(Pause),
    /// Try a dead delivery again, now.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly revive orders 42")]
    Revive(Deadline),
    /// Forget a final or dead record for ever (personal data).
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly erase orders 42
  duly erase orders 42 --yes           in a script")]
    Erase(Erase),
    /// Compare tables and deadlines now, and put right what differs.
    #[command(help_template = TEMPLATE, before_help = "Examples:
  duly reconcile                       all watches
  duly reconcile shop-orders
  duly reconcile shop-orders --dry-run   only say what differs",
  after_help = "A running server does the same by itself, every `reconcile` of the watch. Rows that are open
although overdue, or although their deadline is over, are named and left to you.")]
    Reconcile(Reconcile),
    /// What the watches have seen: `duly watch report`.
    #[command(skip)]
    Report(WatchReport),
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration file [environment: DULY_CONFIG; none unless given]"
    )]
    pub(super) config: Option<PathBuf>,
    /// The data directory [default: ./duly-data].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
    /// Where the HTTP API listens, or "off" [default: 127.0.0.1:7830].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<String>,
    /// Where the Redis protocol is spoken, or "off" [default: 127.0.0.1:7831].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) redis: Option<String>,
    /// Where watch links alone are served, also to other machines [default: off].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) public: Option<String>,
    /// "machine", or "manual": time moves only when told to.
    #[arg(long, value_name = "SOURCE")]
    pub(super) clock: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The database, as the configuration has it; a password in it is not repeated.
    #[arg(value_name = "DSN")]
    pub(super) dsn: String,
    /// The table.
    #[arg(value_parser = name)]
    pub(super) table: String,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(subcommand)]
    pub(super) verb: WatchVerb,
}

/// What to ask of the watches.
#[derive(Debug, Subcommand)]
pub(super) enum WatchVerb {
    /// Count what each watch would do; nothing is changed.
    Check(WatchCheck),
    /// Say what watches that only observe have seen, and what Duly would have done.
    Report(WatchReport),
}

#[derive(Debug, Args)]
pub(super) struct WatchReport {
    /// Only this watch.
    #[arg(value_parser = name)]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// Only this watch.
    #[arg(value_parser = name)]
    pub(super) name: Option<String>,
    /// Put nothing right.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct WatchCheck {
    #[arg(long, value_name = "FILE", help = "The configuration file [environment: DULY_CONFIG]")]
    pub(super) config: Option<PathBuf>,
    /// The data directory, which knows where a watch began [default: ./duly-data].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The directory of the shop and of its Duly; kept between runs.
    #[arg(long, value_name = "DIR", default_value = "./duly-demo")]
    pub(super) data: PathBuf,
    /// Where to listen [default: 127.0.0.1:7830].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<String>,
}

/// How to reach the server and how to print what it says.
#[derive(Debug, Args)]
pub(super) struct Server {
    #[arg(
        long,
        value_name = "URL",
        help = "The server [environment: DULY_URL; default: http://127.0.0.1:7830]"
    )]
    pub(super) url: Option<String>,
    /// Print the server's JSON, as it came.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Address {
    /// The queue.
    #[arg(value_parser = name)]
    pub(super) queue: String,
    /// Your own name for it, such as an order's number.
    #[arg(value_parser = name)]
    pub(super) key: String,
}

#[derive(Debug, Args)]
pub(super) struct Deadline {
    #[command(flatten)]
    pub(super) address: Address,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Schedule {
    #[command(flatten)]
    pub(super) address: Address,
    /// Due so long from now: 90s, 30m, 1h30m, 1d. Else the queue's default delay.
    #[arg(long, value_name = "DURATION", conflicts_with = "due", allow_hyphen_values = true, value_parser = duration)]
    pub(super) after: Option<String>,
    /// Due at this instant: RFC 3339 with an offset, or milliseconds since 1970.
    #[arg(long, value_name = "INSTANT")]
    pub(super) due: Option<String>,
    /// JSON that comes back with the delivery; @FILE reads a file, - standard input.
    #[arg(long, value_name = "JSON")]
    pub(super) payload: Option<String>,
    /// Smaller is handed out first [default: 1024].
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(super) priority: Option<u32>,
    /// If it is there already: keep it, renew it if it is over, replace it, or fail [default: keep].
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    pub(super) if_exists: Option<IfExists>,
    /// Accept a due time more than an hour ago.
    #[arg(long)]
    pub(super) allow_past: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum IfExists {
    Keep,
    Renew,
    Replace,
    Fail,
}

#[derive(Debug, Args)]
pub(super) struct Settle {
    #[command(flatten)]
    pub(super) address: Address,
    /// How it ended, in your words: paid, refused, …
    pub(super) outcome: String,
    /// If the deadline is not known yet, remember this for its schedule (at most 7d).
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration)]
    pub(super) remember: Option<String>,
    /// Only this generation of it.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(super) generation: Option<u32>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Extend {
    #[command(flatten)]
    pub(super) address: Address,
    /// So much later than it is due now.
    #[arg(
        long,
        value_name = "DURATION",
        conflicts_with = "due",
        required_unless_present = "due",
        allow_hyphen_values = true,
        value_parser = duration
    )]
    pub(super) by: Option<String>,
    /// To this instant.
    #[arg(long, value_name = "INSTANT")]
    pub(super) due: Option<String>,
    /// Only if it is due then: makes a repetition safe.
    #[arg(long, value_name = "INSTANT")]
    pub(super) if_due: Option<String>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Freeze {
    #[command(flatten)]
    pub(super) address: Address,
    /// For so long from now.
    #[arg(value_name = "DURATION", allow_hyphen_values = true, value_parser = duration)]
    pub(super) span: String,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The queue.
    #[arg(value_parser = name)]
    pub(super) queue: String,
    /// pending, settled or lapsed.
    #[arg(long)]
    pub(super) state: Option<String>,
    /// ready, leased, done, superseded or dead.
    #[arg(long, value_name = "STATE")]
    pub(super) delivery: Option<String>,
    /// Due at or after this instant.
    #[arg(long, value_name = "INSTANT")]
    pub(super) due_from: Option<String>,
    /// Due before this instant.
    #[arg(long, value_name = "INSTANT")]
    pub(super) due_to: Option<String>,
    /// Whose key begins so.
    #[arg(long, value_name = "TEXT")]
    pub(super) key_prefix: Option<String>,
    /// How many at most; with --all, in one request.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, allow_negative_numbers = true)]
    pub(super) limit: u32,
    /// Go on where an earlier list stopped.
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
    /// Go on until the end.
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Only of this queue.
    #[arg(long, value_parser = name)]
    pub(super) queue: Option<String>,
    /// Only of deadlines with this key.
    #[arg(long, value_parser = name)]
    pub(super) key: Option<String>,
    /// Begin after this event, and not now.
    #[arg(long, value_name = "SEQUENCE")]
    pub(super) after: Option<u64>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Link {
    #[command(flatten)]
    pub(super) address: Address,
    /// Void after so long [default: a day beyond the due time].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration)]
    pub(super) ttl: Option<String>,
    /// Only this generation of it.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(super) generation: Option<u32>,
    /// Show how it was settled, too.
    #[arg(long)]
    pub(super) show_outcome: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Only this queue.
    #[arg(value_parser = name)]
    pub(super) queue: Option<String>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The queue.
    #[arg(value_parser = name)]
    pub(super) queue: String,
    /// The lapses instead of the deliveries.
    #[arg(long)]
    pub(super) lapses: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    #[command(flatten)]
    pub(super) address: Address,
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Where the servers that are measured keep their data; empty or new [default: a new
    /// directory here, removed afterwards].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// About ten seconds instead of a minute; the figures are rougher.
    #[arg(long)]
    pub(super) quick: bool,
    /// Only this; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(super) only: Vec<Case>,
    /// How the servers are spoken to; over the Redis protocol only schedules, settles and batches
    /// are measured.
    #[arg(long, value_enum, default_value_t, value_name = "PROTOCOL")]
    pub(super) over: Over,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Launch {
    /// What the command is bound to.
    pub(super) bonds: String,
    /// The command.
    #[arg(last = true)]
    pub(super) argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Config {
    /// Say whether this file is good instead, and where it is not.
    #[arg(long, value_name = "FILE")]
    pub(super) check: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration file [environment: DULY_CONFIG; none unless given]"
    )]
    pub(super) config: Option<PathBuf>,
    /// The data directory [default: ./duly-data].
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "The server, if one uses the directory [environment: DULY_URL; default: where the \
                configuration says that it listens]"
    )]
    pub(super) url: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

/// A name that can stand in a path; what else is wrong with it the server says.
fn name(typed: &str) -> Result<String, &'static str> {
    if typed.is_empty() { Err("a name cannot be empty") } else { Ok(typed.to_owned()) }
}

/// What may be a duration: the sign is refused here, because it looks like another option.
fn duration(typed: &str) -> Result<String, &'static str> {
    if typed.starts_with('-') {
        return Err("a duration is like 90s, 30m or 1h30m, and has no sign");
    }
    Ok(typed.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{CommandLine, Verb};

    fn parse(line: &str) -> Result<Verb, clap::Error> {
        CommandLine::try_parse_from(line.split(' ')).map(|line| line.verb)
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_is_accepted() {
        let mut examples = 0;
        let mut top = CommandLine::command();
        top.build();
        let shown = top.get_subcommands().filter(|command| !command.is_hide_set());
        for command in std::iter::once(&top).chain(shown) {
            let help = command.get_before_help().expect("every command has examples").to_string();
            for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
                let typed = line.split("   ").next().unwrap_or(line).trim();
                let typed = typed.split(" > ").next().unwrap_or(typed).replace('\'', "");
                assert!(parse(&typed).is_ok(), "{typed}");
                examples += 1;
            }
        }
        assert!(examples >= 30, "only {examples} examples");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "duly",
            "duly schedule orders",
            "duly schedule orders 42 --after 30m --due 2026-11-22T12:30:00Z",
            "duly schedule orders 42 --if-exists maybe",
            "duly settle orders 42",
            "duly extend orders 42",
            "duly extend orders 42 --by 5m --due 2026-11-22T12:30:00Z",
            "duly freeze orders 42",
            "duly list",
            "duly serve extra",
            "duly pause",
            "duly bench --only everything",
            "duly bench orders",
            "duly link orders",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_reason() {
        for (line, why) in [
            ("duly schedule orders ", "a name cannot be empty"),
            ("duly list ", "a name cannot be empty"),
            ("duly schedule orders 42 --after -5m", "has no sign"),
            ("duly schedule orders 42 --after --json", "has no sign"),
            ("duly extend orders 42 --by -5m", "has no sign"),
            ("duly freeze orders 42 -5m", "has no sign"),
            ("duly schedule orders 42 --priority -1", "-1 is not in 0..="),
            ("duly list orders --limit -1", "-1 is not in 0..="),
        ] {
            let message = parse(line).expect_err(line).to_string();
            assert!(message.contains(why), "{line}: {message}");
        }
        assert!(parse("duly freeze orders 42 10m --json").is_ok());
    }
}
