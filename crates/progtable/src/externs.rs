//! What an object refers to and does not define: kernel symbols, kernel functions, configuration values.
//!
//! A symbol of section 0 says only a name; what it stands for is in the object's type information, in the
//! data sections `.kconfig` and `.ksyms`, which exist there alone.

use core::fmt;

use crate::btf::{self, Btf, Type, kind};
use crate::elf::{self, Container, U32, binding};
use crate::error::BtfError;
use crate::kconfig::KconfigVariable;
use crate::object_file::ObjectFile;
use crate::walk::is_extern;

/// A symbol that the object refers to and does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extern<'data> {
    name: &'data str,
    symbol: u32,
    is_weak: bool,
    kind: ExternKind,
    type_id: u32,
    kconfig: Option<KconfigVariable>,
}

impl<'data> Extern<'data> {
    /// Its name; empty if it is not text.
    #[must_use]
    pub fn name(&self) -> &'data str {
        self.name
    }

    /// Whether the object does without it (`__weak`): a value is zero then, an address null, and a call must
    /// not be reached.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    /// What it stands for.
    #[must_use]
    pub fn kind(&self) -> ExternKind {
        self.kind
    }

    /// Number of its type in the object's own type information, behind qualifiers and typedefs: a function's
    /// prototype, a variable's type. 0 for a symbol without a type.
    #[must_use]
    pub fn type_id(&self) -> u32 {
        self.type_id
    }

    /// Type and place of a configuration value; `None` for everything else.
    #[must_use]
    pub fn kconfig(&self) -> Option<KconfigVariable> {
        self.kconfig
    }
}

/// What a symbol stands for that the object does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExternKind {
    /// A configuration value (`__kconfig`): it stands in the map `.kconfig`.
    Kconfig,
    /// A kernel symbol without a type (`extern const void name __ksym`): an address, as in `/proc/kallsyms`.
    Address,
    /// A kernel variable with a type, found in the kernel's type information.
    Variable,
    /// A kernel function (`kfunc`), found in the kernel's type information.
    Function,
    /// The type information does not say.
    Undescribed,
}

impl fmt::Display for ExternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kconfig => "configuration value",
            Self::Address => "kernel symbol",
            Self::Variable => "kernel variable",
            Self::Function => "kernel function",
            Self::Undescribed => "undefined symbol",
        })
    }
}

/// Type information with fewer checkpoints than opening needs: whoever links has it on the stack all the time.
pub(crate) type Types<'data> = Btf<'data, 16, 2>;

/// What the type information says of externs. It is large: it is made where it stays.
pub(crate) struct Externs<'f, 'data> {
    container: &'f Container<'data>,
    /// The type information, until it is looked at: most programs have no externs.
    unread: Option<&'data [u8]>,
    btf: Types<'data>,
    /// The data sections' variables and functions.
    kconfig: Option<&'data [[U32; 3]]>,
    ksyms: Option<&'data [[U32; 3]]>,
    /// The last few that were looked up: programs refer to the same ones again and again.
    recent: [Option<Extern<'data>>; 2],
}

impl<'f, 'data> Externs<'f, 'data> {
    #[inline]
    pub(crate) fn of<const PROGRAMS: usize, const MAPS: usize>(
        file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    ) -> Self {
        Self {
            container: &file.container,
            unread: file.found.btf,
            btf: Types::empty(file.container.order),
            kconfig: None,
            ksyms: None,
            recent: [None; 2],
        }
    }

    #[inline(never)]
    fn read(&mut self, bytes: &'data [u8]) -> Result<(), BtfError> {
        self.btf.index(bytes, LOOKUPS)?;
        for datasec in self.btf.datasecs() {
            let members = match () {
                () if self.btf.string_is(datasec.name, ".kconfig") => &mut self.kconfig,
                () if self.btf.string_is(datasec.name, ".ksyms") => &mut self.ksyms,
                () => continue,
            };
            // Of several, the first.
            members.get_or_insert(datasec.tail.as_chunks().0);
        }
        Ok(())
    }

    /// The symbol with that number, which is an extern.
    pub(crate) fn find(&mut self, symbol: u32) -> Result<Extern<'data>, BtfError> {
        if let Some(bytes) = self.unread.take() {
            self.read(bytes)?;
        }
        if let Some(known) = self.recent.iter().flatten().find(|known| known.symbol == symbol) {
            return Ok(*known);
        }
        self.look_up(symbol)
    }

    /// Not inlined, so that who is told what is known has none of this on the stack.
    #[inline(never)]
    fn look_up(&mut self, symbol: u32) -> Result<Extern<'data>, BtfError> {
        let entry = self.container.symbols.get(elf::index(symbol));
        let mut found = Extern {
            name: entry.and_then(|entry| self.container.symbol_name(entry)).unwrap_or_default(),
            symbol,
            is_weak: entry.is_some_and(|entry| entry.binding() == binding::WEAK),
            kind: ExternKind::Undescribed,
            type_id: 0,
            kconfig: None,
        };
        if found.name.is_empty() {
            return Ok(found);
        }
        if let Some(variable) = self.named(self.kconfig, found.name)? {
            let (type_id, _) = strip(&self.btf, variable.of)?;
            if let Some(mut value) = KconfigVariable::of(&self.btf, variable.of)? {
                value.offset = self.offset(found.name, value)?;
                found.kind = ExternKind::Kconfig;
                found.type_id = type_id;
                found.kconfig = Some(value);
            }
        } else if let Some(described) = self.named(self.ksyms, found.name)? {
            let (type_id, _) = strip(&self.btf, described.of)?;
            found.type_id = type_id;
            found.kind = match described.kind {
                kind::FUNC => ExternKind::Function,
                _ if type_id == 0 => ExternKind::Address,
                _ => ExternKind::Variable,
            };
        }
        let [last, before] = &mut self.recent;
        *before = last.replace(found);
        Ok(found)
    }

    /// The place of a kernel symbol among all externs, in libbpf's order: configuration values, then the
    /// others by name.
    pub(crate) fn rank(&self, symbol: &Extern<'data>) -> Result<u32, BtfError> {
        let btf = &self.btf;
        let mut before = self.kconfig.map_or(0, <[_]>::len);
        for [id, _, _] in self.ksyms.into_iter().flatten() {
            let other = btf.string(btf.find(id.get(self.container.order))?.name).unwrap_or_default();
            before = before.saturating_add(usize::from(other < symbol.name));
        }
        Ok(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// The variable or function of that name in a data section.
    #[inline(never)]
    fn named(&self, members: Option<&[[U32; 3]]>, name: &str) -> Result<Option<Member>, BtfError> {
        for [id, _, _] in members.into_iter().flatten() {
            let found = self.btf.find(id.get(self.container.order))?;
            if self.btf.string_is(found.name, name) {
                return Ok(Some(Member { kind: found.kind(), of: found.size }));
            }
        }
        Ok(None)
    }

    /// Of a variable or function: all that is asked of most of them.
    #[inline(never)]
    fn name_and_type(&self, id: u32) -> Result<(u32, u32), BtfError> {
        self.btf.find(id).map(|found| (found.name, found.size))
    }

    /// Where a configuration value stands in its map: libbpf sorts them, the most aligned first, the smaller
    /// first among those, then by name, and so needs no padding.
    // Into `look_up`, the only one who asks: as a call it would stand on that one's frame.
    #[inline(always)]
    fn offset(&self, name: &str, value: KconfigVariable) -> Result<u32, BtfError> {
        let btf = &self.btf;
        let mut offset = 0_u32;
        for [id, _, _] in self.kconfig.into_iter().flatten() {
            let (other, of) = self.name_and_type(id.get(self.container.order))?;
            let Some(sized) = KconfigVariable::of(btf, of)? else { continue };
            let by_name = || btf.string(other).unwrap_or_default().cmp(name);
            let order = value.alignment().cmp(&sized.alignment());
            if order.then(sized.size.cmp(&value.size)).then_with(by_name).is_lt() {
                offset = offset.saturating_add(sized.size);
            }
        }
        Ok(offset)
    }
}

/// A variable or function that a data section describes.
struct Member {
    kind: u32,
    /// The number of its type.
    of: u32,
}

/// The type behind typedefs and qualifiers, and its number; `None` and 0 for `void`.
pub(crate) fn strip<'data>(btf: &Types<'data>, id: u32) -> Result<(u32, Option<Type<'data>>), BtfError> {
    let mut id = id;
    for _ in 0..btf::MAX_DEPTH {
        if id == 0 {
            return Ok((0, None));
        }
        let found = btf.find(id)?;
        if !found.is_transparent() {
            return Ok((id, Some(found)));
        }
        id = found.size;
    }
    Err(BtfError::TypeNumber { id })
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> ObjectFile<'data, PROGRAMS, MAPS> {
    /// The symbols that the object refers to and does not define, in the order of the symbol table. They are
    /// reported, not guessed: whoever loads the object gives values for them, see
    /// [`relocate_with`](Self::relocate_with).
    ///
    /// Type information is looked at here for the first time; an item is an error if it is malformed, and the
    /// last.
    pub fn externs(&self) -> impl Iterator<Item = Result<Extern<'data>, BtfError>> {
        let order = self.container.order;
        let mut symbols = self.container.symbols.iter().enumerate();
        let mut externs = Externs::of(self);
        core::iter::from_fn(move || {
            let (number, _) = symbols.find(|(_, symbol)| is_extern(symbol, order))?;
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let found = externs.find(number);
            if found.is_err() {
                symbols = [].iter().enumerate();
            }
            Some(found)
        })
    }
}

/// About how many lookups the externs of an honest program take, all together.
const LOOKUPS: usize = 8192;
