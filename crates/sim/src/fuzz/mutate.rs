//! New inputs from old ones: bits, bytes, numbers at their limits, words, pieces of other inputs.

use crate::dice::Dice;

/// No input grows beyond this, but for the few that are to be too long for everything.
const LONG: usize = 4_096;
const TOO_LONG: usize = 300 * 1_024;

/// Numbers around which things break.
const LIMITS: [u64; 16] = [
    0,
    1,
    9,
    63,
    64,
    127,
    128,
    255,
    256,
    512,
    65_535,
    65_536,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// A changed copy of one of these; `words` are the target's own.
pub(super) fn mutated(pool: &[Vec<u8>], words: &[&str], dice: &mut Dice, out: &mut Vec<u8>) {
    out.clear();
    if !pool.is_empty() {
        out.extend_from_slice(&pool[dice.index(pool.len())]);
    }
    if dice.one_in(20_000) {
        grow(out, dice);
        return;
    }
    let few = dice.below(4);
    let changes = 1 + dice.below(1 << few);
    for _ in 0..changes {
        change(pool, words, dice, out);
    }
    out.truncate(LONG);
}

fn change(pool: &[Vec<u8>], words: &[&str], dice: &mut Dice, out: &mut Vec<u8>) {
    match dice.below(12) {
        0 => flip(out, dice),
        1 => {
            if let Some(byte) = any(out, dice) {
                *byte = at_limit(dice);
            }
        }
        2 => {
            let at = dice.index(out.len() + 1);
            out.insert(at, at_limit(dice));
        }
        3 => {
            let (from, to) = piece(out, dice);
            out.drain(from..to);
        }
        4 => {
            let (from, to) = piece(out, dice);
            let copy = out[from..to].to_vec();
            put(out, &copy, dice);
        }
        5 if !pool.is_empty() => {
            let other = &pool[dice.index(pool.len())];
            let (from, to) = piece(other, dice);
            put(out, &other[from..to], dice);
        }
        6 => {
            // The beginning of this one and the end of another.
            let at = dice.index(out.len() + 1);
            out.truncate(at);
            if !pool.is_empty() {
                let other = &pool[dice.index(pool.len())];
                out.extend_from_slice(&other[dice.index(other.len() + 1)..]);
            }
        }
        7 => written_number(out, dice),
        8 => binary_number(out, dice),
        9 => {
            let at = dice.index(out.len() + 1);
            out.truncate(at);
        }
        _ if !words.is_empty() => {
            let word = words[dice.index(words.len())].as_bytes();
            put(out, word, dice);
        }
        _ => flip(out, dice),
    }
}

fn flip(out: &mut [u8], dice: &mut Dice) {
    let bit = dice.below(8);
    if let Some(byte) = any(out, dice) {
        *byte ^= 1 << bit;
    }
}

fn any<'a>(out: &'a mut [u8], dice: &mut Dice) -> Option<&'a mut u8> {
    if out.is_empty() { None } else { out.get_mut(dice.index(out.len())) }
}

fn at_limit(dice: &mut Dice) -> u8 {
    match dice.below(4) {
        0 => dice.next().to_le_bytes()[0],
        1 => b"\0\n\r\t \"\\'{}[]:,;.-+eE09azAZ%&=#/?"[dice.index(30)],
        2 => [0, 1, 0x7f, 0x80, 0xff, 0xc3, 0xe2, 0xf0][dice.index(8)],
        _ => b'0' + u8::try_from(dice.below(10)).expect("it is a digit"),
    }
}

/// Some piece, mostly a short one.
fn piece(bytes: &[u8], dice: &mut Dice) -> (usize, usize) {
    let from = dice.index(bytes.len() + 1);
    let size = dice.below(8);
    let longest = (bytes.len() - from).min(1 << size);
    (from, from + dice.index(longest + 1))
}

/// Puts something in somewhere, or over what is there.
fn put(out: &mut Vec<u8>, piece: &[u8], dice: &mut Dice) {
    let at = dice.index(out.len() + 1);
    let over = if dice.one_in(3) { piece.len().min(out.len() - at) } else { 0 };
    out.splice(at..at + over, piece.iter().copied());
}

/// Another number where one is written in digits.
fn written_number(out: &mut Vec<u8>, dice: &mut Dice) {
    let begin = dice.index(out.len() + 1);
    let Some(from) = out[begin..].iter().position(u8::is_ascii_digit).map(|at| begin + at) else {
        return;
    };
    let digits = out[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let limit = LIMITS[dice.index(LIMITS.len())];
    let near = match dice.below(3) {
        0 => limit.wrapping_sub(1),
        1 => limit.wrapping_add(1),
        _ => limit,
    };
    out.splice(from..from + digits, near.to_string().into_bytes());
}

/// Another number where bytes may be one.
fn binary_number(out: &mut [u8], dice: &mut Dice) {
    let size = 1 << dice.below(4);
    if out.len() < size {
        return;
    }
    let at = dice.index(out.len() - size + 1);
    let number = LIMITS[dice.index(LIMITS.len())].wrapping_add(dice.below(3)).wrapping_sub(1);
    let bytes =
        if dice.percent(50) { number.to_le_bytes() } else { number.swap_bytes().to_le_bytes() };
    out[at..at + size].copy_from_slice(&bytes[..size]);
}

/// Something in it so often that it is too long for everything.
fn grow(out: &mut Vec<u8>, dice: &mut Dice) {
    let (from, to) = piece(out, dice);
    let piece = if from == to { b"x".to_vec() } else { out[from..to].to_vec() };
    let times = dice.index(TOO_LONG / piece.len());
    let at = dice.index(out.len() + 1);
    out.splice(at..at, piece.repeat(times));
}
