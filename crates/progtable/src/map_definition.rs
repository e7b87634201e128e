//! Reading the declaration of a map: a struct whose members say by their types what the map is.
//!
//! `__uint(max_entries, 16)` declares the member as `int (*max_entries)[16]`, and `__type(key, u32)` as `u32
//! *key`: numbers are array lengths, types are what a pointer points to. Nothing is ever stored in the
//! variable.

use crate::btf::{Btf, Type, kind};
use crate::error::{BtfError, Label, OpenError};
use crate::kinds::MapKind;
use crate::map::{MapDefinition, Parsed};
use crate::map_problem::MapProblem;
use crate::open::Options;

/// What is wrong with a declaration. Short: the map's name is put in where it leaves the crate.
pub(crate) enum Refusal {
    Btf(BtfError),
    Map(MapProblem),
}

impl Refusal {
    /// As a result, which is made where it goes to.
    #[cold]
    #[inline(never)]
    pub(crate) fn named<T>(&self, map: &str) -> Result<T, OpenError> {
        match *self {
            Self::Btf(error) => Err(OpenError::Btf(error)),
            Self::Map(problem) => Err(OpenError::Map { map: Label::new(map), problem }),
        }
    }
}

impl From<BtfError> for Refusal {
    fn from(error: BtfError) -> Self {
        Self::Btf(error)
    }
}

/// Reads the declaration `definition`, a struct; gives back the number of the inner map's declaration, 0 if there is
/// none.
pub(crate) fn parse(
    btf: &Btf<'_>,
    definition: &Type<'_>,
    options: &Options<'_>,
    parsed: &mut Parsed,
) -> Result<u32, Refusal> {
    Reader { btf, options }.members(definition, parsed, false)
}

/// Reads the declaration of an inner map by its number.
#[inline(never)]
pub(crate) fn parse_inner(btf: &Btf<'_>, id: u32, options: &Options<'_>) -> Result<MapDefinition, Refusal> {
    let mut parsed = Parsed::default();
    Reader { btf, options }.members(&btf.resolve(id)?, &mut parsed, true)?;
    Ok(parsed.definition)
}

struct Reader<'a, 'data> {
    btf: &'a Btf<'data>,
    options: &'a Options<'a>,
}

impl<'data> Reader<'_, 'data> {
    /// Reads all members; gives back the number of the inner map's declaration, 0 if there is none.
    #[inline(never)]
    fn members(&self, definition: &Type<'data>, parsed: &mut Parsed, is_inner: bool) -> Result<u32, Refusal> {
        let mut inner = 0;
        let members = self.btf.triples(definition);
        let count = members.len();
        if count > MAX_FIELDS {
            return Err(Refusal::Map(MapProblem::TooManyFields { found: count }));
        }
        let map = &mut parsed.definition;
        for (position, [name, id, _]) in members.enumerate() {
            let Some(field) = FIELDS.into_iter().find(|field| self.btf.string_is(name, field)) else {
                let field = Label::new(self.btf.string(name).unwrap_or_default());
                return Err(Refusal::Map(MapProblem::UnknownField { field }));
            };
            match field {
                "type" => map.kind = MapKind(self.number(field, id)?),
                "max_entries" => map.max_entries = self.number(field, id)?,
                "map_flags" => map.flags = self.number(field, id)?,
                "numa_node" => parsed.numa_node = self.number(field, id)?,
                "key_size" => map.key_size = self.agree(field, map.key_size, self.number(field, id)?)?,
                "value_size" => {
                    map.value_size = self.agree(field, map.value_size, self.number(field, id)?)?
                }
                "key" => map.key_size = self.agree(field, map.key_size, self.pointee_size(field, id)?)?,
                "value" => {
                    map.value_size = self.agree(field, map.value_size, self.pointee_size(field, id)?)?
                }
                "values" if is_inner => return Err(Refusal::Map(MapProblem::NestedInnerMap)),
                "values" => {
                    if position.saturating_add(1) != count {
                        return Err(Refusal::Map(MapProblem::Values));
                    }
                    map.value_size = self.agree(field, map.value_size, 4)?;
                    inner = self.values(map.kind, id)?;
                }
                "pinning" if is_inner => return Err(Refusal::Map(MapProblem::NestedInnerMap)),
                "pinning" => {
                    parsed.pinned = match self.number(field, id)? {
                        0 => false,
                        1 => true,
                        pinning => return Err(Refusal::Map(MapProblem::Pinning { pinning })),
                    };
                }
                _ => parsed.extra = self.wide_number(field, id)?,
            }
        }
        match map.kind {
            MapKind::UNSPEC => return Err(Refusal::Map(MapProblem::NoType)),
            MapKind::RINGBUF | MapKind::USER_RINGBUF => {
                map.max_entries = ring_size(map.max_entries, self.options.page_size);
            }
            MapKind::PERF_EVENT_ARRAY if map.max_entries == 0 => map.max_entries = self.options.possible_cpus,
            _ => {}
        }
        Ok(inner)
    }

    /// The array length behind `int (*field)[N]`.
    fn number(&self, field: &'static str, id: u32) -> Result<u32, Refusal> {
        let malformed = || Refusal::Map(MapProblem::MalformedField { field });
        let pointer = self.btf.resolve(id)?;
        if pointer.kind() != kind::PTR {
            return Err(malformed());
        }
        let array = self.btf.find(pointer.size)?;
        if array.kind() != kind::ARRAY {
            return Err(malformed());
        }
        let [_, _, count] = self.btf.words(&array)?;
        Ok(count)
    }

    /// A number of up to 64 bits: `__ulong` declares it as the value of an enumerator, because array lengths
    /// are 32 bits wide.
    fn wide_number(&self, field: &'static str, id: u32) -> Result<u64, Refusal> {
        let malformed = || Refusal::Map(MapProblem::MalformedField { field });
        let pointer = self.btf.resolve(id)?;
        if pointer.kind() != kind::PTR {
            return self.enumerator(&pointer).ok_or_else(malformed);
        }
        self.number(field, id).map(u64::from)
    }

    fn enumerator(&self, found: &Type<'data>) -> Option<u64> {
        if found.len() != 1 {
            return None;
        }
        match found.kind() {
            kind::ENUM => {
                self.btf.words(found).ok().map(|[_, value]| i64::from(value.cast_signed()).cast_unsigned())
            }
            kind::ENUM64 => {
                self.btf.words(found).ok().map(|[_, low, high]| u64::from(high) << 32 | u64::from(low))
            }
            _ => None,
        }
    }

    /// Bytes of what `*field` is.
    fn pointee_size(&self, field: &'static str, id: u32) -> Result<u32, Refusal> {
        let pointer = self.btf.find(id)?;
        if pointer.kind() != kind::PTR {
            return Err(Refusal::Map(MapProblem::MalformedField { field }));
        }
        self.btf.size_of(pointer.size)?.ok_or(Refusal::Map(MapProblem::NoSize { field }))
    }

    /// Two members may both give a size; then it has to be the same.
    fn agree(&self, field: &'static str, first: u32, second: u32) -> Result<u32, Refusal> {
        if first != 0 && first != second {
            return Err(Refusal::Map(MapProblem::ConflictingSizes { field, first, second }));
        }
        Ok(second)
    }

    /// `__array(values, T)`: `T *values[]`, where `T` declares the inner map, or is a program's prototype.
    fn values(&self, map: MapKind, id: u32) -> Result<u32, Refusal> {
        let field = "values";
        let malformed = || Refusal::Map(MapProblem::MalformedField { field });
        let holds_maps = matches!(map, MapKind::ARRAY_OF_MAPS | MapKind::HASH_OF_MAPS);
        if !holds_maps && map != MapKind::PROG_ARRAY {
            return Err(Refusal::Map(MapProblem::Values));
        }
        let array = self.btf.find(id)?;
        if array.kind() != kind::ARRAY {
            return Err(malformed());
        }
        let [element, _, 0] = self.btf.words(&array)? else { return Err(malformed()) };
        let pointer = self.btf.resolve(element)?;
        if pointer.kind() != kind::PTR {
            return Err(malformed());
        }
        let target = self.btf.resolve(pointer.size)?;
        match target.kind() {
            kind::STRUCT if holds_maps => Ok(pointer.size),
            kind::FUNC_PROTO if !holds_maps => Ok(0),
            _ => Err(malformed()),
        }
    }
}

/// What the kernel accepts as the size of a ring: a page times a power of two. Anything else is raised to the
/// next such size above it; 0 stays 0, so that a forgotten size is an error, and so does what has no such
/// size above it.
fn ring_size(size: u32, page_size: u32) -> u32 {
    let accepted = |pages: u32| pages.is_power_of_two();
    if size == 0
        || size.checked_rem(page_size) == Some(0) && size.checked_div(page_size).is_some_and(accepted)
    {
        return size;
    }
    let mut candidate = page_size;
    while candidate <= size {
        match candidate.checked_mul(2) {
            Some(next) if next > candidate => candidate = next,
            _ => return size,
        }
    }
    candidate
}

/// Members that a declaration can have.
const FIELDS: [&str; 11] = [
    "type",
    "max_entries",
    "map_flags",
    "numa_node",
    "key_size",
    "key",
    "value_size",
    "value",
    "values",
    "pinning",
    "map_extra",
];
/// No declaration has more members than names exist; some leeway is left for repetition.
const MAX_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::ring_size;

    #[test]
    fn rings_are_pages_times_a_power_of_two() {
        for (size, expected) in [
            (0, 0),
            (1, 4096),
            (1000, 4096),
            (4096, 4096),
            (4097, 8192),
            (3 * 4096, 4 * 4096),
            (1 << 24, 1 << 24),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(ring_size(size, 4096), expected, "{size}");
        }
        assert_eq!(ring_size(4096, 65536), 65536);
        assert_eq!(ring_size(5, 0), 5, "no page size: nothing to round to");
    }
}
