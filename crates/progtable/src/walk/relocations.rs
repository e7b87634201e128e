//! The relocations of a section, beside its instructions.

use core::cmp::Ordering;

use super::narrow;
use crate::elf::{self, Relocation, section_type};
use crate::object_file::ObjectFile;
use crate::relocate_error::RelocateErrorKind as Kind;

/// The relocations of one section.
#[derive(Clone, Copy)]
pub(super) struct Relocations<'data> {
    entries: &'data [Relocation],
    /// Whether offsets never fall: then they are walked beside the instructions.
    is_sorted: bool,
    order: Option<elf::Order>,
}

impl<'data> Relocations<'data> {
    pub(super) const NONE: Self = Self { entries: &[], is_sorted: true, order: None };

    /// Takes those of the section `place`.
    pub(super) fn read<const PROGRAMS: usize, const MAPS: usize>(
        &mut self,
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
        place: u16,
    ) -> Result<(), Kind> {
        let container = &file.container;
        let order = container.order;
        let mut lists = container.sections.iter().filter(|section| {
            section.kind.get(order) == section_type::REL && section.info.get(order) == u32::from(place)
        });
        let Some(list) = lists.next() else { return Ok(()) };
        if lists.next().is_some() {
            return Err(Kind::TwoRelocationSections);
        }
        let entries: &[Relocation] = elf::records(container.contents(list).ok_or(Kind::RelocationsCutOff)?);
        let is_sorted = entries.is_sorted_by_key(|entry| entry.offset.get(order));
        if !is_sorted && entries.len() > MAX_UNSORTED {
            return Err(Kind::UnsortedRelocations { count: entries.len(), limit: MAX_UNSORTED });
        }
        *self = Self { entries, is_sorted, order: Some(order) };
        Ok(())
    }

    /// Where the relocations from the section's instruction `first` on begin.
    pub(super) fn start(&self, first: u64) -> u32 {
        let Some(order) = self.order.filter(|_| self.is_sorted) else { return 0 };
        let first = first.saturating_mul(8);
        narrow(self.entries.partition_point(|entry| entry.offset.get(order) < first))
    }

    /// The relocation of the section's instruction `instruction`, which is not before the one asked for last.
    pub(super) fn at(
        &self,
        cursor: &mut u32,
        instruction: u64,
    ) -> Result<Option<&'data Relocation>, Misaligned> {
        let Some(order) = self.order else { return Ok(None) };
        let wanted = instruction.saturating_mul(8);
        if !self.is_sorted {
            let belongs = |entry: &&Relocation| entry.offset.get(order) & !7 == wanted;
            let found = self.entries.iter().find(belongs);
            return found.map(|entry| aligned(entry, order)).transpose();
        }
        while let Some(entry) = self.entries.get(elf::index(*cursor)) {
            match (entry.offset.get(order) & !7).cmp(&wanted) {
                Ordering::Less => *cursor = cursor.saturating_add(1),
                Ordering::Equal => return aligned(entry, order).map(Some),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

/// A relocation at that offset, where no instruction starts.
pub(super) struct Misaligned(pub(super) u64);

fn aligned(entry: &Relocation, order: elf::Order) -> Result<&Relocation, Misaligned> {
    match entry.offset.get(order) {
        offset if offset & 7 == 0 => Ok(entry),
        offset => Err(Misaligned(offset)),
    }
}

/// Longest list of relocations that is searched for every instruction because it is out of order.
const MAX_UNSORTED: usize = 256;
