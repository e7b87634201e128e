//! Open, choose, load, attach, read: composes the blocks of an eBPF runtime over a platform of yours.
//!
//! An object file holds programs and maps. Somebody has to create the maps, put references to them into the instructions of the programs
//! that are wanted, hand these to whatever runs programs, attach them to what happens there, and clean up when any of it fails. That somebody is this
//! crate; *whatever runs programs* is a [`Platform`]: the machine in `ebpf-vm`, the kernel in `ebpf-linux`, a driver, a mock in a test. The loader
//! owns no policy: the platform creates, loads and attaches, the object says what there is, you say what is wanted. What programs write into rings
//! is read with `ebpf-ringbuf`, straight from the platform's memory ([`Loaded::ring`]).
//!
//! # Example: three programs, one wanted
//!
//! ```
//! use core::cell::Cell;
//! use core::fmt;
//! use ebpf_loader::{Instruction, MapSpec, Object, Platform, ProgramSpec};
//!
//! /// Counts what it is asked for.
//! #[derive(Default)]
//! struct Counting { maps: Cell<i32>, programs: Cell<usize>, links: Cell<usize> }
//!
//! impl Platform for Counting {
//!     type Error = NoRings;
//!     type Map = i32;
//!     type Program = usize;
//!     type Link = ();
//!     /// The name of an interface, say.
//!     type Target<'t> = &'t str;
//!     type Ring = ebpf_ringbuf::Mapped<'static>;
//!
//!     fn create_map(&self, _: &MapSpec<'_>) -> Result<i32, NoRings> {
//!         self.maps.set(self.maps.get() + 1);
//!         Ok(self.maps.get())
//!     }
//!     fn destroy_map(&self, _: i32) { self.maps.set(self.maps.get() - 1) }
//!     fn map_reference(&self, map: &i32) -> i32 { *map }
//!     fn load_program(&self, program: &ProgramSpec<'_>) -> Result<usize, NoRings> {
//!         self.programs.set(self.programs.get() + 1);
//!         Ok(program.instructions.len())
//!     }
//!     fn unload_program(&self, _: usize) { self.programs.set(self.programs.get() - 1) }
//!     fn attach(&self, _: &usize, _interface: &str) -> Result<(), NoRings> {
//!         self.links.set(self.links.get() + 1);
//!         Ok(())
//!     }
//!     fn detach(&self, (): ()) { self.links.set(self.links.get() - 1) }
//!     fn ring(&self, _: &i32) -> Result<Self::Ring, NoRings> { Err(NoRings) }
//! }
//!
//! #[derive(Debug)]
//! struct NoRings;
//! impl core::error::Error for NoRings {}
//! impl fmt::Display for NoRings {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("this platform has no rings") }
//! }
//!
//! let bytes = include_bytes!("../../progtable/tests/objects/choose.bpf.o");
//! let object: Object = Object::open_named("choose.bpf.o", bytes)?;
//! object.set_autoload("test_LRU_map", false)?;
//! object.set_autoload("test_PUSH_POP_map", false)?;
//!
//! let platform = Counting::default();
//! let mut scratch = [Instruction::default(); 64];
//! let mut loaded = object.on(&platform);
//! loaded.load(&mut scratch)?;
//!
//! assert!(loaded.program("test_maps").is_some());
//! assert!(loaded.program("test_LRU_map").is_none());
//! assert_eq!((platform.maps.get(), platform.programs.get()), (3, 1));
//!
//! let links = loaded.attach_all::<2>([("test_maps", "lo"), ("test_maps", "eth0")])?;
//! assert_eq!(platform.links.get(), 2);
//! drop(links);
//! assert_eq!(platform.links.get(), 0);
//!
//! drop(loaded);
//! assert_eq!((platform.maps.get(), platform.programs.get()), (0, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When not to use it
//!
//! * You want to look at an object, not to load it: `ebpf-progtable` alone does that.
//! * Your programs are compiled into your program already relocated: hand them to the platform yourself.
//! * You want programs pinned or replaced: what that takes differs from platform to platform, and theirs is where it lives.
//!
//! # Guarantees
//!
//! * No allocation, no `unsafe`, no panic. The table of an [`Object`] lives where you put it, and so do the handles of a [`Loaded`]; programs are linked
//!   one at a time in a buffer you give. Nothing takes more than 2 KiB of stack with 64 programs and 64 maps, what the platform itself takes aside, but
//!   for opening an object by value, which has a table there besides: [`Object::open_into`] does not.
//! * All or nothing. When a step fails, everything created before is given back to the platform, last first, each handle once, and the error
//!   names the step and the map or program. Dropping a [`Loaded`] does the same; so do [`Loaded::attach_all`] and [`Links`] for what is attached.
//! * What is attached borrows what is loaded: programs are detached before they are unloaded.
//! * A program that is off is neither linked nor shown to the platform.
//! * Of several threads that load one object, one proceeds. A [`set_autoload`](Object::set_autoload) that returned `Ok` is honoured.
//!
//! Not guaranteed: anything about what the platform does with a map or program once it has it. Maps are created also when no chosen program refers to
//! them, as libbpf does, unless [`Object::set_autocreate`] says otherwise.
//!
//! # In interrupts
//!
//! The loader itself may be called anywhere; creating maps and loading programs rarely may. The platform's contract is the caller's.
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod links;
mod object;
mod platform;

pub use ebpf_progtable::{
    Extern, ExternKind, InfoKind, InfoRecord, InitialValueProblem, Instruction, KconfigValue, KernelObject,
    Label, Map, MapDefinition, MapKind, Needs, ObjectFile, OpenError, Options, Program, ProgramKind,
    Reference, ReferenceTarget, RelocateError, RelocateErrorKind, Resolver, SectionTable, SlotTarget,
};
pub use ebpf_ringbuf::memory::Memory;
pub use error::{AttachError, AutoloadError, LoadError, RingError, SlotProblem};
pub use links::{Attached, Links};
pub use object::{Loaded, Object};
pub use platform::{MapSpec, Platform, ProgramSpec, SlotValue};
