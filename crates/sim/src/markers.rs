//! Rare states that a run must reach: what was never met was never tested.

use std::collections::BTreeMap;

macro_rules! markers {
    ($($name:ident = $words:literal,)*) => {
        /// A state that is rare and should be met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Marker {
            $(#[doc = $words] $name,)*
        }

        impl Marker {
            /// All of them.
            pub(crate) const ALL: &[Marker] = &[$(Marker::$name,)*];

            /// What it is, in words.
            pub(crate) fn words(self) -> &'static str {
                match self {
                    $(Marker::$name => $words,)*
                }
            }
        }
    };
}

markers! {
    SettledLastMillisecond = "a settle wins by one millisecond",
    SettleWritesLapse = "a settle meets an overdue deadline and writes its lapse",
    SettleLostWhileUnderWay = "a settle is lost to a lapse made while it was on its way",
    SettledInGrace = "a settle wins within grace",
    SettledInRecovery = "a settle wins in the head start after downtime",
    SettledInBacklog = "a settle wins in the backlog of a queue that decides at handout",
    SettledUnderGuard = "an overdue deadline is settled while the clock guard is up",
    BornSettled = "a remembered settle meets its schedule",
    FrozenToItsEnd = "a freeze reaches its end beyond due and the deadline lapses",
    OtherGeneration = "a settle is refused because it names another generation",
    HeadStartProlonged = "a second start prolongs a head start",
    GuardJump = "the guard goes up: the wall clock jumped ahead",
    GuardBackward = "the guard goes up: the wall clock stepped back",
    GuardStartedBehind = "the guard goes up: a start behind the journal",
    GuardStartedAhead = "the guard goes up: a start too far ahead",
    GuardReturned = "the guard goes down: the wall clock came back",
    GuardConfirmed = "the guard goes down: an operator confirmed",
    PolicyRearms = "a policy change moves the end of what is pending",
    Restated = "a record is stated anew",
    RestatedInDelivery = "a record with a delivery is stated anew",
    BaseWithLabels = "a segment opens with a base of several queues",
    CleaningBegun = "a crash after a segment began to be cleaned",
    CleaningRead = "a crash while its records are being read",
    CleaningWaits = "a crash while a restated segment waits to be freed",
    SegmentFreed = "a segment is freed",
    FreedWhileRead = "a payload is read after its segment was freed",
    TornTail = "a torn tail is cut",
    UntoldLost = "facts that nobody was told are lost",
    UntoldSurvives = "facts that nobody was told survive",
    SyncFailed = "a sync fails and the process ends",
    SyncFailedFactsFound = "after a failed sync the restart finds its facts",
    WriteFailed = "a write fails and the process ends",
    DiedAllocating = "a fault while allocating ends the process",
    DiedOpening = "the process ends while it opens",
    FullWhileAllocating = "the disk is full while a spare is allocated",
    RefusedLow = "refused because storage is low",
    RefusedFull = "refused because storage is full",
    NoRoomAtAll = "there is no room for another fact",
    RecoveredFromFull = "the disk has room again, and spares come back",
    BitFlipFound = "a flipped bit is found at the opening",
    BitFlipHarmless = "a flipped bit harms nothing",
    BitFlipWhileRunning = "a flipped bit is found while running, and the process ends",
    LookUp = "a key is looked up in the archive",
    LookUpStale = "what was looked up is stale and is looked up again",
    FilterIncomplete = "a key is looked up because the filter is not filled yet",
    ArchiveBehindAtOpen = "at the opening the archive lacks records",
    ArchiveAheadOfTold = "a transaction was committed and its process did not live to hear of it",
    ArchiveLost = "a transaction is lost with its process",
    EraseArchived = "a record is erased that only the archive holds",
    ErasedLookedUp = "an erased number is asked for",
    RetentionSweeps = "a record is swept after its retention",
    PayloadDropped = "a payload is dropped before its record",
    OwnLeaseReleased = "a restart releases the server's own lease",
    OwnLeaseRanOut = "the server's own lease runs out: a target hung",
    WorkersLeaseRanOut = "a worker's lease runs out",
    LeaseSurvivesRestart = "a worker's lease survives a restart and is done under",
    VerdictAfterLeaseEnd = "a verdict comes after its lease",
    VerdictUnderOldLease = "a verdict comes under an old lease while a new one holds",
    VerdictOfOldGeneration = "a verdict for a generation that has been replaced",
    TouchProlongs = "a touch prolongs a lease",
    TouchTooLate = "a touch comes too late",
    RetriesExhausted = "retries are exhausted",
    DiedByVerdict = "a target says that it is for nothing",
    Revived = "a dead delivery is revived",
    DoneAfterRevival = "a revived delivery is done",
    BatchPartlyAnswered = "a batch is answered in part",
    RateReached = "a queue hands out as fast as its rate allows",
    PriorityBeforeAge = "a smaller priority goes before an older one",
    UnknownOutcomeRepeated = "a request whose outcome is unknown is repeated",
    ListenerWentOn = "who listens goes on after a restart where he stopped",
    ListenerTooLate = "who listens asks a restarted server for what it cannot tell any more",
    CrashInCall = "the power goes inside a call of the disk",
    CrashTwice = "a crash while recovering from a crash",
    PausedLong = "the process stands still for longer than a lease",
}

/// How often each was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Markers(BTreeMap<Marker, u64>);

impl Markers {
    /// It was met.
    pub(crate) fn reach(&mut self, marker: Marker) {
        *self.0.entry(marker).or_default() += 1;
    }

    /// How often it was met.
    pub(crate) fn count(&self, marker: Marker) -> u64 {
        self.0.get(&marker).copied().unwrap_or(0)
    }

    /// What another life has met, too.
    pub(crate) fn take_in(&mut self, other: &Markers) {
        for (marker, count) in &other.0 {
            *self.0.entry(*marker).or_default() += count;
        }
    }

    /// Those that were never met.
    pub(crate) fn missing(&self) -> Vec<Marker> {
        Marker::ALL.iter().copied().filter(|marker| self.count(*marker) == 0).collect()
    }
}
