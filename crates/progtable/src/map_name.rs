//! How libbpf names the maps that stand for sections.

/// The name of an internal map: at most 15 bytes of ASCII.
#[derive(Clone, Copy)]
pub(crate) struct ComposedName {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl ComposedName {
    const CAPACITY: usize = 15;

    /// libbpf's rule (`internal_map_name`): room is kept for at least 7 bytes of the section's name even
    /// where it is shorter, and a section's name with a second dot stands alone.
    pub(crate) fn new(object_name: &str, section_name: &str) -> Self {
        let suffix = section_name.len().clamp(7, Self::CAPACITY);
        let is_custom = section_name.bytes().skip(1).any(|byte| byte == b'.');
        let prefix = if is_custom { 0 } else { Self::CAPACITY.saturating_sub(suffix) };
        let mut name = Self { bytes: [0; Self::CAPACITY], len: 0 };
        let composed = object_name.bytes().take(prefix).chain(section_name.bytes().take(suffix));
        for (to, from) in name.bytes.iter_mut().zip(composed) {
            // The kernel takes no other characters.
            *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
            name.len = name.len.saturating_add(1);
        }
        name
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// The object's name as libbpf takes it from a file name: without directories, up to the first dot, at most
/// 15 bytes.
pub(crate) fn object_name(file_name: &str) -> &str {
    let start = file_name.bytes().rposition(|byte| byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    let base = file_name.get(start..).unwrap_or_default();
    let mut len = base.bytes().take(ComposedName::CAPACITY).take_while(|&byte| byte != b'.').count();
    while !base.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    base.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{ComposedName, object_name};

    #[test]
    fn names_are_composed_as_libbpf_does() {
        for (object, section, expected) in [
            ("t", ".bss", "t.bss"),
            ("my_object_name", ".rodata", "my_objec.rodata"),
            ("my_object_name", ".bss", "my_objec.bss"),
            ("my_object_name", ".kconfig", "my_obje.kconfig"),
            ("my-object", ".data", "my_objec.data"),
            ("", ".data", ".data"),
            ("my_object_name", ".bss.custom", ".bss.custom"),
            ("my_object_name", ".bss.with_a_long_name", ".bss.with_a_lon"),
        ] {
            assert_eq!(ComposedName::new(object, section).as_str(), expected);
        }
    }

    #[test]
    fn an_object_is_named_after_its_file() {
        for (file, expected) in [
            ("", ""),
            ("/a/b.c/name.bpf.o", "name"),
            ("name", "name"),
            (".hidden.o", ""),
            ("fifteen_bytes_and_more.o", "fifteen_bytes_a"),
            ("fourteen_bytes\u{e4}.o", "fourteen_bytes"),
        ] {
            assert_eq!(object_name(file), expected);
        }
    }
}
