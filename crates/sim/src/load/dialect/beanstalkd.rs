//! beanstalkd: `put` with a delay in whole seconds, `delete`, `reserve-with-timeout`.
//!
//! A job has no name but the number that the server gives it, so whoever wants to settle must keep that.
//! The key travels in the body. A delay is rounded up: rounded down it would be early.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context as _, bail};

use super::super::deadline::{self, KEY_BYTES, PAYLOAD_BYTES};
use super::{Dialect, Handed, Said, Shared, digits, line, now_ms};

/// Priority, and how long a worker may hold what it has.
const PRIORITY: &[u8] = b"put 1024 ";
const HOLD: &[u8] = b" 60 ";

/// A client.
pub(super) struct Beanstalkd {
    shared: Rc<Shared>,
    /// Numbers of ours that wait for theirs.
    put: VecDeque<u64>,
}

impl Beanstalkd {
    pub(super) fn new(shared: Rc<Shared>) -> Beanstalkd {
        Beanstalkd { shared, put: VecDeque::new() }
    }

    fn delete(out: &mut Vec<u8>, name: u64) {
        out.extend_from_slice(b"delete ");
        digits(out, name);
        out.extend_from_slice(b"\r\n");
    }
}

impl Dialect for Beanstalkd {
    fn prepare(&mut self, _out: &mut Vec<u8>) -> u64 {
        0
    }

    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64) {
        let now = now_ms();
        for number in first..first + count {
            out.extend_from_slice(PRIORITY);
            digits(out, due(number).saturating_sub(now).div_ceil(1_000));
            out.extend_from_slice(HOLD);
            digits(out, (KEY_BYTES + 1 + PAYLOAD_BYTES) as u64);
            out.extend_from_slice(b"\r\n");
            deadline::key(out, number);
            out.push(b' ');
            self.shared.payloads.write(out, number);
            out.extend_from_slice(b"\r\n");
            self.put.push_back(number);
        }
    }

    fn settle(&mut self, out: &mut Vec<u8>, number: u64) {
        let place = usize::try_from(number).expect("it was counted in memory");
        let name = self.shared.names.borrow().get(place).copied();
        Self::delete(out, name.expect("only what was put is settled"));
    }

    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize {
        // What waits keeps the connection to itself, so that a delete would come after it: of many
        // none waits.
        let request: &[u8] =
            if most == 1 { b"reserve-with-timeout 10\r\n" } else { b"reserve-with-timeout 0\r\n" };
        for _ in 0..most {
            out.extend_from_slice(request);
        }
        most
    }

    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]) {
        for one in handed {
            out.extend_from_slice(b"delete ");
            out.extend_from_slice(&one.name);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn hear(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>> {
        let Some((said, length)) = line(bytes) else { return Ok(None) };
        let text = std::str::from_utf8(said).context("an answer that is not text")?;
        let words: Vec<&str> = text.split(' ').collect();
        Ok(match words[..] {
            ["INSERTED", name] => {
                let number = self.put.pop_front().context("an answer that nobody asked for")?;
                let place = usize::try_from(number).expect("it was counted in memory");
                let mut names = self.shared.names.borrow_mut();
                if names.len() <= place {
                    names.resize(place + 1, 0);
                }
                names[place] = name.parse().context("a number was expected")?;
                Some((length, Said::Done(1)))
            }
            ["DELETED"] => Some((length, Said::Done(1))),
            ["TIMED_OUT"] => Some((length, Said::Nothing(1))),
            ["RESERVED", name, size] => {
                let end = length + size.parse::<usize>().context("a length was expected")? + 2;
                bytes
                    .get(length..end)
                    .map(|body| {
                        let number = deadline::number(body.get(..KEY_BYTES).unwrap_or_default())?;
                        let handed = Handed { number, name: name.as_bytes().to_owned() };
                        anyhow::Ok((end, Said::Handed(vec![handed])))
                    })
                    .transpose()?
            }
            _ => bail!("refused: {text}"),
        })
    }
}
