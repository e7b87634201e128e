//! Object files: what programs there are, and which are to be loaded.

use core::ffi::{c_char, c_void};
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::slice;

use ebpf_progtable::{ObjectFile, Options, Program};

use crate::Answer;
use crate::ring::bytes;

/// cbindgen:ignore
type Inner = ObjectFile<'static>;

/// An object file's table: room for 64 programs and 64 maps. Put it in memory of its own, not on the stack.
#[repr(C)]
#[derive(Debug)]
pub struct Object {
    opaque: [u64; 1024],
}

const _: () =
    assert!(size_of::<Inner>() <= size_of::<Object>() && align_of::<Inner>() <= align_of::<Object>());

/// Opens an object file. The bytes must stay where they are, unchanged, as long as the table is used.
///
/// What is wrong with an object is written into `message` as text that ends with a zero byte, cut to `message_length` bytes. `message` may be null.
///
/// # Safety
/// `object` has room, `data` is valid for reads of `length` bytes, `message` for writes of `message_length`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_open(
    object: *mut Object,
    data: *const c_void,
    length: usize,
    message: *mut c_char,
    message_length: usize,
) -> i32 {
    let place = object.cast::<MaybeUninit<Inner>>();
    // SAFETY: room for a table, which is room for this.
    unsafe { place.write(MaybeUninit::new(ObjectFile::empty())) };
    // SAFETY: just written.
    let table = unsafe { &mut *object.cast::<Inner>() };
    // SAFETY: the caller's.
    let data = unsafe { bytes(data, length) };
    match ObjectFile::open_into(table, data, &Options::default()) {
        Ok(()) => Answer::Done as i32,
        Err(error) => {
            if !message.is_null() && message_length != 0 {
                // SAFETY: the caller's.
                let room = unsafe { slice::from_raw_parts_mut(message.cast::<u8>(), message_length) };
                let mut text = Text { room, written: 0 };
                // A message that does not fit is cut.
                let _ = write!(text, "{error}");
                text.end();
            }
            Answer::NoObject as i32
        }
    }
}

/// How many programs there are, subprograms not counted.
///
/// # Safety
/// `object` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_program_count(object: *const Object) -> usize {
    // SAFETY: the caller's.
    unsafe { inner(object) }.programs().count()
}

/// The name of a program, `*length` bytes that no zero byte follows; null when there is no such program.
///
/// # Safety
/// `object` is open, `length` has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_program_name(
    object: *const Object,
    index: usize,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's.
    let Some(program) = (unsafe { program(object, index) }) else { return core::ptr::null() };
    // SAFETY: the caller's.
    unsafe { length.write(program.name().len()) };
    program.name().as_ptr().cast()
}

/// Whether a program is to be loaded: 1 or 0.
///
/// # Safety
/// `object` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_autoload(object: *const Object, index: usize) -> i32 {
    // SAFETY: the caller's.
    let program = unsafe { program(object, index) };
    program.map_or(Answer::NoProgram as i32, |program| program.autoload().into())
}

/// Says whether a program is to be loaded. Any thread may.
///
/// # Safety
/// `object` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_set_autoload(object: *const Object, index: usize, autoload: bool) -> i32 {
    // SAFETY: the caller's.
    let table = unsafe { inner(object) };
    match table.programs().nth(index).map(|program| table.set_autoload(program, autoload)) {
        Some(Ok(())) => Answer::Done as i32,
        Some(Err(_)) => Answer::Frozen as i32,
        None => Answer::NoProgram as i32,
    }
}

/// Makes the choice final: the one who is told `Done` loads.
///
/// # Safety
/// `object` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_object_freeze(object: *const Object) -> i32 {
    // SAFETY: the caller's.
    let frozen = unsafe { inner(object) }.freeze();
    let answer = if frozen.is_ok() { Answer::Done } else { Answer::Frozen };
    answer as i32
}

/// # Safety
/// `object` is open, and stays so during the caller's use of it.
unsafe fn inner(object: *const Object) -> &'static Inner {
    // SAFETY: the caller's; `ebb_object_open` has written one there.
    unsafe { &*object.cast::<Inner>() }
}

/// # Safety
/// As [`inner`].
unsafe fn program(object: *const Object, index: usize) -> Option<&'static Program<'static>> {
    // SAFETY: the caller's.
    unsafe { inner(object) }.programs().nth(index)
}

struct Text<'a> {
    room: &'a mut [u8],
    written: usize,
}

impl Text<'_> {
    fn end(self) {
        let last = self.room.len().saturating_sub(1);
        if let Some(end) = self.room.get_mut(self.written.min(last)) {
            *end = 0;
        }
    }
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let place = self.room.get_mut(self.written).ok_or(fmt::Error)?;
            *place = byte;
            self.written = self.written.saturating_add(1);
        }
        Ok(())
    }
}
