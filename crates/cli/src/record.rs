//! A record out of a ring, as `run` and `ring` print it.

use std::io;

use serde::Serialize;

use crate::bytes::{Dump, hex};
use crate::console::{Console, one_line};

/// Prints a record that came out of the ring `map`.
pub(crate) fn record(map: &str, bytes: &[u8], console: &mut Console<'_>) -> io::Result<()> {
    if console.json() {
        return console.line(&Record { map, len: bytes.len(), data: hex(bytes) });
    }
    let label = format!("{:8} {:5}", one_line(map), bytes.len());
    console.text(Dump { label: &label, bytes })
}

#[derive(Serialize)]
#[serde(tag = "kind", rename = "record")]
struct Record<'a> {
    map: &'a str,
    len: usize,
    data: String,
}
