//! libbpf and aya, opening an object from memory.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Once;

use libbpf_sys as sys;

use crate::measure::Stopwatch;

/// An object for libbpf to open.
pub(super) struct Libbpf<'a> {
    name: CString,
    data: &'a [u8],
}

impl<'a> Libbpf<'a> {
    pub(super) fn new(file_name: &str, data: &'a [u8]) -> Self {
        static QUIET: Once = Once::new();
        QUIET.call_once(|| {
            // SAFETY: no messages is allowed for; nobody else calls libbpf now.
            unsafe { sys::libbpf_set_print(None) };
        });
        let stem = file_name.split('.').next().unwrap_or_default();
        Self { name: CString::new(stem).expect("no file name has a zero byte"), data }
    }

    /// Nanoseconds for each of `count` openings.
    pub(super) fn open(&self, count: u32) -> f64 {
        let options = sys::bpf_object_open_opts {
            sz: size_of::<sys::bpf_object_open_opts>() as sys::size_t,
            object_name: self.name.as_ptr(),
            ..Default::default()
        };
        let mut opened = Vec::with_capacity(count as usize);
        let start = Stopwatch::start();
        for _ in 0..count {
            let bytes = self.data.as_ptr().cast::<c_void>();
            // SAFETY: the bytes, the options and the name in them outlive the call.
            let object = unsafe {
                sys::bpf_object__open_mem(bytes, self.data.len() as sys::size_t, &raw const options)
            };
            opened.push(NonNull::new(object).expect("libbpf opens an installed object"));
        }
        let nanoseconds = start.nanoseconds();
        for object in opened {
            // SAFETY: opened above and closed once.
            unsafe { sys::bpf_object__close(object.as_ptr()) };
        }
        nanoseconds / f64::from(count)
    }
}

/// Nanoseconds for each of `count` openings; `None` if aya refuses the object.
pub(super) fn aya(data: &[u8], count: u32) -> Option<f64> {
    let mut opened = Vec::with_capacity(count as usize);
    let start = Stopwatch::start();
    for _ in 0..count {
        opened.push(aya_obj::Object::parse(data).ok()?);
    }
    Some(start.nanoseconds() / f64::from(count))
}
