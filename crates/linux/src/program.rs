//! Programs.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ebpf_loader::{ProgramKind, ProgramSpec};
use zerocopy::IntoBytes;

use crate::btf::Btf;
use crate::callbacks::{RECORD, functions};
use crate::capability::Capability;
use crate::error::Error;
use crate::map::{path_string, pin, require};
use crate::sys::bpf::{Buffers, Load, Numbered};
use crate::sys::{Errno, attr, bpf};

/// A program that the verifier took: a descriptor, closed when dropped. The program lives as long as any descriptor, link or pin refers to it.
pub struct LinuxProgram {
    descriptor: OwnedFd,
    name: String,
    kind: ProgramKind,
    /// Where it stood in the object, which may name what it is to be attached to.
    section: String,
    expected_attach_type: u32,
}

/// What the kernel says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramInfo {
    /// Its number in the whole system.
    pub id: u32,
    /// The first 15 bytes of its name.
    pub name: String,
    /// `BPF_PROG_TYPE_*`.
    pub kind: ProgramKind,
    /// A hash of its instructions.
    pub tag: [u8; 8],
    /// Bytes of machine code; 0 if it is interpreted.
    pub jited_len: u32,
    /// Bytes of instructions as the verifier rewrote them; 0 if they are kept from us.
    pub translated_len: u32,
    /// Instructions that the verifier walked over; 0 before Linux 5.16.
    pub verified_instructions: u32,
    /// The numbers of the maps that it uses.
    pub maps: Vec<u32>,
}

/// How a program is run by [`LinuxProgram::test_run`].
#[derive(Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the fields are those of the system call, and a value is made with `..Default::default()`"
)]
pub struct TestRun<'a> {
    /// How often, in the kernel, in a row; 0 is once. A `syscall` program only takes 0, and so does one that is run on a named CPU.
    pub repeat: u32,
    /// On which CPU: raw tracepoints only.
    pub cpu: Option<u32>,
    /// The packet; programs for networks need at least 14 bytes.
    pub data: &'a [u8],
    /// Where the packet goes afterwards; may be empty.
    pub data_out: &'a mut [u8],
    /// The context, which the program may change; may be empty.
    pub context: &'a mut [u8],
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestOutcome {
    /// What the program returned the last time.
    pub returned: u32,
    /// How long a run took on average, as the kernel measured; zero for kinds that it does not measure.
    pub duration: Duration,
    /// Bytes of the packet afterwards.
    pub data_len: usize,
}

impl LinuxProgram {
    /// Gives a program to the verifier. The verifier is asked for a log only when it has refused, and for a longer one as long as the log is cut off.
    ///
    /// # Errors
    /// The kernel's, with the log's last part.
    pub fn load(spec: &ProgramSpec<'_>) -> Result<Self, Error> {
        let refused = |errno: Errno| {
            Error::new("BPF_PROG_LOAD", errno).of(format_args!("program `{}` ({})", spec.name, spec.kind))
        };
        let license = CString::new(spec.license)
            .map_err(|_| refused(Errno::INVAL).hint("the licence has a zero in it"))?;
        let functions = functions(spec.name, spec.instructions);
        let types = functions.as_ref().map(|functions| Btf::load(&functions.types)).transpose()?;
        let load = Load {
            attr: attr::ProgramLoad {
                kind: spec.kind.0,
                flags: flags(spec),
                name: attr::name(spec.name),
                expected_attach_type: spec.expected_attach_type,
                btf: types.as_ref().map_or(0, |types| bpf::number(types.as_fd())),
                func_info_size: if functions.is_some() { RECORD } else { 0 },
                ..Default::default()
            },
            instructions: spec.instructions.as_bytes(),
            license: &license,
            functions: functions.as_ref().map_or(&[], |functions| &functions.records),
        };
        let descriptor = with_log(|log| bpf::program_load(&load, log)).map_err(|(errno, log)| {
            let error = refused(errno).with_log(log);
            // What the verifier has a word for is the program's fault; without one, rights are missing.
            if error.log().is_empty() { error.needs(&needs(spec.kind)) } else { error }
        })?;
        Ok(Self {
            descriptor,
            name: spec.name.to_owned(),
            kind: spec.kind,
            section: spec.section.to_owned(),
            expected_attach_type: spec.expected_attach_type,
        })
    }

    /// The program that is pinned at `path`. It has no section, and an expected attach type of 0: name the target when attaching it.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for what is no program.
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused = |errno| Error::new("BPF_OBJ_GET", errno).of(path.display()).needs(&[Capability::Bpf]);
        Self::from_descriptor(path_string(path).and_then(|path| bpf::pinned(&path)).map_err(refused)?)
    }

    /// The program with this number.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` if there is none, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self, Error> {
        let refused = |errno| {
            let error = Error::new("BPF_PROG_GET_FD_BY_ID", errno).of(format_args!("program {id}"));
            error.needs(&[Capability::SysAdmin])
        };
        Self::from_descriptor(bpf::by_id(Numbered::Program, id).map_err(refused)?)
    }

    fn from_descriptor(descriptor: OwnedFd) -> Result<Self, Error> {
        require(descriptor.as_fd(), "bpf-prog")?;
        let info = raw_info(descriptor.as_fd())?;
        Ok(Self {
            descriptor,
            name: attr::text(&info.name),
            kind: ProgramKind(info.kind),
            section: String::new(),
            expected_attach_type: 0,
        })
    }

    /// Its name: as it was asked for, or the kernel's 15 bytes of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `BPF_PROG_TYPE_*`.
    #[must_use]
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The section it stood in; empty if it came from no object.
    #[must_use]
    pub fn section(&self) -> &str {
        &self.section
    }

    /// `BPF_*` attach type that it was loaded for; 0 if for none in particular.
    #[must_use]
    pub fn expected_attach_type(&self) -> u32 {
        self.expected_attach_type
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn info(&self) -> Result<ProgramInfo, Error> {
        let info = raw_info(self.as_fd())?;
        let refused = |errno| self.refused("BPF_OBJ_GET_INFO_BY_FD", errno);
        Ok(ProgramInfo {
            id: info.id,
            name: attr::text(&info.name),
            kind: ProgramKind(info.kind),
            tag: info.tag,
            jited_len: info.jited_length,
            translated_len: info.translated_length,
            verified_instructions: info.verified_instructions,
            maps: bpf::program_maps(self.as_fd(), info.map_count).map_err(refused)?,
        })
    }

    /// Runs it in the kernel, for kinds that can be run so.
    ///
    /// # Errors
    /// The kernel's: `ENOTSUPP` (524) for kinds that cannot, `EINVAL` for what does not go with the kind.
    pub fn test_run(&self, run: TestRun<'_>) -> Result<TestOutcome, Error> {
        // These have their context written back by themselves, or not at all.
        let context_out = !matches!(self.kind, ProgramKind::SYSCALL | ProgramKind::RAW_TRACEPOINT);
        let attr = attr::TestRun {
            program: bpf::number(self.as_fd()),
            repeat: run.repeat,
            flags: if run.cpu.is_some() { RUN_ON_CPU } else { 0 },
            cpu: run.cpu.unwrap_or(0),
            ..Default::default()
        };
        let buffers =
            Buffers { data_in: run.data, data_out: run.data_out, context: run.context, context_out };
        let answer =
            bpf::test_run(attr, buffers).map_err(|errno| self.refused("BPF_PROG_TEST_RUN", errno))?;
        Ok(TestOutcome {
            returned: answer.returned,
            duration: Duration::from_nanos(u64::from(answer.duration)),
            data_len: usize::try_from(answer.data_size_out).unwrap_or(usize::MAX),
        })
    }

    /// Gives it a name in a file system of type bpf, which keeps it.
    ///
    /// # Errors
    /// The kernel's: `EPERM` where no such file system is, `EEXIST`.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        pin(self.as_fd(), path.as_ref())
    }

    pub(crate) fn refused(&self, call: &'static str, errno: Errno) -> Error {
        let error = Error::new(call, errno).of(format_args!("program `{}` ({})", self.name, self.kind));
        error.needs(&needs(self.kind))
    }
}

impl AsFd for LinuxProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for LinuxProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinuxProgram")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

/// What loading or attaching a program of that kind takes.
pub(crate) fn needs(kind: ProgramKind) -> Vec<Capability> {
    match kind {
        ProgramKind::SOCKET_FILTER | ProgramKind::SYSCALL | ProgramKind::UNSPEC => vec![Capability::Bpf],
        ProgramKind::KPROBE
        | ProgramKind::TRACEPOINT
        | ProgramKind::PERF_EVENT
        | ProgramKind::RAW_TRACEPOINT
        | ProgramKind::RAW_TRACEPOINT_WRITABLE
        | ProgramKind::TRACING
        | ProgramKind::LSM
        | ProgramKind::STRUCT_OPS
        | ProgramKind::EXT => vec![Capability::Bpf, Capability::PerfMon],
        _ => vec![Capability::Bpf, Capability::NetAdmin],
    }
}

/// Calls `load` without a log, and if it fails with longer and longer ones; `EAGAIN`, which says that a signal came, a few times over.
pub(crate) fn with_log(
    mut load: impl FnMut(&mut [u8]) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, (Errno, String)> {
    let mut attempts = 0..ATTEMPTS;
    let first = loop {
        match load(&mut []) {
            Ok(descriptor) => return Ok(descriptor),
            Err(Errno::AGAIN) if attempts.next().is_some() => {}
            Err(errno) => break errno,
        }
    };
    // What is refused for want of rights or of memory has no log, and asking again could only hide the reason.
    if matches!(
        first,
        Errno::PERM | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TOOBIG | Errno::AGAIN
    ) {
        return Err((first, String::new()));
    }
    let mut length = FIRST_LOG;
    loop {
        let mut log = vec![0; length];
        let errno = match load(&mut log) {
            Ok(descriptor) => return Ok(descriptor),
            Err(errno) => errno,
        };
        if errno == Errno::NOSPC && length < LONGEST_LOG {
            length = length.saturating_mul(16);
            continue;
        }
        // Where the log is longer than all that, it says so itself; the reason is still that of the first try.
        return Err((first, tail(&log)));
    }
}

/// The last lines of what stands before the first zero.
fn tail(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let from = text.len().saturating_sub(TAIL);
    let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
    match text.split_once('\n') {
        // A line that was cut says nothing.
        Some((_, rest)) if from > 0 => rest.to_owned(),
        _ => text,
    }
}

/// `BPF_F_SLEEPABLE` and `BPF_F_XDP_HAS_FRAGS`, which section names ask for.
fn flags(spec: &ProgramSpec<'_>) -> u32 {
    let prefix = spec.section.split('/').next().unwrap_or_default();
    let sleepable = spec.kind == ProgramKind::SYSCALL || prefix.ends_with(".s");
    let fragments = spec.kind == ProgramKind::XDP && prefix == "xdp.frags";
    (if sleepable { SLEEPABLE } else { 0 }) | (if fragments { XDP_FRAGMENTS } else { 0 })
}

fn raw_info(program: BorrowedFd<'_>) -> Result<attr::ProgramInfo, Error> {
    bpf::info(program).map_err(|errno| Error::new("BPF_OBJ_GET_INFO_BY_FD", errno).of("a program"))
}

const SLEEPABLE: u32 = 1 << 4;
const XDP_FRAGMENTS: u32 = 1 << 5;
/// `BPF_F_TEST_RUN_ON_CPU`.
const RUN_ON_CPU: u32 = 1;
const ATTEMPTS: u32 = 5;
const FIRST_LOG: usize = 64 << 10;
const LONGEST_LOG: usize = 16 << 20;
/// Bytes of the log that an error keeps.
const TAIL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_grow_until_they_hold_everything() {
        let mut lengths = Vec::new();
        let result = with_log(|log| {
            lengths.push(log.len());
            match log.len() {
                0 => Err(Errno::INVAL),
                length if length < LONGEST_LOG => Err(Errno::NOSPC),
                _ => {
                    log[..6].copy_from_slice(b"reason");
                    Err(Errno::INVAL)
                }
            }
        });
        let (errno, log) = result.expect_err("refused");
        assert_eq!((errno, log.as_str()), (Errno::INVAL, "reason"));
        assert_eq!(lengths, [0, 64 << 10, 1 << 20, 16 << 20]);
    }

    #[test]
    fn want_of_rights_is_not_asked_about_again() {
        let mut calls = 0;
        let result = with_log(|_| {
            calls += 1;
            Err(if calls < 3 { Errno::AGAIN } else { Errno::PERM })
        });
        assert_eq!((result.expect_err("refused").0, calls), (Errno::PERM, 3));
    }

    #[test]
    fn of_a_long_log_whole_lines_of_the_end_are_kept() {
        let long = "a line of the log\n".repeat(1000);
        let kept = tail(long.as_bytes());
        assert!(kept.len() < TAIL && kept.len() > TAIL - 20);
        assert!(kept.starts_with("a line"));
        assert_eq!(tail(b"short\0rest"), "short");
    }

    #[test]
    fn sections_ask_for_flags() {
        let spec = |section, kind| ProgramSpec {
            name: "",
            section,
            kind,
            expected_attach_type: 0,
            license: "",
            instructions: &[],
        };
        assert_eq!(flags(&spec("syscall", ProgramKind::SYSCALL)), SLEEPABLE);
        assert_eq!(flags(&spec("uprobe.s//bin/x.s:y", ProgramKind::KPROBE)), SLEEPABLE);
        assert_eq!(flags(&spec("uprobe//bin/x.s", ProgramKind::KPROBE)), 0);
        assert_eq!(flags(&spec("xdp.frags/cpumap", ProgramKind::XDP)), XDP_FRAGMENTS);
    }
}
