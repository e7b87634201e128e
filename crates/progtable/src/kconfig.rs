//! Values of the kernel's configuration, which an object reads from a map of them.

use core::error::Error;
use core::fmt;

use crate::btf::kind;
use crate::error::{BtfError, Label};
use crate::externs::{Extern, Types, strip};
use crate::object_file::ObjectFile;

/// Type and place of a configuration value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KconfigVariable {
    /// What it can hold.
    pub kind: KconfigKind,
    /// Bytes it takes.
    pub size: u32,
    /// Where it stands in the value of the map `.kconfig`, in bytes.
    pub offset: u32,
    /// Whether a number is signed.
    pub is_signed: bool,
}

/// What a configuration value can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KconfigKind {
    /// `bool`: `y` or `n`, or a number of 0 or 1.
    Bool,
    /// `char` and other types of one byte: a small number, or the letter `y`, `n` or `m` itself.
    Char,
    /// An integer of 2, 4 or 8 bytes.
    Int,
    /// `char[]`: a text with a zero byte at its end.
    Text,
    /// `enum libbpf_tristate`: `n` (0), `y` (1) or `m` (2).
    Tristate,
}

/// A value of the configuration, as `/proc/config.gz` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KconfigValue<'a> {
    /// `y`.
    Yes,
    /// `n`, and what is not set.
    No,
    /// `m`.
    Module,
    /// A number; a negative one as its two's complement.
    Number(u64),
    /// A text, without quotation marks.
    Text(&'a str),
}

impl<'a> KconfigValue<'a> {
    /// What stands behind the `=` of a line of the configuration: `y`, `n`, `m`, a quoted text, or a number in
    /// decimal or `0x` hexadecimal. `None` for anything else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let number = |digits: &str| match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        };
        match text {
            "y" => Some(Self::Yes),
            "n" => Some(Self::No),
            "m" => Some(Self::Module),
            _ => match (text.strip_prefix('"'), text.strip_prefix('-')) {
                (Some(text), _) => text.strip_suffix('"').map(Self::Text),
                (None, Some(digits)) => number(digits).map(|number| Self::Number(number.wrapping_neg())),
                (None, None) => number(text).map(Self::Number),
            },
        }
    }
}

impl KconfigVariable {
    /// The type of a configuration value with the number `id`; `None` for a type that none can have.
    pub(crate) fn of(btf: &Types<'_>, id: u32) -> Result<Option<Self>, BtfError> {
        let (_, Some(found)) = strip(btf, id)? else { return Ok(None) };
        let scalar = |kind, is_signed| Self { kind, size: found.size, offset: 0, is_signed };
        let is_tristate = || btf.string_is(found.name, "libbpf_tristate");
        Ok(match found.kind() {
            kind::INT => {
                let [encoding] = btf.words(&found)?;
                let encoding = encoding >> 24;
                let is_signed = encoding & 1 != 0;
                match found.size {
                    1 if encoding & 4 != 0 => Some(scalar(KconfigKind::Bool, false)),
                    1 => Some(scalar(KconfigKind::Char, is_signed)),
                    2 | 4 | 8 if encoding & 4 == 0 => Some(scalar(KconfigKind::Int, is_signed)),
                    _ => None,
                }
            }
            kind::ENUM if found.size == 4 && is_tristate() => Some(scalar(KconfigKind::Tristate, false)),
            kind::ENUM64 if is_tristate() => Some(scalar(KconfigKind::Tristate, false)),
            kind::ARRAY => {
                let [element, _, count] = btf.words(&found)?;
                let (_, element) = strip(btf, element)?;
                let is_char = match element {
                    Some(element) if element.kind() == kind::INT && element.size == 1 => {
                        let [encoding] = btf.words(&element)?;
                        encoding >> 24 & 4 == 0
                    }
                    _ => false,
                };
                let text = Self { kind: KconfigKind::Text, size: count, offset: 0, is_signed: false };
                (is_char && count != 0).then_some(text)
            }
            _ => None,
        })
    }

    pub(crate) fn alignment(&self) -> u32 {
        match self.kind {
            KconfigKind::Text => 1,
            _ => self.size.min(8),
        }
    }

    /// Puts a value where it belongs in the map's value. As libbpf does, a text that is too long is cut off.
    ///
    /// # Errors
    ///
    /// [`KconfigProblem`] says why the value does not fit.
    pub fn write(&self, value: KconfigValue<'_>, map_value: &mut [u8]) -> Result<(), KconfigProblem> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let room = usize::try_from(self.offset)
            .ok()
            .and_then(|offset| map_value.get_mut(offset..)?.get_mut(..size))
            .ok_or(KconfigProblem::MapTooShort)?;
        let number = match (self.kind, value) {
            (KconfigKind::Text, KconfigValue::Text(text)) => {
                let kept = text.len().min(size.saturating_sub(1));
                let bytes = text.bytes().take(kept).chain(core::iter::repeat(0));
                room.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                return Ok(());
            }
            (KconfigKind::Bool | KconfigKind::Tristate, KconfigValue::No) => 0,
            (KconfigKind::Bool | KconfigKind::Tristate, KconfigValue::Yes) => 1,
            (KconfigKind::Tristate, KconfigValue::Module) => 2,
            (KconfigKind::Char, KconfigValue::No) => u64::from(b'n'),
            (KconfigKind::Char, KconfigValue::Yes) => u64::from(b'y'),
            (KconfigKind::Char, KconfigValue::Module) => u64::from(b'm'),
            (KconfigKind::Bool, KconfigValue::Number(number)) if number > 1 => {
                return Err(KconfigProblem::WrongType);
            }
            (KconfigKind::Bool, KconfigValue::Number(number)) => number,
            (KconfigKind::Int | KconfigKind::Char, KconfigValue::Number(number)) => {
                if !self.holds(number) {
                    return Err(KconfigProblem::OutOfRange { number, size: self.size });
                }
                number
            }
            _ => return Err(KconfigProblem::WrongType),
        };
        let bytes = number.to_le_bytes();
        let low = bytes.into_iter().take(size);
        if cfg!(target_endian = "big") {
            room.iter_mut().rev().zip(low).for_each(|(to, from)| *to = from);
        } else {
            room.iter_mut().zip(low).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }

    /// Whether nothing of the number is lost.
    fn holds(&self, number: u64) -> bool {
        let bits = self.size.saturating_mul(8);
        let Some(over) = 1_u64.checked_shl(bits) else { return true };
        match self.is_signed {
            true => number.wrapping_add(over >> 1) < over,
            false => number < over,
        }
    }
}

/// Why a value does not fit its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KconfigProblem {
    /// The map's value ends before the variable does.
    MapTooShort,
    /// There is no value, and the object does not do without (the variable is not `__weak`).
    Missing,
    /// The number needs more bytes than the variable has.
    OutOfRange {
        /// The number.
        number: u64,
        /// Bytes of the variable.
        size: u32,
    },
    /// A value of another type than the variable's.
    WrongType,
}

impl fmt::Display for KconfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapTooShort => f.write_str("the map's value ends before the variable does"),
            Self::Missing => f.write_str("no value is known, and the object does not do without"),
            Self::OutOfRange { number, size } => write!(f, "{number:#x} does not fit {size} bytes"),
            Self::WrongType => f.write_str("the value is of another type than the variable"),
        }
    }
}

/// Why the map of configuration values could not be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KconfigError {
    /// Type information is malformed.
    Btf(BtfError),
    /// A value could not be stored.
    Value {
        /// The variable's name.
        name: Label,
        /// What is wrong.
        problem: KconfigProblem,
    },
}

impl fmt::Display for KconfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf(error) => write!(f, "type information (.BTF): {error}"),
            Self::Value { name, problem } => write!(f, "configuration value '{name}': {problem}"),
        }
    }
}

impl Error for KconfigError {}

impl<'data, const PROGRAMS: usize, const MAPS: usize> ObjectFile<'data, PROGRAMS, MAPS> {
    /// Fills the value of the map `.kconfig`: asks for each configuration value that the object reads, and
    /// puts it where the programs look for it. `map_value` has at least the map's
    /// [`value_size`](crate::Map::value_size) bytes.
    ///
    /// A value that is not known (`None`) is zero if the object does without it, as with libbpf.
    ///
    /// # Errors
    ///
    /// [`KconfigError`] names the value that is missing or does not fit.
    pub fn fill_kconfig<'a>(
        &self,
        map_value: &mut [u8],
        mut ask: impl FnMut(&Extern<'data>) -> Option<KconfigValue<'a>>,
    ) -> Result<(), KconfigError> {
        map_value.fill(0);
        for found in self.externs() {
            let found = found.map_err(KconfigError::Btf)?;
            let Some(variable) = found.kconfig() else { continue };
            let error = |problem| KconfigError::Value { name: Label::new(found.name()), problem };
            match ask(&found) {
                Some(value) => variable.write(value, map_value).map_err(error)?,
                None if found.is_weak() => {}
                None => return Err(error(KconfigProblem::Missing)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{KconfigKind, KconfigProblem, KconfigValue, KconfigVariable};

    fn variable(kind: KconfigKind, size: u32, is_signed: bool) -> KconfigVariable {
        KconfigVariable { kind, size, offset: 0, is_signed }
    }

    #[test]
    fn values_are_written_as_libbpf_does() {
        use KconfigKind::{Bool, Char, Int, Text, Tristate};
        use KconfigValue::{Module, No, Number, Yes};
        let write = |kind, size, is_signed, value| {
            let mut bytes = [0xff_u8; 8];
            let size_of = usize::try_from(size).unwrap();
            variable(kind, size, is_signed).write(value, &mut bytes[..size_of]).map(|()| {
                bytes[size_of..].fill(0);
                if cfg!(target_endian = "big") && kind != Text {
                    bytes[..size_of].reverse();
                }
                u64::from_le_bytes(bytes)
            })
        };
        let wrong = Err(KconfigProblem::WrongType);
        assert_eq!(write(Bool, 1, false, Yes), Ok(1));
        assert_eq!(write(Bool, 1, false, Module), wrong);
        assert_eq!(write(Bool, 1, false, Number(2)), wrong);
        assert_eq!(write(Tristate, 4, false, Module), Ok(2));
        assert_eq!(write(Tristate, 4, false, Number(1)), wrong);
        assert_eq!(write(Char, 1, false, No), Ok(u64::from(b'n')));
        assert_eq!(write(Int, 4, false, Yes), wrong);
        assert_eq!(write(Int, 4, false, Number(0xffff_ffff)), Ok(0xffff_ffff));
        let range = |number, size| Err(KconfigProblem::OutOfRange { number, size });
        assert_eq!(write(Int, 4, false, Number(1 << 32)), range(1 << 32, 4));
        assert_eq!(write(Int, 4, true, Number(0x8000_0000)), range(0x8000_0000, 4));
        assert_eq!(write(Int, 2, true, Number((-0x8000_i64).cast_unsigned())), Ok(0x8000));
        assert_eq!(write(Int, 8, true, Number(u64::MAX)), Ok(u64::MAX));
        assert_eq!(write(Text, 4, false, KconfigValue::Text("abcdef")), Ok(0x0063_6261));
        assert_eq!(write(Text, 4, false, Number(1)), wrong);
        let mut short = [0; 3];
        assert_eq!(variable(Int, 4, false).write(Number(1), &mut short), Err(KconfigProblem::MapTooShort));
    }

    #[test]
    fn lines_of_the_configuration_are_read() {
        for (text, value) in [
            ("y", Some(KconfigValue::Yes)),
            ("m", Some(KconfigValue::Module)),
            ("n", Some(KconfigValue::No)),
            ("250", Some(KconfigValue::Number(250))),
            ("0x1000", Some(KconfigValue::Number(4096))),
            ("-1", Some(KconfigValue::Number(u64::MAX))),
            ("\"(none)\"", Some(KconfigValue::Text("(none)"))),
            ("\"open", None),
            ("yes", None),
            ("", None),
        ] {
            assert_eq!(KconfigValue::parse(text), value, "{text}");
        }
    }
}
