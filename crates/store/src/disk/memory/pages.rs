//! The bytes of one file, sparse and cheap to copy.
//!
//! Pages that were never written are holes and read as zero. Pages are shared until somebody writes,
//! so that a whole disk can be copied thousands of times in one test.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk and its cache move at once.
pub(super) const PAGE_BYTES: u64 = 4096;

const PAGE: usize = 4096;

/// A length and the pages below it.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pub(super) length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let available = self.length.saturating_sub(offset);
        let count = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < count {
            let (page, within) = place(offset + done as u64);
            let step = (PAGE - within).min(count - done);
            let target = &mut buffer[done..done + step];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + step]),
                None => target.fill(0),
            }
            done += step;
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = place(offset + done as u64);
            let step = (PAGE - within).min(bytes.len() - done);
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(target)[within..within + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let (last, within) = place(length);
            self.pages.retain(|page, _| *page <= last);
            if let Some(bytes) = self.pages.get_mut(&last) {
                Arc::make_mut(bytes)[within..].fill(0);
            }
        }
        self.length = length;
    }

    /// Takes over the pages that a write of `count` bytes at `offset` touched, whole: a disk writes
    /// back pages, not bytes.
    pub(super) fn take_pages(&mut self, from: &Pages, offset: u64, count: u64) {
        for page in offset / PAGE_BYTES..(offset + count).div_ceil(PAGE_BYTES) {
            match from.pages.get(&page) {
                Some(bytes) => self.pages.insert(page, Arc::clone(bytes)),
                None => self.pages.remove(&page),
            };
        }
    }
}

fn place(offset: u64) -> (u64, usize) {
    let within = usize::try_from(offset % PAGE_BYTES).expect("less than a page");
    (offset / PAGE_BYTES, within)
}
