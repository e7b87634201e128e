//! Rings whose bytes a test writes itself.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::ptr::NonNull;

use ebpf_perfbuf::page::field;
use ebpf_perfbuf::{Direction, Geometry, Header, Mapped, PAGE_FIELDS};

/// A control page and data in plain memory.
pub struct Raw {
    page: Box<[u64; PAGE_FIELDS / 8]>,
    data: Vec<u64>,
    direction: Direction,
}

impl Raw {
    pub fn new(size: usize, direction: Direction) -> Self {
        Self { page: Box::new([0; PAGE_FIELDS / 8]), data: vec![0; size / 8], direction }
    }

    pub fn set(&mut self, head: usize, tail: usize) {
        self.page[field::DATA_HEAD / 8] = head as u64;
        self.page[field::DATA_TAIL / 8] = tail as u64;
    }

    pub fn tail(&self) -> usize {
        self.page[field::DATA_TAIL / 8] as usize
    }

    /// Writes bytes at a position, over the end and on at the start.
    pub fn put(&mut self, position: usize, bytes: &[u8]) {
        let size = self.data.len() * 8;
        for (index, byte) in bytes.iter().enumerate() {
            let offset = (position + index) % size;
            let mut word = self.data[offset / 8].to_ne_bytes();
            word[offset % 8] = *byte;
            self.data[offset / 8] = u64::from_ne_bytes(word);
        }
    }

    /// A record with any header.
    pub fn put_record(&mut self, position: usize, header: Header, body: &[u8]) {
        self.put(position, &header.to_bytes());
        self.put(position + 8, body);
    }

    pub fn memory(&mut self) -> Mapped<'_> {
        let geometry = Geometry::new(self.data.len() * 8, self.direction).unwrap();
        let page = NonNull::from(self.page.as_mut_slice()).cast();
        let data = NonNull::from(self.data.as_mut_slice()).cast();
        // SAFETY: both are as long as they should be, aligned to eight, and borrowed exclusively; the value is for one side.
        unsafe { Mapped::new(page, data, geometry) }
    }
}
