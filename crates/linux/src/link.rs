//! Attaching programs.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ebpf_loader::ProgramKind;

use crate::capability::Capability;
use crate::error::Error;
use crate::map::{duplicate, path_string, pin};
use crate::perf::{self, Event};
use crate::program::LinuxProgram;
use crate::sys::perf::{self as sys_perf, EventAttr};
use crate::sys::{Errno, attr, bpf};
use crate::tracefs;

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Target<'t> {
    /// What the program's section names: `raw_tp/NAME`, `tp/GROUP/NAME`, `kprobe/FUNCTION`, `kretprobe/FUNCTION`, `uprobe/FILE:OFFSET`,
    /// `uretprobe/FILE:OFFSET` and their longer spellings.
    Section,
    /// A raw tracepoint, by name: `sys_enter`.
    RawTracepoint(&'t str),
    /// A tracepoint, by group and name: `sched`, `sched_switch`. tracefs must be mounted.
    Tracepoint {
        /// The directory in `events`.
        group: &'t str,
        /// The directory in that.
        name: &'t str,
    },
    /// A function of the kernel.
    Kprobe {
        /// Its name.
        function: &'t str,
        /// Bytes behind its start; 0 for a return.
        offset: u64,
        /// When it returns instead of when it is called.
        on_return: bool,
    },
    /// A place in a file that processes run.
    Uprobe {
        /// The executable or library.
        file: &'t Path,
        /// Bytes from the start of the file (not an address, nor a symbol's value).
        offset: u64,
        /// When the function there returns instead.
        on_return: bool,
        /// Of one process only.
        process: Option<u32>,
    },
    /// XDP on a network interface.
    Xdp {
        /// The interface's index.
        interface: u32,
        /// Which hook.
        mode: XdpMode,
    },
    /// Traffic control of a network interface, by a link (tcx, Linux 6.6).
    Tcx {
        /// The interface's index.
        interface: u32,
        /// What leaves it instead of what comes.
        egress: bool,
    },
    /// A cgroup, by its directory: the hook that the program was loaded for.
    Cgroup(BorrowedFd<'t>),
    /// A network namespace: flow dissector, socket lookup.
    NetworkNamespace(BorrowedFd<'t>),
    /// Every overflow of an event.
    Event(&'t Event),
    /// Every packet of a socket. The socket keeps the program if the link is not dropped before its last descriptor.
    Socket(BorrowedFd<'t>),
}

/// Where XDP programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum XdpMode {
    /// In the driver if it can, otherwise in the network stack.
    #[default]
    Any,
    /// In the driver.
    Driver,
    /// In the network stack.
    Generic,
}

/// A program that is attached, until this is dropped: it is descriptors, and what they hold goes with them. One that is pinned stays.
#[derive(Debug)]
pub struct LinuxLink {
    kind: LinkKind,
    program: String,
}

enum LinkKind {
    /// `BPF_LINK_CREATE`, `BPF_RAW_TRACEPOINT_OPEN`; where the link is one to an event, the event that only this keeps.
    Link { link: OwnedFd, event: Option<OwnedFd> },
    /// An event with a program, without a link: before Linux 5.15.
    Event(OwnedFd),
    /// A socket of ours and its owner's.
    Socket(OwnedFd),
}

impl LinuxLink {
    /// Attaches `program`.
    ///
    /// # Errors
    /// The kernel's. Nothing is left behind.
    pub fn attach(program: &LinuxProgram, target: Target<'_>) -> Result<Self, Error> {
        let kind = match target {
            Target::Section => return Self::attach(program, section_target(program)?),
            Target::RawTracepoint(name) => raw_tracepoint(program, name)?,
            Target::Tracepoint { group, name } => {
                let id = tracefs::id(group, name)?;
                probe(
                    program,
                    EventAttr {
                        kind: perf::TRACEPOINT,
                        config: id,
                        period: 1,
                        wakeup: 1,
                        ..Default::default()
                    },
                    None,
                    None,
                )?
            }
            Target::Kprobe { function, offset, on_return } => {
                let attr = perf::probe_attr("kprobe", on_return, offset)?;
                let name =
                    CString::new(function).map_err(|_| program.refused("perf_event_open", Errno::INVAL))?;
                probe(program, attr, Some(&name), None)?
            }
            Target::Uprobe { file, offset, on_return, process } => {
                let attr = perf::probe_attr("uprobe", on_return, offset)?;
                let name = path_string(file).map_err(|errno| program.refused("perf_event_open", errno))?;
                probe(program, attr, Some(&name), process)?
            }
            Target::Xdp { interface, mode } => {
                let flags = match mode {
                    XdpMode::Any => 0,
                    XdpMode::Generic => XDP_GENERIC,
                    XdpMode::Driver => XDP_DRIVER,
                };
                link(program, interface, XDP, flags, format_args!("interface {interface}"))?
            }
            Target::Tcx { interface, egress } => {
                let attach_type = if egress { TCX_EGRESS } else { TCX_INGRESS };
                let takes = ", which takes Linux 6.6";
                link(program, interface, attach_type, 0, format_args!("interface {interface}{takes}"))?
            }
            Target::Cgroup(directory) => link(
                program,
                bpf::number(directory),
                program.expected_attach_type(),
                0,
                format_args!("a cgroup"),
            )?,
            Target::NetworkNamespace(namespace) => {
                let attach_type = program.expected_attach_type();
                link(program, bpf::number(namespace), attach_type, 0, format_args!("a network namespace"))?
            }
            Target::Event(event) => to_event(program, event.as_fd())?,
            Target::Socket(socket) => {
                // Ours, so that the program can be taken off again.
                let ours = duplicate(socket)?;
                sys_perf::attach_to_socket(socket, program.as_fd())
                    .map_err(|errno| program.refused("setsockopt(SO_ATTACH_BPF)", errno))?;
                LinkKind::Socket(ours)
            }
        };
        Ok(Self { kind, program: program.name().to_owned() })
    }

    /// The name of the program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The link's number in the whole system; `None` where there is no link behind it: sockets, and events before Linux 5.15.
    ///
    /// # Errors
    /// The kernel's.
    pub fn id(&self) -> Result<Option<u32>, Error> {
        let LinkKind::Link { link, .. } = &self.kind else { return Ok(None) };
        let info: attr::LinkInfo = bpf::info(link.as_fd()).map_err(|errno| {
            Error::new("BPF_OBJ_GET_INFO_BY_FD", errno).of(format_args!("the link of `{}`", self.program))
        })?;
        Ok(Some(info.id))
    }

    /// Gives the link a name in a file system of type bpf: it stays attached when this is dropped, until the name is removed.
    ///
    /// # Errors
    /// The kernel's; `EOPNOTSUPP` where there is no link behind it.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        match &self.kind {
            LinkKind::Link { link, .. } => pin(link.as_fd(), path.as_ref()),
            LinkKind::Event(_) | LinkKind::Socket(_) => Err(Error::new("BPF_OBJ_PIN", Errno::OPNOTSUPP)
                .of(format_args!("what `{}` is attached by", self.program))),
        }
    }
}

impl Drop for LinuxLink {
    fn drop(&mut self) {
        match &self.kind {
            // What descriptors hold goes with them.
            LinkKind::Link { .. } => {}
            LinkKind::Event(event) => {
                let _ = sys_perf::request(event.as_fd(), sys_perf::DISABLE, 0);
            }
            // Fails only if somebody else has taken it off.
            LinkKind::Socket(socket) => drop(sys_perf::detach_from_socket(socket.as_fd())),
        }
    }
}

impl fmt::Debug for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { link, event } => {
                f.debug_struct("Link").field("link", link).field("event", event).finish()
            }
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Socket(socket) => f.debug_tuple("Socket").field(socket).finish(),
        }
    }
}

fn raw_tracepoint(program: &LinuxProgram, name: &str) -> Result<LinkKind, Error> {
    let refused = |errno| {
        let error = program.refused("BPF_RAW_TRACEPOINT_OPEN", errno);
        if errno == Errno::NOENT { error.hint(format!("there is no raw tracepoint `{name}`")) } else { error }
    };
    let string = CString::new(name).map_err(|_| refused(Errno::NOENT))?;
    let link = bpf::raw_tracepoint(program.as_fd(), Some(&string)).map_err(refused)?;
    Ok(LinkKind::Link { link, event: None })
}

fn link(
    program: &LinuxProgram,
    target: u32,
    attach_type: u32,
    flags: u32,
    place: fmt::Arguments<'_>,
) -> Result<LinkKind, Error> {
    let attr = attr::LinkCreate {
        program: bpf::number(program.as_fd()),
        target,
        attach_type,
        flags,
        ..Default::default()
    };
    let refused = |errno| {
        let error = program.refused("BPF_LINK_CREATE", errno);
        if errno == Errno::PERM { error } else { error.hint(format!("to {place}")) }
    };
    Ok(LinkKind::Link { link: bpf::link_create(attr).map_err(refused)?, event: None })
}

/// Opens an event for one attachment.
fn probe(
    program: &LinuxProgram,
    attr: EventAttr,
    name: Option<&std::ffi::CStr>,
    process: Option<u32>,
) -> Result<LinkKind, Error> {
    // A probe of every process is opened on one CPU and still is everywhere.
    let (process, cpu) = match process.map(i32::try_from) {
        None => (-1, 0),
        Some(Ok(process)) => (process, -1),
        Some(Err(_)) => return Err(program.refused("perf_event_open", Errno::SRCH)),
    };
    let event = sys_perf::open(attr, name, process, cpu).map_err(|errno| {
        let error = program.refused("perf_event_open", errno);
        if errno == Errno::ACCESS { error.needs(&[Capability::PerfMon]) } else { error }
    })?;
    Ok(match to_event(program, event.as_fd())? {
        LinkKind::Link { link, .. } => LinkKind::Link { link, event: Some(event) },
        other => other,
    })
}

fn to_event(program: &LinuxProgram, event: BorrowedFd<'_>) -> Result<LinkKind, Error> {
    let attr = attr::LinkCreate {
        program: bpf::number(program.as_fd()),
        target: bpf::number(event),
        attach_type: PERF_EVENT,
        ..Default::default()
    };
    match bpf::link_create(attr) {
        Ok(link) => {
            sys_perf::request(event, sys_perf::ENABLE, 0)
                .map_err(|errno| program.refused("ioctl(PERF_EVENT_IOC_ENABLE)", errno))?;
            Ok(LinkKind::Link { link, event: None })
        }
        // Linux before 5.15 has no links to events.
        Err(Errno::INVAL) => {
            let ours = duplicate(event)?;
            for (call, request, argument) in [
                ("ioctl(PERF_EVENT_IOC_SET_BPF)", sys_perf::SET_PROGRAM, bpf::number(program.as_fd())),
                ("ioctl(PERF_EVENT_IOC_ENABLE)", sys_perf::ENABLE, 0),
            ] {
                sys_perf::request(event, request, argument).map_err(|errno| program.refused(call, errno))?;
            }
            Ok(LinkKind::Event(ours))
        }
        Err(errno) => Err(program.refused("BPF_LINK_CREATE", errno)),
    }
}

/// What the section names.
fn section_target(program: &LinuxProgram) -> Result<Target<'_>, Error> {
    let section = program.section();
    let (prefix, place) = section.split_once('/').unwrap_or((section, ""));
    let unclear = || {
        program
            .refused("attach", Errno::INVAL)
            .hint(format!("its section `{section}` does not name a place: name a target"))
    };
    let target = match (program.kind(), prefix) {
        (_, _) if place.is_empty() => None,
        (ProgramKind::RAW_TRACEPOINT | ProgramKind::RAW_TRACEPOINT_WRITABLE, _) => {
            Some(Target::RawTracepoint(place))
        }
        (ProgramKind::TRACEPOINT, _) => {
            place.split_once('/').map(|(group, name)| Target::Tracepoint { group, name })
        }
        (ProgramKind::KPROBE, "kprobe" | "kretprobe") => {
            let (function, offset) = place.split_once('+').unwrap_or((place, "0"));
            number(offset).map(|offset| Target::Kprobe { function, offset, on_return: prefix == "kretprobe" })
        }
        (ProgramKind::KPROBE, "uprobe" | "uprobe.s" | "uretprobe" | "uretprobe.s") => {
            place.rsplit_once(':').and_then(|(file, offset)| {
                let offset = number(offset)?;
                let on_return = prefix.starts_with("uret");
                Some(Target::Uprobe { file: Path::new(file), offset, on_return, process: None })
            })
        }
        _ => None,
    };
    target.ok_or_else(unclear)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `BPF_XDP`, `BPF_PERF_EVENT`, `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
const XDP: u32 = 37;
const PERF_EVENT: u32 = 41;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`.
const XDP_GENERIC: u32 = 1 << 1;
const XDP_DRIVER: u32 = 1 << 2;
