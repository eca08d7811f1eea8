//! The Redis protocol: a session reads requests and writes replies. What the engine answers was
//! asked before.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;
use std::sync::Arc;

use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::deadline::{Payload, PayloadAt};
use duly_wire::{Names, Readers, Score, Session, Settings, Todo, Unread, Writers};

use super::{Named, Work};
use crate::shop::Shop;
use crate::world::World;

const SLICE: usize = 2_048;
/// Requests that arrive together in a pipeline.
const PIPELINE: usize = 64;

pub(super) const WORKS: [Named; 5] = [
    named("wire/setex", || Client::begin(1, setex)),
    named("wire/setex, 64 in a pipeline", || Client::begin(PIPELINE, setex)),
    named("wire/get", || Client::begin(1, |key| request(&["GET", key]))),
    named("wire/del", || Client::begin(1, |key| request(&["DEL", key]))),
    named("wire/show a record", || Client::begin(1, show)),
];

const fn named(name: &'static str, begin: fn() -> Box<dyn Work>) -> Named {
    Named { name, slice: SLICE, begin }
}

/// A client that asks one thing about many keys.
struct Client {
    pipeline: usize,
    request: fn(&str) -> Vec<u8>,
    world: World,
    payload: Payload,
    settings: Arc<Settings>,
    session: Session,
    arriving: Vec<Vec<u8>>,
    answers: VecDeque<Vec<Answer>>,
    expected: usize,
    said: usize,
}

impl Client {
    fn begin(pipeline: usize, request: fn(&str) -> Vec<u8>) -> Box<dyn Work> {
        let shop = Shop::new();
        let settings = Arc::new(settings());
        Box::new(Client {
            pipeline,
            request,
            world: shop.open(0),
            payload: shop.payload,
            session: Session::new(Arc::clone(&settings), 1),
            settings,
            arriving: Vec::new(),
            answers: VecDeque::new(),
            expected: 0,
            said: 0,
        })
    }
}

fn setex(key: &str) -> Vec<u8> {
    request(&["SETEX", key, "86400", &"7".repeat(200)])
}

fn show(name: &str) -> Vec<u8> {
    let (queue, key) = name.split_once(':').expect("the queue is the prefix");
    request(&["DULY.GET", queue, key])
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// Feeds in what arrives; gives how many bytes were said. Whatever is asked is answered by `answer`.
fn converse(
    session: &mut Session,
    arriving: &[Vec<u8>],
    payload: &Payload,
    mut answer: impl FnMut(Vec<Command>) -> Vec<Answer>,
) -> usize {
    let mut said = 0;
    for bytes in arriving {
        session.receive(bytes);
        loop {
            match session.todo() {
                Todo::Ask(commands) => session.answered(answer(commands)),
                Todo::Tell => session.tell(&mut |at| {
                    if matches!(at, PayloadAt::Stored(_)) {
                        *at = PayloadAt::Here(payload.clone());
                    }
                }),
                Todo::Read | Todo::Send => {
                    said += session.said().len();
                    session.said().clear();
                    if session.unread() == 0 {
                        break;
                    }
                }
                other => panic!("no request of these leads to {other:?}"),
            }
        }
        session.begun();
    }
    said
}

impl Work for Client {
    fn prepare(&mut self, many: usize) {
        let keys = || (0..many).map(|number| format!("orders:order-{number:018}"));
        let world = &mut self.world;
        // What is asked about is there, as it would be.
        let mut other = Session::new(Arc::clone(&self.settings), 2);
        let set: Vec<Vec<u8>> = keys().map(|key| setex(&key)).collect();
        converse(&mut other, &set, &self.payload, |commands| world.run(commands));
        let requests: Vec<Vec<u8>> = keys().map(|key| (self.request)(&key)).collect();
        self.arriving = requests.chunks(self.pipeline).map(<[_]>::concat).collect();
        let mut answers = VecDeque::new();
        self.expected = converse(&mut other, &self.arriving, &self.payload, |commands| {
            let answer = world.run(commands);
            answers.push_back(answer.clone());
            answer
        });
        self.answers = answers;
        self.said = 0;
    }

    fn run(&mut self) {
        let answers = &mut self.answers;
        self.said = converse(&mut self.session, &self.arriving, &self.payload, |_| {
            answers.pop_front().expect("it asks the same again")
        });
    }

    fn check(&self) {
        assert!(self.said > 0 && self.said == self.expected, "it was answered otherwise");
    }
}

/// Nothing of this is asked for here.
fn settings() -> Settings {
    Settings {
        names: Names::default(),
        tables: BTreeSet::new(),
        score: Score::Seconds,
        read: Readers {
            span: |_| Err(unsent()),
            instant: |_| Err(unsent()),
            is_json: |_| false,
            policy: |_, _| Err(unsent()),
        },
        show: Writers {
            instant: |time, out| write!(out, "{}", time.millis()).expect("memory takes it"),
            policy: |_| String::new(),
        },
    }
}

fn unsent() -> Unread {
    Unread { code: "bad_duration", why: "nothing like that is sent".to_owned() }
}
