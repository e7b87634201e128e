//! Programs that make given calls into a ring and write down what they see after each.
//!
//! The verifier wants lengths that are constants, every record committed and every path bounded; so each sequence of calls becomes a program of its own,
//! straight on, without a compiler. It runs in the caller's address space (type `syscall`), where it can read the ring as the caller has it
//! mapped and can be [stopped](crate::pause) while its records are outstanding.

use std::os::fd::AsRawFd;

use ebpf_progtable::Instruction;
use rustix::time::Timespec;

use crate::bpf::{Program, SharedBytes};
use crate::kernel_ring::KernelRing;
use crate::libbpf::Errno;
use crate::pause::Pauses;

/// Records that a program can have outstanding at once.
pub const SLOTS: usize = 4;

/// Calls in one program.
pub const MAX_CALLS: usize = 64;

/// `bpf_ringbuf_query` is asked these after every call. The last is no question, and is answered with 0.
pub const QUERIES: [u64; 6] = [0, 1, 2, 3, 4, 5];

/// One call. A commit of a slot whose reservation was refused does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests match on it")]
pub enum Call {
    /// `bpf_ringbuf_reserve`, or `bpf_ringbuf_reserve_dynptr`; then the payload is written.
    Reserve {
        /// Where the program keeps the record.
        slot: usize,
        /// Payload bytes.
        length: u64,
        /// By which helper.
        dynptr: bool,
        /// Where in [`Desk::payload`] the payload starts.
        payload: usize,
    },
    /// `bpf_ringbuf_submit` or `bpf_ringbuf_discard`, or those for a dynptr.
    Commit {
        /// Which record.
        slot: usize,
        /// Reserved by which helper.
        dynptr: bool,
        /// Give it up?
        discard: bool,
        /// `BPF_RB_*`.
        flags: u64,
    },
    /// `bpf_ringbuf_output`.
    Output {
        /// Payload bytes.
        length: u64,
        /// `BPF_RB_*`.
        flags: u64,
        /// Where in [`Desk::payload`] the payload starts.
        payload: usize,
    },
    /// None: the program stops, for the test to do something.
    Pause,
}

/// What stands in a ring after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests make them")]
pub struct Seen {
    /// 0, or the negative error of `bpf_ringbuf_output` and `bpf_ringbuf_reserve_dynptr`; -1 for a null pointer.
    pub answer: i64,
    /// The answers to [`QUERIES`].
    pub queries: [u64; 6],
    /// `consumer_pos`, `producer_pos`, `pending_pos`, `overwrite_pos`.
    pub positions: [u64; 4],
    /// The whole data area.
    pub image: Vec<u8>,
}

/// Memory that the programs of many sequences use one after the other.
#[derive(Debug)]
pub struct Desk {
    size: usize,
    payload: SharedBytes,
    answers: SharedBytes,
    images: SharedBytes,
    pauses: Pauses,
}

impl Desk {
    /// For rings of `size` bytes. `payload` is what payloads are cut from.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(size: usize, payload: &[u8]) -> Result<Self, Errno> {
        let mut shared = SharedBytes::new(payload.len())?;
        shared.pages_mut().write(0, payload);
        Ok(Self {
            size,
            payload: shared,
            answers: SharedBytes::new(MAX_CALLS.saturating_mul(ANSWER))?,
            images: SharedBytes::new(MAX_CALLS.saturating_mul(size))?,
            pauses: Pauses::new(MAX_CALLS).map_err(|error| Errno(error.raw_os_error().unwrap_or(EINVAL)))?,
        })
    }

    /// A copy of what payloads are cut from.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        self.payload.pages().bytes(0, self.payload.pages().length())
    }

    /// Makes `calls` on `ring`, in one program's run, and gives what was seen after each. At each [`Call::Pause`] the program waits while
    /// `paused` is given the number of that call.
    ///
    /// # Errors
    ///
    /// When the verifier refuses the program, when the program could not read the caller's memory, and what `paused` says.
    ///
    /// # Panics
    ///
    /// When there are more than [`MAX_CALLS`] calls, or the ring is not of this desk's size.
    pub fn run(
        &self,
        ring: &KernelRing,
        calls: &[Call],
        paused: impl FnMut(usize) -> Result<(), String>,
    ) -> Result<Vec<Seen>, String> {
        assert!(calls.len() <= MAX_CALLS && ring.geometry().size() == self.size, "the desk is too small");
        let program = Program::load(&self.write(ring, calls))?;
        match self.run_with_pauses(&program, calls, paused)? {
            Ok(0) => Ok((0..calls.len()).map(|index| self.seen(index)).collect()),
            Ok(failures) => Err(format!("the program could not reach the caller's pages: {failures}")),
            Err(error) => Err(format!("the program did not run: {error}")),
        }
    }

    fn run_with_pauses(
        &self,
        program: &Program,
        calls: &[Call],
        mut paused: impl FnMut(usize) -> Result<(), String>,
    ) -> Result<Result<u32, Errno>, String> {
        let mut left = calls.iter().filter(|call| **call == Call::Pause).count();
        if left == 0 {
            return Ok(program.run(&mut []));
        }
        self.pauses.reset().map_err(|error| error.to_string())?;
        std::thread::scope(|scope| {
            let run = scope.spawn(|| program.run(&mut []));
            // A program that stays stopped cannot be waited for, whatever goes wrong here.
            let release = ResumeAll(&self.pauses);
            let mut verdict = Ok(());
            while left != 0 && !run.is_finished() {
                let place = self.pauses.wait(PATIENCE).map_err(|error| error.to_string())?;
                if let Some(place) = place {
                    verdict = verdict.and_then(|()| paused(place));
                    self.pauses.resume(place).map_err(|error| error.to_string())?;
                    left = left.saturating_sub(1);
                }
            }
            std::mem::forget(release);
            let answer = run.join().map_err(|_| "the run panicked".to_owned())?;
            verdict.map(|()| answer)
        })
    }

    fn seen(&self, index: usize) -> Seen {
        let start = index.saturating_mul(ANSWER);
        let word = |number: usize| self.answers.pages().word(start.saturating_add(number.saturating_mul(8)));
        Seen {
            answer: word(0).cast_signed(),
            queries: [1, 2, 3, 4, 5, 6].map(word),
            positions: [7, 8, 9, 10].map(word),
            image: self.images.pages().bytes(index.saturating_mul(self.size), self.size),
        }
    }

    fn write(&self, ring: &KernelRing, calls: &[Call]) -> Vec<Instruction> {
        let mut writer = Writer { code: Vec::new(), desk: self, ring };
        writer.move_constant(FAILURES, 0);
        for slot in 0..SLOTS {
            writer.store_constant(FRAME, pointer_slot(slot), 0);
        }
        for (index, call) in calls.iter().enumerate() {
            writer.load_value(ANSWERS, &self.answers, index.saturating_mul(ANSWER));
            writer.call(index, call);
            writer.look(index.saturating_mul(self.size));
        }
        writer.move_register(0, FAILURES);
        writer.push(EXIT, 0, 0, 0, 0);
        writer.code
    }
}

/// Lets programs go on when it is dropped.
struct ResumeAll<'pauses>(&'pauses Pauses);

impl Drop for ResumeAll<'_> {
    fn drop(&mut self) {
        self.0.resume_all();
    }
}

/// Writes one program.
struct Writer<'desk> {
    code: Vec<Instruction>,
    desk: &'desk Desk,
    ring: &'desk KernelRing,
}

impl Writer<'_> {
    fn call(&mut self, index: usize, call: &Call) {
        match *call {
            Call::Reserve { slot, length, dynptr: false, payload } => {
                self.load_map(1, self.ring);
                self.load_constant(2, length);
                self.move_constant(3, 0);
                self.helper(RESERVE);
                self.push(STORE, FRAME, 0, pointer_slot(slot), 0);
                self.if_zero_else(
                    0,
                    |writer| writer.store_constant(ANSWERS, 0, -1),
                    |writer| {
                        writer.store_constant(ANSWERS, 0, 0);
                        if writer.can_be_written(length) {
                            writer.move_register(1, 0);
                            writer.load_constant(2, length);
                            writer.load_value(3, &writer.desk.payload, payload);
                            writer.helper(PROBE_READ_KERNEL);
                            writer.note_failure();
                        }
                    },
                );
            }
            Call::Reserve { slot, length, dynptr: true, payload } => {
                self.load_map(1, self.ring);
                self.load_constant(2, length);
                self.move_constant(3, 0);
                self.frame_address(4, dynptr_slot(slot));
                self.helper(RESERVE_DYNPTR);
                self.push(STORE, ANSWERS, 0, 0, 0);
                if self.can_be_written(length) {
                    self.frame_address(1, dynptr_slot(slot));
                    self.move_constant(2, 0);
                    self.load_value(3, &self.desk.payload, payload);
                    self.load_constant(4, length);
                    self.move_constant(5, 0);
                    // Fails on a dynptr that is none, as it should.
                    self.helper(DYNPTR_WRITE);
                }
            }
            Call::Commit { slot, dynptr: false, discard, flags } => {
                self.store_constant(ANSWERS, 0, 0);
                self.push(LOAD, 1, FRAME, pointer_slot(slot), 0);
                let helper = if discard { DISCARD } else { SUBMIT };
                self.if_zero_else(
                    1,
                    |_| {},
                    |writer| {
                        writer.load_constant(2, flags);
                        writer.helper(helper);
                    },
                );
                self.store_constant(FRAME, pointer_slot(slot), 0);
            }
            Call::Commit { slot, dynptr: true, discard, flags } => {
                self.store_constant(ANSWERS, 0, 0);
                self.frame_address(1, dynptr_slot(slot));
                self.load_constant(2, flags);
                self.helper(if discard { DISCARD_DYNPTR } else { SUBMIT_DYNPTR });
            }
            Call::Output { length, flags, payload } => {
                self.load_map(1, self.ring);
                self.load_value(2, &self.desk.payload, payload);
                self.load_constant(3, length);
                self.load_constant(4, flags);
                self.helper(OUTPUT);
                self.push(STORE, ANSWERS, 0, 0, 0);
            }
            Call::Pause => {
                self.store_constant(ANSWERS, 0, 0);
                self.frame_address(1, SCRATCH);
                self.move_constant(2, 8);
                self.load_constant(3, self.desk.pauses.address(index));
                self.helper(COPY_FROM_USER);
                self.note_failure();
            }
        }
    }

    /// Asks the queries, and copies positions and data.
    fn look(&mut self, image: usize) {
        for (query, offset) in QUERIES.into_iter().zip((8i16..).step_by(8)) {
            self.load_map(1, self.ring);
            self.load_constant(2, query);
            self.helper(QUERY);
            self.push(STORE, ANSWERS, 0, offset, 0);
        }
        let consumer = self.ring.consumer_page().base().as_ptr() as u64;
        let producer = self.ring.producer_pages().base().as_ptr() as u64;
        self.copy_from_user(|writer| writer.answer_address(1, 56), 8, consumer);
        self.copy_from_user(|writer| writer.answer_address(1, 64), 24, producer);
        let data = producer.wrapping_add(rustix::param::page_size() as u64);
        self.copy_from_user(
            |writer| writer.load_value(1, &writer.desk.images, image),
            self.desk.size as u64,
            data,
        );
    }

    fn copy_from_user(&mut self, target: impl FnOnce(&mut Self), length: u64, source: u64) {
        target(self);
        self.load_constant(2, length);
        self.load_constant(3, source);
        self.helper(PROBE_READ_USER);
        self.note_failure();
    }

    /// A record that no ring has room for is refused, so nothing has to write it.
    fn can_be_written(&self, length: u64) -> bool {
        length != 0 && length <= self.desk.size as u64
    }

    fn note_failure(&mut self) {
        self.push(OR, FAILURES, 0, 0, 0);
    }

    fn if_zero_else(
        &mut self,
        register: u8,
        zero: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        let test = self.code.len();
        self.push(JUMP_IF_ZERO, register, 0, 0, 0);
        otherwise(self);
        let jump = self.code.len();
        self.push(JUMP, 0, 0, 0, 0);
        self.land(test);
        zero(self);
        self.land(jump);
    }

    /// Makes the jump at `from` end here.
    fn land(&mut self, from: usize) {
        let distance = self.code.len().saturating_sub(from).saturating_sub(1);
        if let (Some(jump), Ok(distance)) = (self.code.get_mut(from), i16::try_from(distance)) {
            *jump = jump.with_offset(distance);
        }
    }

    fn answer_address(&mut self, register: u8, offset: i32) {
        self.move_register(register, ANSWERS);
        self.push(ADD_CONSTANT, register, 0, 0, offset);
    }

    fn frame_address(&mut self, register: u8, offset: i16) {
        self.move_register(register, FRAME);
        self.push(ADD_CONSTANT, register, 0, 0, i32::from(offset));
    }

    fn load_map(&mut self, register: u8, map: &impl AsRawFd) {
        self.load_wide(register, PSEUDO_MAP, map.as_raw_fd(), 0);
    }

    fn load_value(&mut self, register: u8, map: &SharedBytes, offset: usize) {
        self.load_wide(register, PSEUDO_VALUE, map.as_raw_fd(), i32::try_from(offset).unwrap_or(i32::MAX));
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    fn load_constant(&mut self, register: u8, value: u64) {
        self.load_wide(register, 0, value as i32, (value >> 32) as i32);
    }

    fn load_wide(&mut self, register: u8, source: u8, low: i32, high: i32) {
        self.push(LOAD_WIDE, register, source, 0, low);
        self.push(0, 0, 0, 0, high);
    }

    fn move_constant(&mut self, register: u8, value: i32) {
        self.push(MOVE_CONSTANT, register, 0, 0, value);
    }

    fn move_register(&mut self, register: u8, from: u8) {
        self.push(MOVE, register, from, 0, 0);
    }

    fn store_constant(&mut self, register: u8, offset: i16, value: i32) {
        self.push(STORE_CONSTANT, register, 0, offset, value);
    }

    fn helper(&mut self, number: i32) {
        self.push(CALL, 0, 0, 0, number);
    }

    fn push(&mut self, opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) {
        self.code.push(Instruction::new(opcode, dst, src, offset, imm));
    }
}

/// Bytes written down for each call, image aside.
const ANSWER: usize = 88;

/// Registers that calls leave alone: where this call's answers go, and what went wrong so far.
const ANSWERS: u8 = 6;
const FAILURES: u8 = 7;
const FRAME: u8 = 10;

/// Where on the stack a record's address is kept.
const fn pointer_slot(slot: usize) -> i16 {
    match slot {
        0 => -8,
        1 => -16,
        2 => -24,
        _ => -32,
    }
}

/// Where on the stack a record's dynptr is kept: sixteen bytes.
const fn dynptr_slot(slot: usize) -> i16 {
    match slot {
        0 => -48,
        1 => -64,
        2 => -80,
        _ => -96,
    }
}

const SCRATCH: i16 = -104;

/// How long to wait for a program to stop before looking whether it ended.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

const EINVAL: i32 = 22;

const LOAD_WIDE: u8 = 0x18;
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const STORE_CONSTANT: u8 = 0x7a;
const ADD_CONSTANT: u8 = 0x07;
const MOVE_CONSTANT: u8 = 0xb7;
const MOVE: u8 = 0xbf;
const OR: u8 = 0x4f;
const JUMP: u8 = 0x05;
const JUMP_IF_ZERO: u8 = 0x15;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const PSEUDO_MAP: u8 = 1;
const PSEUDO_VALUE: u8 = 2;

const PROBE_READ_USER: i32 = 112;
const PROBE_READ_KERNEL: i32 = 113;
const OUTPUT: i32 = 130;
const RESERVE: i32 = 131;
const SUBMIT: i32 = 132;
const DISCARD: i32 = 133;
const QUERY: i32 = 134;
const COPY_FROM_USER: i32 = 148;
const RESERVE_DYNPTR: i32 = 198;
const SUBMIT_DYNPTR: i32 = 199;
const DISCARD_DYNPTR: i32 = 200;
const DYNPTR_WRITE: i32 = 202;
