//! The rules of Duly, and nothing else.
//!
//! The engine is a stepped, pure state machine. It is told the time and asked to decide commands;
//! it answers, writes facts, and says what the world should do once the facts are durable. It does
//! no IO, reads no clock, draws no random number, holds no thread and has no dependency, so that
//! the same facts give the same state on every machine and in every year.
//!
//! How a step goes, and where to read on:
//!
//! 1. [`Engine::begin`] takes a reading of the clocks (`clock`) and stamps the step's one time.
//! 2. [`Engine::due_work`] does a bounded slice of what has fallen due (`due`, over `timers`).
//! 3. [`Engine::decide`] decides each command (`decide`, one verb a file): a refusal, or facts. A
//!    command that meets an overdue deadline writes its lapse first, so a backlog never changes who
//!    wins.
//! 4. [`Engine::hand_out`] gives lapsed deadlines to the targets served here (`handout`), queue by
//!    queue in their turns.
//! 5. [`Engine::finish`] ends it: facts as bytes (`fact`, `record`), effects as values (`effect`).
//!
//! Facts are applied (`apply`) to the live state (`state`) the moment they are made, and again, by
//! the same code, when a journal is replayed; `announce` has the words in which others hear of
//! them. The types that callers meet are in `command`, `answer`, `deadline` and `queue`.

pub mod announce;
pub mod answer;
mod apply;
pub mod clock;
pub mod command;
pub mod deadline;
mod decide;
mod due;
pub mod effect;
pub mod fact;
mod handout;
pub mod id;
pub mod limits;
pub mod queue;
pub mod record;
mod state;
mod step;
pub mod time;
mod timers;
pub mod zoo;

pub use apply::ReplayFault;
pub use step::{Engine, Gone, Replayed, Step, Storage};
