//! A session without a socket: what a broker says decides over every message, and what it never says,
//! too. Real ones are met by the suite `amqp`.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::talk::Talk;
use super::wire::{Frame, Kind, put_frame, put_short, take_frame};
use super::{Letter, Said};
use crate::clock::stopwatch;
use crate::config::AmqpDestination;
use crate::deliver::tests::delivery;

const HEARTBEAT: Duration = Duration::from_secs(20);

/// A session and the time.
struct Session {
    talk: Talk,
    now: Instant,
}

impl Session {
    fn begin() -> Session {
        let place = AmqpDestination {
            vhost: "/".to_owned(),
            exchange: "orders".to_owned(),
            routing_key: "lapsed".to_owned(),
        };
        let now = stopwatch();
        Session { talk: Talk::new(place, 4096, HEARTBEAT, now), now }
    }

    /// Publishes the deliveries of these numbers.
    fn publish(&mut self, numbers: &[u64]) -> Vec<oneshot::Receiver<Said>> {
        let (letters, answers) = numbers.iter().map(|n| Letter::new(&delivery(*n))).unzip();
        self.talk.publish(letters, self.now);
        answers
    }

    fn hear(&mut self, (class, method): (u16, u16), arguments: &[u8]) -> Result<(), String> {
        let mut payload = BytesMut::new();
        payload.put_u16(class);
        payload.put_u16(method);
        payload.put_slice(arguments);
        let frame = Frame { kind: Kind::Method, channel: 1, payload: payload.freeze() };
        self.talk.has_heard(self.now);
        self.talk.hear(&frame, self.now)
    }

    fn ack(&mut self, tag: u8, multiple: bool) -> Result<(), String> {
        self.hear((60, 80), &[0, 0, 0, 0, 0, 0, 0, tag, u8::from(multiple)])
    }

    /// The message of this delivery comes back.
    fn come_back(&mut self, number: u64) -> Result<(), String> {
        self.hear((60, 50), b"\x01\x38\x08NO_ROUTE\x06orders\x06lapsed")?;
        let mut payload = BytesMut::new();
        payload.put_slice(b"\0\x3c\0\0\0\0\0\0\0\0\0\x02");
        // Content type, headers, delivery mode, message id.
        payload.put_u16(0b1011_0000_1000_0000);
        payload.put_slice(b"\x04text\0\0\0\x03\x01at\x02");
        put_short(&mut payload, &delivery(number).leased.id.to_string());
        for (kind, payload) in [(Kind::Header, payload.freeze()), (Kind::Body, "{}".into())] {
            self.talk.hear(&Frame { kind, channel: 1, payload }, self.now)?;
        }
        Ok(())
    }

    fn pass(&mut self, span: Duration) -> Result<(), String> {
        self.now += span;
        self.talk.pass(self.now)
    }
}

fn answers(waiting: &mut [oneshot::Receiver<Said>]) -> Vec<Option<Said>> {
    waiting.iter_mut().map(|answer| answer.try_recv().ok()).collect()
}

#[test]
fn a_message_is_good_when_it_is_confirmed_and_not_before() {
    let mut session = Session::begin();
    let mut waiting = session.publish(&[1, 2, 3, 4, 5]);
    assert_eq!(answers(&mut waiting), vec![None; 5]);
    session.ack(2, false).expect("it was published");
    assert_eq!(answers(&mut waiting), [None, Some(Ok(())), None, None, None]);
    session.ack(4, true).expect("they were published");
    let mut rest = [waiting.remove(4), waiting.remove(3), waiting.remove(2), waiting.remove(0)];
    assert_eq!(answers(&mut rest), [None, Some(Ok(())), Some(Ok(())), Some(Ok(()))]);
    session.ack(0, true).expect("all there are");
    assert_eq!(answers(&mut rest[..1]), [Some(Ok(()))]);
}

#[test]
fn a_message_that_is_refused_or_comes_back_is_never_good() {
    let mut session = Session::begin();
    let mut waiting = session.publish(&[1, 2, 3]);
    session.come_back(2).expect("it is ours");
    session.hear((60, 120), &[0, 0, 0, 0, 0, 0, 0, 1, 0]).expect("a refusal");
    session.ack(3, true).expect("they were published");
    let said = answers(&mut waiting);
    let why = |number: usize| match &said[number] {
        Some(Err(why)) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why(0).starts_with("refused: "), "{said:?}");
    assert_eq!(why(1), "unroutable: no queue takes it (NO_ROUTE)");
    assert_eq!(said[2], Some(Ok(())));
}

#[test]
fn what_comes_back_counts_for_both_attempts_that_wait() {
    let mut session = Session::begin();
    let mut waiting = session.publish(&[1, 1]);
    session.come_back(1).expect("it is ours");
    session.ack(2, true).expect("they were published");
    assert!(answers(&mut waiting).iter().all(|said| matches!(said, Some(Err(_)))));
}

#[test]
fn what_a_broker_has_no_reason_to_say_ends_the_session() {
    for (id, arguments) in [
        ((60, 80), &[0, 0, 0, 0, 0, 0, 0, 2, 0][..]), // a confirmation of what was never sent
        ((60, 80), &[0, 0, 0, 0, 0, 0, 0, 2, 1]),
        ((60, 80), &[0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ((60, 80), &[0, 0, 0, 1]), // cut short
        ((60, 60), b"\0\x01a"),    // a message for a consumer
        ((10, 30), b"\0\x01\0\0\x10\0\0\x05"),
        ((99, 99), b""),
    ] {
        let mut session = Session::begin();
        let mut waiting = session.publish(&[1]);
        let why = session.hear(id, arguments).expect_err("strange");
        assert_eq!(why, "its answer is none of an AMQP broker", "{id:?}");
        session.talk.end(&why);
        assert_eq!(answers(&mut waiting), [Some(Err(why))]);
    }
    let mut session = Session::begin();
    session.publish(&[1]);
    session.come_back(2).expect_err("a message that is not ours");
}

#[test]
fn when_the_broker_ends_it_all_who_wait_hear_why_and_nobody_is_named() {
    for (id, text, why) in [
        (
            (20, 40),
            "NOT_FOUND - no exchange 'x' in vhost '/'",
            "NOT_FOUND - no exchange 'x' in vhost '/'",
        ),
        (
            (20, 40),
            "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'duly'",
            "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for its user",
        ),
        (
            (10, 50),
            "NOT_ALLOWED - connection refused for user 'duly': user connection limit (1) is reached",
            "NOT_ALLOWED - connection refused for its user: user connection limit (1) is reached",
        ),
        (
            (10, 50),
            "ACCESS_REFUSED - refused for user 'du",
            "ACCESS_REFUSED - refused for its user",
        ),
    ] {
        let mut session = Session::begin();
        let mut waiting = session.publish(&[1, 2]);
        session.come_back(2).expect("it is ours");
        let mut arguments = BytesMut::from(&b"\x01\x94"[..]);
        put_short(&mut arguments, text);
        arguments.put_u32(0);
        let said = session.hear(id, &arguments).expect_err("the end");
        assert_eq!(said, why);
        session.talk.end(&said);
        let unroutable = "unroutable: no queue takes it (NO_ROUTE)".to_owned();
        assert_eq!(answers(&mut waiting), [Some(Err(said)), Some(Err(unroutable))]);
    }
}

#[test]
fn a_broker_that_blocks_keeps_what_it_has_and_gets_no_more() {
    let mut session = Session::begin();
    let mut first = session.publish(&[1, 2]);
    session.hear((10, 60), b"\x0dlow on memory").expect("it blocks");
    let written = session.talk.outgoing.len();
    let mut second = session.publish(&[3]);
    let blocked = "blocked: the broker takes no messages (low on memory)".to_owned();
    assert_eq!(answers(&mut second), [Some(Err(blocked.clone()))]);
    assert_eq!(session.talk.outgoing.len(), written, "nothing is sent");
    session.pass(Duration::from_secs(24)).expect("it has time");
    assert_eq!(answers(&mut first), [None, None]);
    session.ack(1, false).expect("it had read that one");
    session.pass(Duration::from_secs(1)).expect("it is not lost, it is blocked");
    assert_eq!(answers(&mut first), [Some(Ok(())), Some(Err(blocked))]);
    session.hear((10, 61), b"").expect("it goes on");
    session.ack(2, false).expect("it reads what it had not read");
    let mut third = session.publish(&[3]);
    session.ack(3, false).expect("it was published");
    assert_eq!(answers(&mut third), [Some(Ok(()))]);
}

#[test]
fn a_broker_that_does_not_confirm_in_time_is_given_up() {
    let mut session = Session::begin();
    let _waiting = session.publish(&[1]);
    for _ in 0..2 {
        session.pass(Duration::from_secs(12)).expect("it has time");
        session.talk.has_heard(session.now);
    }
    let why = session.pass(Duration::from_secs(1)).expect_err("25 s are over");
    assert_eq!(why, "it did not confirm within 25 s");
}

#[test]
fn signs_of_life_are_given_and_expected() {
    let mut session = Session::begin();
    assert_eq!(session.talk.wake_at(), session.now + HEARTBEAT / 2);
    session.pass(HEARTBEAT / 2).expect("it has time");
    let frame = take_frame(&mut session.talk.outgoing, 4096).expect("a frame").expect("whole");
    assert_eq!(frame, Frame { kind: Kind::Heartbeat, channel: 0, payload: Bytes::new() });
    session.pass(HEARTBEAT).expect("it has time");
    session.talk.has_said(session.now);
    assert_eq!(session.talk.wake_at(), session.now + HEARTBEAT / 2);
    let why = session.pass(HEARTBEAT / 2).expect_err("two heartbeats were missed");
    assert_eq!(why, "it has fallen silent");
}

#[test]
fn a_large_message_goes_out_in_frames_that_are_not_too_large() {
    let mut session = Session::begin();
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let (letter, _answer) = Letter::new(&delivery(1).saying(&payload));
    let body = letter.body.clone();
    session.talk.publish(vec![letter], session.now);
    let mut sent = Vec::new();
    while let Some(frame) = take_frame(&mut session.talk.outgoing, 4096).expect("good frames") {
        if frame.kind == Kind::Body {
            sent.extend_from_slice(&frame.payload);
        }
    }
    assert!(session.talk.outgoing.is_empty());
    assert_eq!(sent, body);
}

#[test]
fn any_bytes_are_understood_or_strange() {
    // A walk through all classes and numbers with arguments of all lengths: nothing panics.
    let noise: Vec<u8> = (0..64u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut understood = 0;
    for class in [0, 10, 20, 60, 85, 90] {
        for method in 0..130 {
            for length in 0..noise.len() {
                let mut session = Session::begin();
                session.publish(&[1]);
                understood += u32::from(session.hear((class, method), &noise[..length]).is_ok());
            }
        }
    }
    assert!(understood > 0);
    let mut out = BytesMut::new();
    for kind in [Kind::Header, Kind::Body, Kind::Heartbeat] {
        for length in 0..noise.len() {
            let payload = Bytes::copy_from_slice(&noise[..length]);
            let mut session = Session::begin();
            session
                .talk
                .hear(&Frame { kind, channel: 1, payload }, session.now)
                .unwrap_or_default();
            put_frame(&mut out, kind, 1, |out| out.put_slice(&noise[..length]));
        }
    }
    while take_frame(&mut out, 4096).expect("our own frames").is_some() {}
    assert!(out.is_empty());
}
