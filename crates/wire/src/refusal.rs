//! The engine's refusals in the words of this protocol.
//!
//! An error is a code in capitals and a sentence. The codes are those of every protocol; only what
//! Redis itself has a code for is said with that. This is the one place, and it is exhaustive.

use duly_engine::answer::Refusal;

use crate::reply::Reply;

/// What a client is told.
pub(crate) fn refused(refusal: &Refusal) -> Reply {
    let why: std::borrow::Cow<'static, str> = match refusal {
        Refusal::UnknownQueue => "no such queue; SET, ZADD and DULY.SCHEDULE create one unless queues are declared in the configuration".into(),
        Refusal::UnknownDeadline => "no such deadline".into(),
        Refusal::UnknownDelivery => "no such delivery".into(),
        Refusal::AlreadyExists(_) => "the deadline is there already".into(),
        Refusal::DeliveryUnderWay(_) => "it has lapsed and its delivery is not over: it can be set again when that is done".into(),
        Refusal::AlreadySettled(_) => "it is settled already".into(),
        Refusal::TooLate(_) => "it has lapsed already".into(),
        Refusal::OtherGeneration(_) => "another generation is there".into(),
        Refusal::DueChanged(_) => "it is due at another time now".into(),
        Refusal::StillPending(_) => "it is not over yet".into(),
        Refusal::NotDead(_) => "its delivery is not dead".into(),
        Refusal::NoDueTime => "nothing says when it is due, and the queue has no default delay: use EX, PX, EXAT or PXAT, AFTER or DUE".into(),
        Refusal::DueInPast => "that was more than an hour ago".into(),
        Refusal::DueTooFar => "that is more than ten years ahead".into(),
        Refusal::MaxTotal { latest } => format!("the queue's max_total allows {} ms since 1970 at most", latest.millis()).into(),
        Refusal::MaxFreeze { left } => format!("the queue's max_freeze leaves {} ms", left.millis()).into(),
        Refusal::LeaseLost => "the lease is over, and somebody else may have it".into(),
        Refusal::NotPull => "Duly itself acts on what lapses in this queue: PUT it with the target \"pull\" to hand it to workers".into(),
        Refusal::QueueNotEmpty => "the queue still holds something".into(),
        Refusal::QueueDeclared => "the queue is declared in the configuration".into(),
        Refusal::TooManyQueues => "there are as many queues as there may be".into(),
        Refusal::BadPolicy(bad) => format!("the policy cannot be: {bad:?}").into(),
        Refusal::ShiftUnderWay => "a shift is still under way in the queue".into(),
        Refusal::Full => "the server holds as many deadlines as it may".into(),
        Refusal::StorageLow => "the disk's reserve is low: only what ends deadlines is taken".into(),
        Refusal::StorageFull => "the disk's reserve is gone".into(),
        Refusal::ClockTrusted => "the clock guard is not up".into(),
    };
    Reply::Error(format!("{} {why}", refusal.code().to_ascii_uppercase()))
}

/// Does it say that there is nothing, or nothing any more, whose due time this change was about?
pub(crate) fn finds_nothing_to_move(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::UnknownQueue
            | Refusal::UnknownDeadline
            | Refusal::AlreadySettled(_)
            | Refusal::TooLate(_)
            | Refusal::DueChanged(_)
    )
}
