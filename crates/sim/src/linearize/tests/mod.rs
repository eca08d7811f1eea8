//! The checker accepts what is right and has teeth for what is not.

#![expect(clippy::print_stdout, reason = "it says how much it did")]

mod by_hand;
mod changed;
mod thin;
mod world;

use super::check;
use crate::dice::Dice;
use crate::history::History;
use changed::CHANGES;
use world::{Shape, history};

/// Histories of all kinds: few keys and many, far apart and close, with and without lost answers.
fn shape(seed: u64, operations: u64) -> Shape {
    let lost = [0, 2, 10][usize::try_from(seed % 3).expect("it is small")];
    Shape { operations, keys: 1 + seed % 4, apart: seed % 7, lost }
}

#[test]
fn what_the_engine_answers_has_an_order() {
    let (mut operations, mut unanswered, mut widest) = (0, 0, 0);
    for seed in 0..400 {
        let judgement = check(&history(seed, shape(seed, 300)));
        assert!(judgement.troubles.is_empty(), "seed {seed}: {}", judgement.troubles[0]);
        operations += judgement.operations;
        unanswered += judgement.unanswered;
        widest = widest.max(judgement.widest);
    }
    println!("accepted: operations={operations} unanswered={unanswered} widest={widest}");
    assert!(operations >= 100_000 && unanswered >= 3_000, "{operations} {unanswered}");
}

#[test]
fn one_wrong_answer_is_seen() {
    let mut weak = Vec::new();
    for change in CHANGES {
        let (mut changed, mut rejected) = (0, 0);
        for seed in 0..120 {
            let mut history = history(seed, Shape { lost: seed % 2, ..shape(seed, 150) });
            let mut dice = Dice::new(seed);
            if changed::changed(&mut history, change, &mut dice).is_some() {
                changed += 1;
                rejected += u64::from(!check(&history).troubles.is_empty());
            }
        }
        println!("{:<24} {rejected} of {changed} rejected", change.name);
        let enough = changed >= 60 && rejected * 100 >= changed * change.floor;
        if !enough {
            weak.push(change.name);
        }
    }
    assert_eq!(weak, Vec::<&str>::new());
}

#[test]
fn a_history_is_the_same_after_a_file() {
    let history = history(11, shape(11, 500));
    let mut lines = Vec::new();
    history.write(&mut lines).expect("memory takes everything");
    assert_eq!(History::read(lines.as_slice()).expect("it was just written"), history);
    assert!(History::read(&b"{\"process\":1}\n"[..]).is_err());
}
