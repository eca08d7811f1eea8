//! A server to ask: a [`World`] whose duties are done in turn, each step made durable before the next.
//!
//! The archive takes what it is fed only when a story says so, so that final records stay in memory
//! for a while. Any call to the disk may fail, and then this server is gone: nothing is tried twice.

use duly::driver::Attempt;
use duly::driver::open::StoreSettings;
use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_store::disk::MemoryDisk;

use crate::world::{Death, Duty, Settings, World};

/// A journal of the smallest segments there are, cleaned early.
pub(crate) const SMALL: StoreSettings = StoreSettings {
    segment_bytes: 16 << 10,
    reserve: 5,
    keep_bytes: 40 << 10,
    events_bytes: 1 << 20,
};

/// What every directory is called, so that the same story gives the same bytes.
pub(crate) const DIRECTORY: [u8; 8] = *b"small-01";

/// More rounds than this are a loop that does not end.
const ROUNDS: usize = 10_000;

/// What a server does when it is asked: everything but the archive's duties.
const SERVING: [Duty; 8] = [
    Duty::Step,
    Duty::Write,
    Duty::Leave,
    Duty::LookUp,
    Duty::Found,
    Duty::Clean,
    Duty::Allocate,
    Duty::Fill,
];

/// A server at work.
pub(crate) struct Server {
    world: World,
    /// It has died, and nobody has noticed yet.
    death: Option<Death>,
    /// The disk after each release that was written, if somebody wants to know.
    pub(crate) pictures: Option<Vec<MemoryDisk>>,
}

impl Server {
    /// A machine with this disk, switched off.
    pub(crate) fn over(disk: &MemoryDisk, store: StoreSettings) -> Server {
        let mut world = World::new(Settings {
            store,
            limits: Limits::default(),
            look_every: Span::from_secs(10),
            identity: u64::from_be_bytes(DIRECTORY),
        });
        world.disk = disk.clone();
        Server { world, death: None, pictures: None }
    }

    /// Opens the directory and begins to serve.
    pub(crate) fn open(&mut self) -> Result<(), Death> {
        self.world.open()?;
        self.work()
    }

    /// The same machine when the process is gone; with a seed, when the power was gone too, and that
    /// decides how much is left of what was not synced. This one stays as it is.
    pub(crate) fn after_its_end(&self, power_cut: Option<u64>) -> Server {
        let World { settings, disk, clocks, shelf, .. } = &self.world;
        let mut server = Server::over(&disk.fork(), settings.store.clone());
        server.world.clocks = clocks.clone();
        server.world.shelf = shelf.clone();
        match power_cut {
            Some(seed) => server.world.disk.crash(seed),
            None => server.world.disk.kill(),
        }
        server
    }

    /// The process ends; the machine goes on.
    pub(crate) fn kill(&mut self) {
        self.world.kill(true);
    }

    /// Somebody sets the wall clock, forward or back.
    pub(crate) fn set_clock(&mut self, by_ms: i64) {
        self.world.clocks.set_wall(by_ms);
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
        self.world.clocks.read().wall
    }

    /// Lets time go by; nothing happens in it until the next step.
    pub(crate) fn pass(&mut self, span: Span) {
        self.world.clocks.pass(span);
    }

    /// Asks, and works until the answers have left.
    pub(crate) fn ask(&mut self, commands: Vec<Command>) -> Result<Vec<Answer>, Death> {
        let mut answers = self.world.ask(commands);
        for _ in 0..ROUNDS {
            for duty in SERVING {
                let done = self.perform(duty);
                let Ok(mut reply) = answers.try_recv() else {
                    done?;
                    continue;
                };
                // Whoever has heard an answer does not know that the server died in the same moment.
                self.death = done.err();
                let mut stored = reply.pins.payloads();
                for payload in reply.answers.iter_mut().flat_map(Answer::payloads_mut) {
                    let read = stored.read(payload);
                    read.map_err(|why| Death { what: "read a payload", why })?;
                }
                return Ok(reply.answers);
            }
        }
        panic!("an answer never comes");
    }

    /// Asks one thing.
    pub(crate) fn ask_one(&mut self, command: Command) -> Result<Answer, Death> {
        Ok(self.ask(vec![command])?.pop().expect("one command has one answer"))
    }

    /// Lets everything but the archive go its way until nothing is to be done at this time.
    pub(crate) fn work(&mut self) -> Result<(), Death> {
        self.rest(&SERVING)
    }

    /// Lets all of it go its way.
    pub(crate) fn archive(&mut self) -> Result<(), Death> {
        self.rest(&Duty::ALL)
    }

    /// The attempts that were handed out since somebody looked.
    pub(crate) fn attempts(&mut self) -> Result<Vec<Attempt>, Death> {
        let mut attempts = Vec::new();
        for (mut attempt, pins) in self.world.attempts() {
            let mut stored = pins.payloads();
            for delivery in &mut attempt.deliveries {
                let read = stored.read(&mut delivery.payload);
                read.map_err(|why| Death { what: "read a payload", why })?;
            }
            attempts.push(attempt);
        }
        Ok(attempts)
    }

    fn rest(&mut self, duties: &[Duty]) -> Result<(), Death> {
        for _ in 0..ROUNDS {
            if !self.round(duties)? {
                return Ok(());
            }
        }
        panic!("it never comes to rest");
    }

    /// Does each duty that there is to do, once; false if there was none.
    fn round(&mut self, duties: &[Duty]) -> Result<bool, Death> {
        let mut has_worked = false;
        for &duty in duties {
            has_worked |= self.perform(duty)?;
        }
        Ok(has_worked)
    }

    /// Does a duty, if there is something to do.
    fn perform(&mut self, duty: Duty) -> Result<bool, Death> {
        if let Some(death) = self.death.take() {
            return Err(death);
        }
        if !self.world.can(duty) {
            return Ok(false);
        }
        let calls = self.world.disk.calls();
        self.world.perform(duty)?;
        // A release that writes nothing syncs nothing.
        if duty == Duty::Leave
            && self.world.disk.calls() > calls
            && let Some(pictures) = &mut self.pictures
        {
            let picture = self.world.disk.fork();
            picture.kill();
            pictures.push(picture);
        }
        Ok(true)
    }
}
