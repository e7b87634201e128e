//! Bytes as people and programs read them.

use std::fmt;

use crate::console::FAINT;

/// Lower-case hexadecimal without gaps.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Rows of hexadecimal and printable characters, each after its `label` or blanks of the same width.
pub(crate) struct Dump<'a> {
    pub(crate) label: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// Three groups of eight: a row stays within 100 columns, and records of 24 bytes, which are common, take one.
const ROW: usize = 24;

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes.is_empty() {
            return writeln!(f, "{}", self.label.trim_end());
        }
        for (index, row) in self.bytes.chunks(ROW).enumerate() {
            let label = if index == 0 { self.label } else { "" };
            write!(f, "{label:width$}", width = self.label.chars().count())?;
            for group in row.chunks(8) {
                write!(f, "  {}", hex(group))?;
            }
            // Fill up, so that the printable characters stand in one column.
            let groups = row.len().div_ceil(8);
            let missing = ROW.saturating_sub(row.len()).saturating_mul(2);
            let gaps = ROW.div_ceil(8).saturating_sub(groups).saturating_mul(2);
            let blank = missing.saturating_add(gaps);
            let text: String = row.iter().map(|byte| printable(*byte)).collect();
            writeln!(f, "{:blank$}  {FAINT}|{text}|{FAINT:#}", "")?;
        }
        Ok(())
    }
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('?')
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
}

#[cfg(test)]
mod tests {
    use super::{Dump, hex};

    #[test]
    fn hex_has_two_digits_for_each_byte() {
        assert_eq!(hex(&[0, 0x0f, 0xa5, 255]), "000fa5ff");
    }

    #[test]
    fn rows_line_up() {
        let bytes: Vec<u8> = (40..70).collect();
        let dump = Dump { label: "ring  30", bytes: &bytes }.to_string();
        let plain = anstream::adapter::strip_str(&dump).to_string();
        assert_eq!(
            plain,
            "ring  30  28292a2b2c2d2e2f  3031323334353637  38393a3b3c3d3e3f  |()*+,-./0123456789:;<=>?|\n          \
             404142434445                                          |@ABCDE|\n"
        );
    }

    #[test]
    fn an_empty_record_is_a_line() {
        assert_eq!(Dump { label: "ring   0", bytes: &[] }.to_string(), "ring   0\n");
    }
}
