//! Counting what Rust code allocates.

#![allow(unsafe_code, reason = "an allocator is unsafe to be")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Table, objects};
use crate::report::Report;

/// The system's allocator, which counts while it is told to.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub(super) fn run(report: &mut Report) {
    report.table("allocations for opening an object");
    let seen = count(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(seen, 1, "the counter counts");

    #[cfg_attr(
        not(feature = "kernel"),
        expect(unused_mut, reason = "only then are installed objects looked at too")
    )]
    let mut objects: Vec<Vec<u8>> = objects::SHAPES.iter().map(|shape| shape.build(1000)).collect();
    #[cfg(feature = "kernel")]
    {
        use ebpf_conformance::corpus;
        let packages = [corpus::Package::XdpTools, corpus::Package::LibbpfTools];
        objects.extend(corpus::xdp_tools().into_iter().map(|sample| sample.bytes));
        objects.extend(packages.into_iter().flat_map(corpus::embedded).map(|sample| sample.bytes));
        let parsed = objects.iter().filter(|data| aya_obj::Object::parse(data).is_ok()).count();
        let peers = count(|| {
            for data in &objects {
                drop(aya_obj::Object::parse(data));
            }
        });
        if parsed > 0 {
            report.row("aya", vec![("each", peers as f64 / parsed as f64)], false);
        }
    }
    let mut place = Box::new(Table::empty());
    let own = count(|| {
        for data in &objects {
            super::open_into(&mut place, "name.bpf.o", data).expect("the object opens");
        }
    });
    report.row("ours", vec![("objects", objects.len() as f64), ("allocations", own as f64)], false);
    report.limit(format!("allocations while opening {} objects", objects.len()), own as f64, 0.0);
}

/// How often `action` allocates.
fn count(action: impl FnOnce()) -> u64 {
    COUNT.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    action();
    COUNTING.store(false, Ordering::Relaxed);
    COUNT.load(Ordering::Relaxed)
}
