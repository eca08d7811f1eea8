//! A thread that holds a promise, and what becomes of the process when it panics.
//!
//! It must end at once, before anything on the thread's stack is taken down: a release that is
//! dropped half way tells those who wait that the server stops and knows nothing of what they asked,
//! though what was written may be found after the restart. So the end comes in the panic's hook,
//! which runs before the stack unwinds. A panic on any other thread is none of this file's business.

use std::cell::Cell;
use std::panic;
use std::process;
use std::sync::Once;
use std::thread;

thread_local! {
    static HOLDS_A_PROMISE: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread whose panic aborts the process, with nothing dropped.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            others(panicked);
            if HOLDS_A_PROMISE.get() {
                process::abort();
            }
        }));
    });
    let dutiful = move || {
        HOLDS_A_PROMISE.set(true);
        run();
    };
    let builder = thread::Builder::new().name(format!("duly-{name}"));
    builder.spawn(dutiful).expect("the system has room for half a dozen threads")
}
