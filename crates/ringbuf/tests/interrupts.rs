//! A producer interrupted at every single memory access, on purpose: whatever interrupts it goes through at once.
//!
//! The ring's memory here counts accesses and runs an interrupt before the one chosen. Going over all of them covers every point at which a
//! preemption, a softirq or an NMI can stop a producer.
#![allow(unsafe_code, reason = "atomics are looked at through a wrapper of the same layout")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use ebpf_ringbuf::memory::{
    Claim, Contiguous, Extent, Length, Marks, Memory, Position, Private, Publication,
};
use ebpf_ringbuf::{
    Consumer, Geometry, Header, Mapped, Order, Producer, SharedMarks, Stopped, SubmitFlags, sites,
};
use support::Mirrored;

const PAGE: usize = 4096;

/// Something that happens in the middle of something else.
type Interrupt<'a> = Box<dyn FnMut() + 'a>;

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
    /// How often a reservation was begun, the times included that it was begun again after making way for another producer.
    static BEGUN: Cell<usize> = const { Cell::new(0) };
    static PENDING: RefCell<Vec<(usize, Interrupt<'static>)>> = const { RefCell::new(vec![]) };
}

/// Counts an access; runs the interrupts due before it. An interrupt's own accesses count too, so that interrupts nest.
fn step() {
    let now = STEPS.get();
    STEPS.set(now + 1);
    let due = PENDING.with_borrow_mut(|pending| {
        let index = pending.iter().position(|(at, _)| *at == now)?;
        Some(pending.swap_remove(index).1)
    });
    if let Some(mut interrupt) = due {
        interrupt();
    }
}

/// Runs `work` with interrupts before the given accesses; gives how many accesses there were, and whether all interrupts ran.
fn interrupted<'a>(interrupts: Vec<(usize, Interrupt<'a>)>, work: impl FnOnce()) -> (usize, bool) {
    STEPS.set(0);
    // SAFETY: only the lifetime is changed, and the list is emptied before this returns.
    let interrupts = unsafe {
        std::mem::transmute::<Vec<(usize, Interrupt<'a>)>, Vec<(usize, Interrupt<'static>)>>(interrupts)
    };
    PENDING.set(interrupts);
    work();
    let left = PENDING.take();
    (STEPS.get(), left.is_empty())
}

/// Atomics whose every use is an access.
#[repr(transparent)]
struct Watched<A>(A);

fn watched<A>(atomic: &A) -> &Watched<A> {
    // SAFETY: a transparent wrapper.
    unsafe { &*std::ptr::from_ref(atomic).cast() }
}

impl Position for Watched<AtomicUsize> {
    fn load(&self, order: Order) -> usize {
        if order.site() == sites::RESERVE_START.site() {
            BEGUN.set(BEGUN.get() + 1);
        }
        step();
        Position::load(&self.0, order)
    }
    fn store(&self, value: usize, order: Order) {
        step();
        Position::store(&self.0, value, order);
    }
    fn fetch_add(&self, value: usize, order: Order) -> usize {
        step();
        Position::fetch_add(&self.0, value, order)
    }
    fn compare_exchange_weak(&self, current: usize, new: usize, order: Order) -> Result<usize, usize> {
        step();
        Position::compare_exchange_weak(&self.0, current, new, order)
    }
}

impl Marks for Watched<AtomicUsize> {
    fn load(&self, order: Order) -> usize {
        step();
        Marks::load(&self.0, order)
    }
    fn fetch_or(&self, bits: usize, order: Order) -> usize {
        step();
        Marks::fetch_or(&self.0, bits, order)
    }
    fn fetch_and(&self, bits: usize, order: Order) -> usize {
        step();
        Marks::fetch_and(&self.0, bits, order)
    }
}

impl Length for Watched<AtomicU32> {
    fn load(&self, order: Order) -> u32 {
        step();
        Length::load(&self.0, order)
    }
    fn store(&self, value: u32, order: Order) {
        step();
        Length::store(&self.0, value, order);
    }
    fn swap(&self, value: u32, order: Order) -> u32 {
        step();
        Length::swap(&self.0, value, order)
    }
}

struct WatchedMemory<'a> {
    inner: Mapped<'a>,
    private: Private<Watched<AtomicUsize>>,
}

impl<'a> WatchedMemory<'a> {
    fn new(inner: Mapped<'a>) -> Self {
        Self { inner, private: Private::new(|| Watched(AtomicUsize::new(0))) }
    }
}

impl Memory for WatchedMemory<'_> {
    type Position = Watched<AtomicUsize>;
    type Length = Watched<AtomicU32>;
    type Area<'m>
        = &'m Self
    where
        Self: 'm;

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }
    fn consumer_position(&self) -> &Self::Position {
        watched(self.inner.consumer_position())
    }
    fn producer_position(&self) -> &Self::Position {
        watched(self.inner.producer_position())
    }
    fn pending_position(&self) -> &Self::Position {
        watched(self.inner.pending_position())
    }
    fn overwrite_position(&self) -> &Self::Position {
        watched(self.inner.overwrite_position())
    }
    fn private(&self) -> &Private<Self::Position> {
        &self.private
    }
    fn area(&self) -> &Self {
        self
    }
    fn length(&self, position: usize) -> &Self::Length {
        watched(self.inner.length(position))
    }
    fn initialise(&self, claim: &mut Claim, header: Header) {
        step();
        self.inner.initialise(claim, header);
    }
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        step();
        self.inner.write(claim, offset, bytes);
    }
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        self.inner.read(extent, offset, bytes);
    }
    fn fence(&self, order: Order) {
        step();
        self.inner.fence(order);
    }
    fn fence_after_swap(&self, order: Order) {
        step();
        self.inner.fence_after_swap(order);
    }
}

impl Contiguous for WatchedMemory<'_> {
    fn claimed<'a>(&'a self, claim: &'a Claim) -> &'a [u8] {
        self.inner.claimed(claim)
    }
    fn claimed_mut<'a>(&'a self, claim: &'a mut Claim) -> &'a mut [u8] {
        self.inner.claimed_mut(claim)
    }
    fn published<'m, 'e>(area: &'m Self, extent: &'e Extent) -> &'e [u8]
    where
        Self: 'm,
        'm: 'e,
    {
        Mapped::published(area.inner.area(), extent)
    }
}

struct WatchedMarks<'a>(SharedMarks<'a>);

impl Publication for WatchedMarks<'_> {
    type Position = Watched<AtomicUsize>;
    type Marks = Watched<AtomicUsize>;

    fn reserve_position(&self) -> &Self::Position {
        watched(self.0.reserve_position())
    }
    fn mark(&self, slot: usize) -> (&Self::Marks, usize) {
        let (marks, bit) = self.0.mark(slot);
        (watched(marks), bit)
    }
    fn slots(&self) -> usize {
        self.0.slots()
    }
    fn spins(&self) -> u32 {
        1
    }
}

fn producer(ring: &Mirrored) -> Producer<WatchedMemory<'_>, WatchedMarks<'_>> {
    Producer::new(WatchedMemory::new(ring.side(PAGE)), WatchedMarks(ring.marks())).unwrap()
}

/// Before every access of a producer, another one that interrupts it, and another one before every access of that: all three go in, each record
/// whole, the interrupted one first or last as it had claimed or not.
#[test]
fn an_interrupting_producer_never_waits_or_fails() {
    let mut runs = 0;
    for first in 0.. {
        let mut exhausted = true;
        for second in first + 1.. {
            let ring = Mirrored::new(PAGE, 0usize.wrapping_sub(PAGE));
            let producer = producer(&ring);
            let output = |value: u8| {
                let wakeup = producer.output(&[value; 24], SubmitFlags::empty());
                assert!(wakeup.is_ok(), "producer {value} was refused: {wakeup:?}");
            };
            let interrupts: Vec<(usize, Interrupt<'_>)> =
                vec![(first, Box::new(|| output(2))), (second, Box::new(|| output(3)))];
            let (_, all_ran) = interrupted(interrupts, || output(1));
            let mut got = read_all(&ring);
            got.sort_unstable();
            runs += 1;
            if !all_ran {
                assert!(got == [1, 2] || got == [1]);
                break;
            }
            exhausted = false;
            assert_eq!(got, [1, 2, 3], "interrupts at accesses {first} and {second}");
        }
        if exhausted {
            break;
        }
    }
    assert!(runs > 200, "only {runs} runs: were the accesses counted?");
}

/// Before every access of a producer, others go round the ring three times while all that can be read is read. A record that is not published yet holds
/// them up after a lap; one that is, does not, and its producer then looks for marks where a later lap has been.
#[test]
fn a_producer_that_is_lapped_goes_on() {
    let mut outcomes = BTreeSet::new();
    for at in 0.. {
        let ring = Mirrored::new(PAGE, 0usize.wrapping_sub(PAGE));
        let producer = producer(&ring);
        let consumer = RefCell::new(Consumer::new(ring.side(PAGE)).unwrap());
        let drain = || {
            let drained = consumer.borrow_mut().drain(usize::MAX, |_| ControlFlow::Continue(()));
            assert!(matches!(drained.stopped, Stopped::Empty | Stopped::Busy));
            drained.records
        };
        let (mut accepted, mut read) = (0, 0);
        let others: Interrupt<'_> = Box::new(|| {
            for _ in 0..3 * PAGE / 32 {
                accepted += usize::from(producer.output(&[2; 24], SubmitFlags::empty()).is_ok());
                read += drain();
            }
        });
        let (_, all_ran) = interrupted(vec![(at, others)], || {
            assert!(producer.output(&[1; 24], SubmitFlags::empty()).is_ok(), "interrupted at access {at}");
        });
        read += drain();
        assert!(producer.output(&[3; 24], SubmitFlags::empty()).is_ok(), "interrupted at access {at}");
        read += drain();
        assert_eq!(read, accepted + 2, "interrupted at access {at}");
        outcomes.insert(accepted);
        if !all_ran {
            break;
        }
    }
    let all = 3 * PAGE / 32;
    let a_lap = PAGE / 32 - 2;
    assert_eq!(outcomes, BTreeSet::from([0, a_lap, all]));
}

/// A producer that is stopped between its claim and its publication costs all who come after it a few pauses together, then none.
#[test]
fn a_stopped_producer_is_made_way_for_a_few_times_only() {
    let mut most = 0;
    for at in 0.. {
        let ring = Mirrored::new(PAGE, 0);
        let producer = producer(&ring);
        let output = |value: u8| assert!(producer.output(&[value; 24], SubmitFlags::empty()).is_ok());
        BEGUN.set(0);
        let others: Interrupt<'_> = Box::new(|| (0..50).for_each(|_| output(2)));
        let (_, all_ran) = interrupted(vec![(at, others)], || output(1));
        if !all_ran {
            break;
        }
        most = most.max(BEGUN.get() - 51);
    }
    assert_eq!(most, 8, "as long as eight records are not published, not for all fifty");
}

/// The consumer runs before every access of two producers, of which one interrupts the other. Whenever it went to sleep and something is unread in the end, somebody
/// was told to wake it after it had fallen asleep.
#[test]
fn no_wakeup_is_lost_at_any_access() {
    let mut runs = 0;
    for first in 0.. {
        let mut exhausted = true;
        for second in (0..).filter(|second| *second != first) {
            let ring = Mirrored::new(PAGE, 0);
            let producer = producer(&ring);
            let consumer = RefCell::new(Consumer::new(ring.side(PAGE)).unwrap());
            // Is a sleeping consumer due to be woken?
            let rung = Cell::new(false);
            let sleep = || {
                let drained = consumer.borrow_mut().drain(usize::MAX, |_| ControlFlow::Continue(()));
                assert!(matches!(drained.stopped, Stopped::Empty | Stopped::Busy));
                rung.set(false);
            };
            sleep();
            let output = |value: u8| {
                let wakeup = producer.output(&[value; 8], SubmitFlags::empty()).unwrap();
                if wakeup.is_needed() {
                    rung.set(true);
                }
            };
            let interrupts: Vec<(usize, Interrupt<'_>)> =
                vec![(first, Box::new(|| output(2))), (second, Box::new(sleep))];
            let (_, all_ran) = interrupted(interrupts, || output(1));
            let unread = consumer.borrow_mut().drain(usize::MAX, |_| ControlFlow::Continue(())).records;
            assert!(
                unread == 0 || rung.get(),
                "{unread} unread, nobody woken; interrupts at {first} and {second}"
            );
            runs += 1;
            if !all_ran {
                break;
            }
            exhausted = false;
        }
        if exhausted {
            break;
        }
    }
    assert!(runs > 300, "only {runs} runs: were the accesses counted?");
}

fn read_all(ring: &Mirrored) -> Vec<u8> {
    let mut values = vec![];
    let drained = Consumer::new(ring.side(PAGE)).unwrap().drain(usize::MAX, |record| {
        assert_eq!(record.len(), 24);
        assert!(record.iter().all(|byte| *byte == record[0]), "a record is not whole");
        values.push(record[0]);
        ControlFlow::Continue(())
    });
    assert_eq!(drained.stopped, Stopped::Empty);
    values
}
