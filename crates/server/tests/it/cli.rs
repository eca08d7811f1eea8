//! The built command line against the built server: what people and scripts see of it.
//!
//! Each test starts a server of its own, on a port and in a directory of its own, with a clock that is
//! moved by hand where time matters. Output is compared as it is printed; nothing is slept away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use duly::client::Client;
use hyper::Method;
use serde_json::Value;

const DULY: &str = env!("CARGO_BIN_EXE_duly");

/// A directory that goes when its test is over.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("duly-cli-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server process; it is killed when its test is over.
pub(crate) struct Server {
    process: Child,
    address: String,
    pub(crate) directory: Directory,
}

impl Server {
    /// Starts one on a free port and waits until it says where it listens.
    pub(crate) fn start(name: &str, flags: &[&str]) -> Server {
        let directory = Directory::new(name);
        let mut process = duly(&["serve", "--http", "127.0.0.1:0", "--redis", "off"])
            .args(flags)
            .arg("--data")
            .arg(directory.path("data"))
            .env("DULY_LOG_FORMAT", "json")
            .env("DULY_JOURNAL_SEGMENT_SIZE", "1MiB")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let log = BufReader::new(process.stderr.take().expect("its log was asked for"));
        let mut lines = log.lines().map(|line| line.expect("the log is text"));
        let address = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line).expect("each line is JSON"))
            .find_map(|line| line["http"].as_str().map(str::to_owned))
            .expect("it says where it listens");
        // The pipe is kept empty, or the server would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, address, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a command that asks this server.
    pub(crate) fn ask(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split(' ').collect();
        said(duly(&words).env("DULY_URL", self.url()))
    }

    /// Moves its clock, which stands still otherwise.
    pub(crate) fn advance(&self, by: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = Client::new(&self.url()).expect("the address is good");
        let body = format!("{{\"by\":\"{by}\"}}");
        let answer = runtime
            .expect("a runtime can be made")
            .block_on(client.send(Method::POST, "/v1/clock/advance", body))
            .expect("the server answers");
        assert!(answer.is_success(), "{}", answer.json());
    }
}

impl Server {
    /// Ends it with a signal that it cannot hear; its directory stays with this.
    pub(crate) fn kill(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i32,
}

pub(crate) fn duly(words: &[&str]) -> Command {
    let mut command = Command::new(DULY);
    // What the surroundings of the tests say about Duly is not meant here.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DULY_")) {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null());
    command
}

pub(crate) fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("duly can be run");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    Said { out: text(stdout), err: text(stderr), status: status.code().expect("it ends by itself") }
}

fn run(line: &str) -> Said {
    said(&mut duly(&line.split(' ').collect::<Vec<_>>()))
}

#[test]
fn a_deadline_lives_its_life_from_the_command_line() {
    let server = Server::start("life", &["--clock", "manual"]);
    let scheduled = server.ask("schedule orders 42 --after 30m --payload {\"total\":19.90}");
    assert_eq!(scheduled.status, 0, "{scheduled:?}");
    assert!(scheduled.out.starts_with("orders/42 is pending, due "), "{scheduled:?}");
    assert!(scheduled.out.ends_with("UTC (in 30m)\n"), "{scheduled:?}");
    assert!(scheduled.err.contains("no worker has leased"), "{scheduled:?}");

    let extended = server.ask("extend orders 42 --by 15m");
    assert!(extended.out.ends_with("UTC (in 45m)\n"), "{extended:?}");
    let frozen = server.ask("freeze orders 42 10m");
    assert_eq!(frozen.status, 0, "{frozen:?}");
    assert!(frozen.out.contains("(in 45m), frozen until "), "{frozen:?}");
    assert!(frozen.out.ends_with(" UTC (in 10m)\n"), "{frozen:?}");

    let shown = server.ask("get orders 42").out;
    for part in ["orders/42  pending", "payload", "19.90", "scheduled", "extended", "frozen"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    let settled = server.ask("settle orders 42 paid");
    assert_eq!((settled.out.as_str(), settled.status), ("orders/42 is settled: paid\n", 0));
    let again = server.ask("settle orders 42 paid");
    assert_eq!((again.out.as_str(), again.status), ("orders/42 was settled before: paid\n", 0));
    let otherwise = server.ask("settle orders 42 refused");
    assert_eq!(otherwise.status, 1, "{otherwise:?}");
    assert!(otherwise.err.contains("outcome paid (settled_otherwise)"), "{otherwise:?}");

    let stats = server.ask("stats orders").out;
    assert!(stats.contains("OUTCOME  COUNT\npaid         1\n"), "{stats}");
    let erased = server.ask("erase orders 42 --yes");
    assert_eq!((erased.out.as_str(), erased.status), ("orders/42 is erased\n", 0));
    let gone = server.ask("get orders 42");
    assert_eq!(gone.status, 1);
    assert!(gone.err.contains("(unknown_deadline)"), "{gone:?}");
}

#[test]
fn a_settle_that_comes_too_late_says_what_became_of_it() {
    let server = Server::start("late", &["--clock", "manual"]);
    assert_eq!(server.ask("schedule orders 42 --after 30m").status, 0);
    server.advance("30m");
    let late = server.ask("settle orders 42 paid");
    let stats = server.ask("stats").out;
    let counts: Vec<&str> = stats.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(counts, ["orders", "0", "1", "0", "0", "0", "1", "1"], "{stats}");
    assert_eq!((late.status, late.out.as_str()), (1, ""));
    for part in ["lapsed ", "delivery ", "acted no", "(too_late)"] {
        assert!(late.err.contains(part), "{part} is not in: {late:?}");
    }
    let late = server.ask("settle orders 42 paid --json");
    assert_eq!((late.status, late.err.as_str()), (1, ""));
    let answer: Value = serde_json::from_str(&late.out).expect("it is the server's JSON");
    assert_eq!((answer["code"].as_str(), answer["acted"].as_str()), (Some("too_late"), Some("no")));
}

#[test]
fn a_settle_may_come_before_its_schedule() {
    let server = Server::start("before", &[]);
    assert_eq!(server.ask("schedule orders other --after 30m").status, 0);
    let early = server.ask("settle orders 42 paid --remember 1h");
    assert!(early.out.starts_with("not known yet; remembered until "), "{early:?}");
    let born = server.ask("schedule orders 42 --after 30m");
    assert_eq!(born.out, "orders/42 is settled: paid\n", "{born:?}");
}

#[test]
fn a_list_goes_on_page_by_page() {
    let server = Server::start("list", &["--clock", "manual"]);
    for (key, after) in [("c", "30m"), ("a", "10m"), ("b", "20m")] {
        assert_eq!(server.ask(&format!("schedule orders {key} --after {after}")).status, 0);
    }
    let keys = |said: &Said| -> Vec<String> {
        let lines = said.out.lines().skip(1);
        lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    let first = server.ask("list orders --limit 2");
    assert_eq!(keys(&first), ["a", "b"], "{first:?}");
    assert!(first.err.contains("--cursor "), "{first:?}");
    let all = server.ask("list orders --limit 2 --all");
    assert_eq!((keys(&all), all.err.as_str()), (vec!["a".into(), "b".into(), "c".into()], ""));
    let cursor = first.err.split("--cursor ").nth(1).and_then(|rest| rest.split(',').next());
    let rest = server.ask(&format!("list orders --cursor {}", cursor.expect("it was printed")));
    assert_eq!(keys(&rest), ["c"], "{rest:?}");
    let none = server.ask("list orders --state settled");
    assert_eq!((keys(&none), none.status), (vec![], 0));
    let pages = server.ask("list orders --limit 2 --all --json").out;
    assert_eq!(pages.lines().count(), 2, "each page is a line of JSON: {pages}");
}

#[test]
fn a_payload_that_no_number_can_hold_hides_nothing() {
    let server = Server::start("payloads", &["--clock", "manual"]);
    for (key, payload) in [("a", "1e400"), ("b", "\"\\ud800\"")] {
        let scheduled =
            server.ask(&format!("schedule orders {key} --after 30m --payload {payload}"));
        assert!(scheduled.out.starts_with(&format!("orders/{key} is pending")), "{scheduled:?}");
        let shown = server.ask(&format!("get orders {key}")).out;
        assert!(shown.contains(payload), "{shown}");
    }
    assert_eq!(server.ask("list orders").out.lines().count(), 3);
}

#[test]
fn queues_are_paused_and_resumed() {
    let server = Server::start("pause", &["--clock", "manual"]);
    assert_eq!(server.ask("schedule orders 42 --after 30m").status, 0);
    assert_eq!(server.ask("pause orders --lapses").out, "orders: lapses wait\n");
    assert!(server.ask("stats").out.contains("lapses paused"));
    server.advance("1h");
    assert_eq!(server.ask("settle orders 42 paid").status, 0, "nothing lapses meanwhile");
    assert_eq!(server.ask("resume orders --lapses").out, "orders: lapses go on\n");
    assert_eq!(server.ask("pause nothing").status, 1);
}

#[test]
fn mistakes_on_the_command_line_are_told_apart_from_refusals() {
    let server = Server::start("mistakes", &[]);
    let refused = server.ask("schedule orders 42 --after 30");
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("(bad_duration)"), "{refused:?}");
    assert_eq!(server.ask("schedule orders 42 --payload {").status, 2);
    assert_eq!(server.ask("schedule orders 42 --payload @/no/such/file").status, 2);
    assert_eq!(server.ask("erase orders 42").status, 2, "without a terminal nobody can be asked");
    assert_eq!(server.ask("settle orders 42").status, 2);
    assert_eq!(run("get orders 42 --url https://127.0.0.1").status, 2);
    assert_eq!(run("get orders 42 --url http://127.0.0.1:99999").status, 2);
}

#[test]
fn a_server_that_does_not_answer_is_status_69() {
    // Nobody listens on the port of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr());
    let address = gone.expect("there are free ports");
    let away = run(&format!("get orders 42 --url http://{address}"));
    assert_eq!(away.status, 69, "{away:?}");
    assert!(away.err.contains(&format!("no answer from http://{address}")), "{away:?}");
    assert!(away.err.contains("duly serve"), "{away:?}");
}

#[test]
fn an_answer_that_is_not_dulys_is_no_success() {
    for answer in [
        "200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        "200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "204 No Content\r\n\r\n",
        "404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it has an address");
        let lines = ["erase orders 42 --yes", "settle orders 42 paid", "list orders --json"];
        let other = std::thread::spawn(move || {
            for _ in lines {
                let (mut caller, _) = listener.accept().expect("somebody calls");
                let mut asked = BufReader::new(caller.try_clone().expect("a socket has clones"));
                let mut line = String::new();
                while asked.read_line(&mut line).expect("it asks in text") > 2 {
                    line.clear();
                }
                write!(caller, "HTTP/1.1 {answer}").expect("it listens");
                // Closed at once, what is still unread of the body would undo the answer.
                caller.shutdown(Shutdown::Write).expect("it is open");
                std::io::copy(&mut asked, &mut std::io::sink()).unwrap_or_default();
            }
        });
        for line in lines {
            let said = run(&format!("{line} --url http://{address}"));
            assert_eq!((said.status, said.out.as_str()), (69, ""), "{answer}: {said:?}");
            assert!(said.err.contains("is not Duly's"), "{said:?}");
            assert!(said.err.contains("--url"), "{said:?}");
        }
        other.join().expect("it served them all");
    }
}

#[test]
fn an_sql_action_that_cannot_be_is_a_wrong_configuration() {
    let directory = Directory::new("sql");
    let (file, data) = (directory.path("duly.toml"), directory.path("data"));
    let shop = directory.path("shop.db");
    let database = rusqlite::Connection::open(&shop).expect("a database can be made");
    database.execute_batch("CREATE TABLE orders (id)").expect("and a table in it");
    let write = |step: &str| {
        let text = format!(
            "[journal]\nsegment_size = \"1MiB\"\n[databases.shop]\ndsn = \"sqlite://{}\"\n\
             [sql.cancel]\ndatabase = \"shop\"\nsteps = [\"{step}\"]\n",
            shop.display()
        );
        std::fs::write(&file, text).expect("a file can be written");
    };
    let check = || said(duly(&["config", "--check"]).arg(&file));
    let serve = || {
        let mut command = duly(&["serve", "--http", "127.0.0.1:0", "--redis", "off", "--config"]);
        said(command.arg(&file).arg("--data").arg(&data).env("DULY_LOG_LEVEL", "error"))
    };
    write("UPDATE orders SET id = 1 WHERE id = :kee");
    for bad in [check(), serve()] {
        assert_eq!(bad.status, 78, "{bad:?}");
        let place = format!("duly: {}: sql.cancel.steps[0]: no parameter", file.display());
        assert!(bad.err.starts_with(&place), "{bad:?}");
    }
    assert!(!data.exists(), "nothing was begun");
    write("UPDATE orderz SET id = 1 WHERE id = :key");
    assert_eq!(check().status, 0, "it asks no database");
    let bad = serve();
    assert_eq!(bad.status, 78, "{bad:?}");
    assert!(bad.err.contains("sql.cancel.steps[0]: "), "{bad:?}");
    assert!(bad.err.contains("orderz"), "{bad:?}");
}

#[test]
fn output_that_cannot_be_written_is_status_74() {
    for words in [&["config"][..], &["--help"], &["--version"]] {
        let full = std::fs::File::create("/dev/full").expect("there is a full device");
        let failed = duly(words).stdout(full).stderr(Stdio::piped()).output();
        let Output { status, stderr, .. } = failed.expect("duly can be run");
        let complaint = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(74), "{words:?}: {complaint}");
        assert!(complaint.contains("cannot write to standard output"), "{complaint}");
    }
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let server = Server::start("starts", &[]);
    let (data, other) = (server.directory.path("data"), server.directory.path("other"));
    let start = |data: &Path, http: &str| {
        let line = ["serve", "--http", http, "--redis", "off", "--data"];
        said(duly(&line).arg(data).env("DULY_LOG_LEVEL", "error"))
    };
    let second = start(&data, "127.0.0.1:0");
    assert_eq!(second.status, 75, "{second:?}");
    assert!(second.err.contains(&*data.to_string_lossy()), "{second:?}");
    let port_taken = start(&other, &server.address);
    assert_eq!(port_taken.status, 75, "{port_taken:?}");
    assert!(port_taken.err.contains(&server.address), "{port_taken:?}");
    let file = server.directory.path("file");
    std::fs::write(&file, "not a directory").expect("a file can be written");
    let no_directory = start(&file, "127.0.0.1:0");
    assert_eq!(no_directory.status, 73, "{no_directory:?}");
    let open_wide = start(&other, "0.0.0.0:0");
    assert_eq!(open_wide.status, 78, "{open_wide:?}");
    assert!(open_wide.err.contains("without API keys"), "{open_wide:?}");
}

#[test]
fn the_configuration_is_printed_and_checked() {
    let directory = Directory::new("config");
    let file = directory.path("duly.toml");
    let check = || said(duly(&["config", "--check"]).arg(&file));
    std::fs::write(&file, run("config").out).expect("a file can be written");
    let good = check();
    assert_eq!((good.status, good.err.as_str()), (0, ""), "{good:?}");
    std::fs::write(&file, "\n[http]\nlisen = \"x\"\n").expect("a file can be written");
    let bad = check();
    assert_eq!((bad.status, bad.out.as_str()), (78, ""), "{bad:?}");
    let place = format!("duly: {}:3: http.lisen: ", file.display());
    assert!(bad.err.starts_with(&place), "{bad:?}");
}

#[test]
fn a_reader_that_hangs_up_is_no_mistake() {
    let mut process = duly(&["config"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let process = process.as_mut().expect("duly can be run");
    drop(process.stdout.take());
    let mut complaint = String::new();
    let mut err = process.stderr.take().expect("it was asked for");
    err.read_to_string(&mut complaint).expect("it prints text");
    assert!(process.wait().expect("it ends").success());
    assert_eq!(complaint, "");
}

#[test]
fn the_documents_list_every_exit_status() {
    let document = include_str!("../../../../docs/cli.md");
    let help = run("--help").out;
    let (_, statuses) = help.split_once("Exit status:\n").expect("the help lists them");
    let statuses: Vec<&str> =
        statuses.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(statuses.len() >= 10, "{statuses:?}");
    for status in statuses {
        assert!(document.contains(&format!("\n| {status} | ")), "{status} is not in docs/cli.md");
    }
}
