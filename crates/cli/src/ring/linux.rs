//! Rings of the kernel, by number or by where they are pinned.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ebpf_linux::{Error, Interest, LinuxMap, RingMemory, Trigger, Waiter};
use ebpf_loader::MapKind;
use ebpf_ringbuf::{Consumer, Query, Stopped};
use serde::Serialize;

use crate::args::Ring;
use crate::console::{Console, NAME, Status, one_line};
use crate::record::record;

pub(super) fn ring(arguments: &Ring, console: &mut Console<'_>) -> io::Result<Status> {
    let map = match open(&arguments.map) {
        Ok(map) => map,
        Err(error) => return failed(arguments, &error, console),
    };
    if map.kind() != MapKind::RINGBUF {
        let what = format!("the map is a {}; rings are of type ringbuf", map.kind());
        return failed(arguments, &what, console);
    }
    let mut consumer = match consumer(&map) {
        Ok(consumer) => consumer,
        Err(error) => return failed(arguments, &error, console),
    };
    if !arguments.read {
        return state(&map, &consumer, console).map(|()| Status::Done);
    }
    match read(&map, &mut consumer, arguments, console)? {
        Ok(()) => Ok(Status::Done),
        Err(error) => failed(arguments, &error, console),
    }
}

/// A number is the kernel's number of the map, anything else a path in a bpf file system.
fn open(map: &str) -> Result<LinuxMap, String> {
    match map.parse() {
        Ok(id) => LinuxMap::open_id(id),
        Err(_) => LinuxMap::open_pinned(map),
    }
    .map_err(|error| error.to_string())
}

fn consumer(map: &LinuxMap) -> Result<Consumer<RingMemory>, String> {
    let memory = RingMemory::map(map).map_err(|error| error.to_string())?;
    Consumer::new(memory).map_err(|corrupt| corrupt.to_string())
}

fn failed(arguments: &Ring, error: &str, console: &mut Console<'_>) -> io::Result<Status> {
    console.failure(&arguments.map, error)?;
    Ok(Status::Failed)
}

/// Looks, and changes nothing: whoever reads the ring does not notice.
fn state(map: &LinuxMap, consumer: &Consumer<RingMemory>, console: &mut Console<'_>) -> io::Result<()> {
    let state = State {
        name: map.name(),
        id: map.info().ok().map(|info| info.id),
        overwrites: map.flags() & ebpf_linux::RB_OVERWRITE != 0,
        size: consumer.query(Query::RingSize),
        unread: consumer.query(Query::AvailableData),
        consumer: consumer.query(Query::ConsumerPosition),
        producer: consumer.query(Query::ProducerPosition),
        overwritten: consumer.query(Query::OverwritePosition),
    };
    if console.json() {
        return console.line(&Line::Ring(state));
    }
    let id = state.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    let percent = state.unread.saturating_mul(100).checked_div(state.size).unwrap_or(0);
    console.text(format_args!(
        "ring {NAME}{}{NAME:#} (map {id}): {} bytes, {} unread ({percent} %)\nconsumer position {}\nproducer position {}\n",
        one_line(state.name),
        state.size,
        state.unread,
        state.consumer,
        state.producer,
    ))?;
    if state.overwrites {
        console.text(format_args!("overwritten up to {}\n", state.overwritten))?;
    }
    Ok(())
}

/// Takes records out until as many are there as are wanted, or nothing came for as long as is waited for.
fn read(
    map: &LinuxMap,
    consumer: &mut Consumer<RingMemory>,
    arguments: &Ring,
    console: &mut Console<'_>,
) -> io::Result<Result<(), String>> {
    let waiting = match waiter(map) {
        Ok(waiting) => waiting,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let patience = Duration::from_secs(arguments.wait);
    let mut taken = Taken { map: map.name(), records: 0, bytes: 0, discarded: 0 };
    let mut last = Instant::now();
    let mut ready = Vec::new();
    loop {
        let left = arguments.limit.saturating_sub(taken.records);
        let mut written = Ok(());
        let drained = consumer.drain(left, |payload| {
            written = record(map.name(), &payload, console);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
        console.settle()?;
        taken.records = taken.records.saturating_add(drained.records);
        taken.bytes = taken.bytes.saturating_add(drained.bytes);
        taken.discarded = taken.discarded.saturating_add(drained.discarded);
        if let Stopped::Corrupt(corrupt) = drained.stopped {
            return Ok(Err(corrupt.to_string()));
        }
        if taken.records >= arguments.limit {
            break;
        }
        if drained.records > 0 {
            last = Instant::now();
        }
        let Some(rest) = patience.checked_sub(last.elapsed()).filter(|rest| !rest.is_zero()) else { break };
        // By edge: the consumer's fence sees to it that what was committed after it looked rings here.
        if let Err(error) = waiting.wait(&mut ready, Some(rest)) {
            return Ok(Err(error.to_string()));
        }
    }
    if console.json() {
        console.line(&Line::Taken(taken))?;
    } else {
        let Taken { records, bytes, discarded, .. } = taken;
        console.text(format_args!("\n{records} records, {bytes} bytes; {discarded} discarded\n"))?;
    }
    Ok(Ok(()))
}

fn waiter(map: &LinuxMap) -> Result<Waiter, Error> {
    let waiter = Waiter::new()?;
    waiter.add(map, 0, Interest::Readable, Trigger::Edge)?;
    Ok(waiter)
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Ring(State<'a>),
    Taken(Taken<'a>),
}

/// Positions count bytes since the ring was made, and wrap.
#[derive(Serialize)]
struct State<'a> {
    name: &'a str,
    id: Option<u32>,
    /// Gives up its oldest records when it is full.
    overwrites: bool,
    /// Bytes of the data area.
    size: usize,
    /// Bytes from `consumer` to `producer`, headers included.
    unread: usize,
    consumer: usize,
    producer: usize,
    /// 0 unless it overwrites.
    overwritten: usize,
}

#[derive(Serialize)]
struct Taken<'a> {
    map: &'a str,
    records: usize,
    /// Of payload.
    bytes: usize,
    discarded: usize,
}
