//! What is attached where: programs of a kind, under a name that the embedder gives to a place.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ebpf_loader::ProgramKind;
use spin::Mutex;

use crate::program::VmProgram;

/// An attached program: what [`Platform::attach`](ebpf_loader::Platform::attach) gives and `detach` takes.
#[derive(Debug)]
pub struct VmLink {
    kind: ProgramKind,
    hook: Box<str>,
    id: u64,
}

impl VmLink {
    /// The hook's name.
    #[must_use]
    pub fn hook(&self) -> &str {
        &self.hook
    }

    /// The kind of the program, by which hooks are told apart too.
    #[must_use]
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }
}

/// The programs of one hook, in the order in which they were attached. Replaced as a whole, so that an event in progress sees one state of it.
pub(crate) type Attached = Arc<[(u64, VmProgram)]>;

#[derive(Default)]
pub(crate) struct Hooks(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By kind and name. A hook without programs has no entry.
    hooks: BTreeMap<ProgramKind, BTreeMap<Box<str>, Attached>>,
    next_id: u64,
}

impl Hooks {
    pub(crate) fn attach(&self, program: &VmProgram, hook: &str) -> VmLink {
        let kind = program.kind();
        let mut table = self.0.lock();
        let id = table.next_id;
        table.next_id = id.wrapping_add(1);
        let programs = table.hooks.entry(kind).or_default().entry(hook.into()).or_default();
        let old = core::mem::take(programs);
        *programs = old.iter().cloned().chain([(id, program.clone())]).collect::<Vec<_>>().into();
        drop(table);
        // What is freed is freed outside the lock.
        drop(old);
        VmLink { kind, hook: hook.into(), id }
    }

    pub(crate) fn detach(&self, link: &VmLink) {
        let mut table = self.0.lock();
        let Some(hooks) = table.hooks.get_mut(&link.kind) else { return };
        let Some(programs) = hooks.get_mut(&link.hook) else { return };
        let left: Vec<_> = programs.iter().filter(|(id, _)| *id != link.id).cloned().collect();
        let old = if left.is_empty() {
            hooks.remove(&link.hook)
        } else {
            Some(core::mem::replace(programs, left.into()))
        };
        drop(table);
        drop(old);
    }

    /// What is attached at this moment.
    pub(crate) fn at(&self, kind: ProgramKind, hook: &str) -> Option<Attached> {
        self.0.lock().hooks.get(&kind)?.get(hook).cloned()
    }
}
