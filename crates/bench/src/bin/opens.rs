//! Opens an object as often as told, to have its instructions counted: `opens SHAPE PROGRAMS COUNT` makes an
//! object of that many programs, `opens file PATH COUNT` takes one that is there.
//!
//! What is set up is the same for every count, so the difference between two counts is that many openings.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement that goes wrong should stop"
)]

#[path = "../open/objects.rs"]
mod objects;

use std::hint::black_box;

use ebpf_progtable::{ObjectFile, Options};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, which, count] = arguments.as_slice() else { return };
    let data = match objects::SHAPES.into_iter().find(|shape| shape.name() == what) {
        Some(shape) => shape.build(which.parse().expect("a number of programs")),
        None => std::fs::read(which).expect("a file"),
    };
    let mut place = Box::new(ObjectFile::<'_, { objects::MOST_PROGRAMS }, 64>::empty());
    for _ in 0..count.parse::<u32>().expect("a count") {
        ObjectFile::open_into(&mut place, black_box(&data), &Options::default()).expect("the object opens");
        black_box(&mut place);
    }
}
