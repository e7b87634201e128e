//! What an object refers to and does not define: kernel symbols, kernel functions, configuration values.
//!
//! A symbol of section 0 says only a name; what it stands for is in the object's type information, in the
//! data sections `.kconfig` and `.ksyms`, which exist there alone.

use core::fmt;

use crate::btf::{self, Btf, Type, kind};
use crate::elf::{self, Container, binding};
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

/// What the type information says of externs.
pub(crate) struct Externs<'data> {
    container: Container<'data>,
    btf: Option<Described<'data>>,
    /// The last few that were looked up: programs refer to the same ones again and again.
    recent: [Option<Extern<'data>>; RECENT],
    oldest: usize,
}

struct Described<'data> {
    btf: Btf<'data>,
    kconfig: Option<Type<'data>>,
    ksyms: Option<Type<'data>>,
}

impl<'data> Externs<'data> {
    pub(crate) fn of<const PROGRAMS: usize, const MAPS: usize>(
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
    ) -> Result<Self, BtfError> {
        let mut externs = Self { container: file.container, btf: None, recent: [None; RECENT], oldest: 0 };
        if let Some(bytes) = file.found.btf {
            let btf = Btf::parse(bytes, file.container.order, LOOKUPS)?;
            let named = |name| btf.datasecs().find(|datasec| btf.string_is(datasec.name, name));
            let (kconfig, ksyms) = (named(".kconfig"), named(".ksyms"));
            externs.btf = Some(Described { btf, kconfig, ksyms });
        }
        Ok(externs)
    }

    /// The symbol with that number, which is an extern.
    pub(crate) fn find(&mut self, symbol: u32) -> Result<Extern<'data>, BtfError> {
        if let Some(known) = self.recent.iter().flatten().find(|known| known.symbol == symbol) {
            return Ok(*known);
        }
        let found = self.look_up(symbol)?;
        if let Some(slot) = self.recent.get_mut(self.oldest) {
            *slot = Some(found);
        }
        self.oldest = self.oldest.wrapping_add(1).checked_rem(RECENT).unwrap_or(0);
        Ok(found)
    }

    fn look_up(&self, symbol: u32) -> Result<Extern<'data>, BtfError> {
        let entry = self.container.symbols.get(elf::index(symbol));
        let mut found = Extern {
            name: entry.and_then(|entry| self.container.symbol_name(entry)).unwrap_or_default(),
            symbol,
            is_weak: entry.is_some_and(|entry| entry.binding() == binding::WEAK),
            kind: ExternKind::Undescribed,
            type_id: 0,
            kconfig: None,
        };
        let Some(described) = self.btf.as_ref().filter(|_| !found.name.is_empty()) else { return Ok(found) };
        let btf = &described.btf;
        if let Some(variable) = described.named(described.kconfig, found.name)? {
            let (type_id, _) = strip(btf, variable.size)?;
            if let Some(mut value) = KconfigVariable::of(btf, variable.size)? {
                value.offset = described.offset(found.name, value)?;
                found.kind = ExternKind::Kconfig;
                found.type_id = type_id;
                found.kconfig = Some(value);
            }
        } else if let Some(described) = described.named(described.ksyms, found.name)? {
            let (type_id, _) = strip(btf, described.size)?;
            found.type_id = type_id;
            found.kind = match described.kind() {
                kind::FUNC => ExternKind::Function,
                _ if type_id == 0 => ExternKind::Address,
                _ => ExternKind::Variable,
            };
        }
        Ok(found)
    }

    /// The place of a kernel symbol among all externs, in libbpf's order: configuration values, then the
    /// others by name.
    pub(crate) fn rank(&self, symbol: &Extern<'data>) -> Result<u32, BtfError> {
        let Some(described) = &self.btf else { return Ok(0) };
        let btf = &described.btf;
        let mut before = described.kconfig.map_or(0, |datasec| btf.triples(&datasec).len());
        for [id, _, _] in described.ksyms.iter().flat_map(|datasec| btf.triples(datasec)) {
            let other = btf.string(btf.find(id)?.name).unwrap_or_default();
            before = before.saturating_add(usize::from(other < symbol.name));
        }
        Ok(u32::try_from(before).unwrap_or(u32::MAX))
    }
}

impl<'data> Described<'data> {
    /// The variable or function of that name in a data section.
    fn named(&self, datasec: Option<Type<'data>>, name: &str) -> Result<Option<Type<'data>>, BtfError> {
        for [id, _, _] in datasec.iter().flat_map(|datasec| self.btf.triples(datasec)) {
            let found = self.btf.find(id)?;
            if self.btf.string_is(found.name, name) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where a configuration value stands in its map: libbpf sorts them, the most aligned first, the smaller
    /// first among those, then by name, and so needs no padding.
    fn offset(&self, name: &str, value: KconfigVariable) -> Result<u32, BtfError> {
        let btf = &self.btf;
        let mut offset = 0_u32;
        for [id, _, _] in self.kconfig.iter().flat_map(|datasec| btf.triples(datasec)) {
            let other = btf.find(id)?;
            let Some(sized) = KconfigVariable::of(btf, other.size)? else { continue };
            let by_name = || btf.string(other.name).unwrap_or_default().cmp(name);
            let order = value.alignment().cmp(&sized.alignment());
            if order.then(sized.size.cmp(&value.size)).then_with(by_name).is_lt() {
                offset = offset.saturating_add(sized.size);
            }
        }
        Ok(offset)
    }
}

/// The type behind typedefs and qualifiers, and its number; `None` and 0 for `void`.
pub(crate) fn strip<'data>(btf: &Btf<'data>, id: u32) -> Result<(u32, Option<Type<'data>>), BtfError> {
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
        let mut externs = None;
        core::iter::from_fn(move || {
            let (number, _) = symbols.find(|(_, symbol)| is_extern(symbol, order))?;
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let found = match &mut externs {
                Some(externs) => Externs::find(externs, number),
                None => Externs::of(self).and_then(|new| externs.insert(new).find(number)),
            };
            if found.is_err() {
                symbols = [].iter().enumerate();
            }
            Some(found)
        })
    }
}

const RECENT: usize = 4;
/// About how many lookups the externs of an honest program take, all together.
const LOOKUPS: usize = 8192;
