//! The list of a queue's deadlines, live and archived, page by page.
//!
//! A page is in order of (due, id) and its cursor is that pair, as over HTTP; whoever sends a cursor
//! back sends it over the protocol that gave it to him.

use duly_engine::command::Filter;
use duly_engine::deadline::{DeliveryState, State};
use duly_engine::id::DeadlineId;
use duly_engine::limits::KEY_BYTES;
use duly_engine::time::Time;

use super::options::{Options, bad, text};
use super::queue;
use crate::commands::{Client, Next, No};
use crate::reading::Words;
use crate::reply::Reply;
use crate::session::{Listing, Page};
use crate::telling::Manner;

/// Records on a page that names no limit.
const PAGE: u32 = 100;
/// Most records on a page.
const LARGEST_PAGE: u32 = 1_000;
/// Bytes after which a page ends, however few its records are: nobody is told more at once.
const PAGE_BYTES: usize = 4 << 20;

/// States, and states of deliveries, as they are asked for: by their words.
const STATES: [State; 3] = [State::Pending, State::Settled, State::Lapsed];
const DELIVERIES: [DeliveryState; 5] = [
    DeliveryState::Ready,
    DeliveryState::Leased,
    DeliveryState::Done,
    DeliveryState::Superseded,
    DeliveryState::Dead,
];

/// `DULY.LIST queue [STATE word] [DELIVERY word] [DUE_FROM instant] [DUE_TO instant]
/// [KEY_PREFIX text] [LIMIT number] [CURSOR cursor]`
pub(in super::super) fn list(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let known = ["STATE", "DELIVERY", "DUE_FROM", "DUE_TO", "KEY_PREFIX", "LIMIT", "CURSOR"];
    let options = Options::read(words, 2, client, &known, &[])?;
    let state = options.text("STATE")?.map(|asked| {
        let known = STATES.into_iter().find(|state| state.word() == asked);
        known.ok_or_else(|| bad("STATE is pending, settled or lapsed"))
    });
    let delivery = options.text("DELIVERY")?.map(|asked| {
        let known = DELIVERIES.into_iter().find(|state| state.word() == asked);
        known.ok_or_else(|| bad("DELIVERY is ready, leased, done, superseded or dead"))
    });
    let key_prefix = options.text("KEY_PREFIX")?;
    if key_prefix.is_some_and(|prefix| prefix.len() > KEY_BYTES) {
        return Err(bad(&format!("KEY_PREFIX: a key has at most {KEY_BYTES} bytes")));
    }
    let listing = Listing {
        queue: queue(words.at(1))?,
        filter: Filter {
            state: state.transpose()?,
            delivery: delivery.transpose()?,
            due_from: options.instant("DUE_FROM")?,
            due_to: options.instant("DUE_TO")?,
            key_prefix: key_prefix.map(str::to_owned),
        },
        after: options.value("CURSOR").map(read_cursor).transpose()?,
        limit: options.number("LIMIT", 1..=LARGEST_PAGE)?.unwrap_or(PAGE) as usize,
    };
    let manner = client.manner();
    Ok(Next::List(listing, Box::new(move |page| told(&page, manner))))
}

fn told(page: &Page, manner: Manner) -> Reply {
    let mut next = page.next;
    manner.map(|fields| {
        let told = fields.open("deadlines").list_about(&page.deadlines, PAGE_BYTES);
        if let Some(last) = told.last().filter(|_| told.len() < page.deadlines.len()) {
            next = Some((last.due, last.id));
        }
        fields.with("next_cursor", next.map(cursor).as_deref());
    })
}

fn cursor((due, DeadlineId(id)): (Time, DeadlineId)) -> String {
    format!("{}-{id}", due.millis())
}

fn read_cursor(word: &[u8]) -> Result<(Time, DeadlineId), No> {
    let (due, id) = text(word, "CURSOR")?.split_once('-').unwrap_or_default();
    let place = due.parse().ok().zip(id.parse().ok());
    let place = place.map(|(due, id)| (Time::from_millis(due), DeadlineId(id)));
    place.ok_or_else(|| {
        bad("CURSOR is sent back as next_cursor was; leave it out for the first page")
    })
}
