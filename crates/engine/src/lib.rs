//! The rules of Duly, and nothing else.
//!
//! The engine is a stepped, pure state machine. It is told the time and asked to decide commands;
//! it answers, writes facts, and says what the world should do once the facts are durable. It does
//! no IO, reads no clock, draws no random number, holds no thread and has no dependency, so that
//! the same facts give the same state on every machine and in every year.

pub mod answer;
pub mod clock;
pub mod command;
pub mod deadline;
pub mod effect;
pub mod id;
pub mod limits;
pub mod queue;
pub mod time;
