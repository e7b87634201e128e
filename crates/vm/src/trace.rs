//! The format of `bpf_trace_printk`.
//!
//! `%d %i %u %x %X %o %c %p %s %%`, each with `l`, `ll`, `h` or `hh` and with a width, zero-padded or not; at most three values.

/// A message being put together. What is longer than the buffer is cut.
pub(crate) struct Message {
    bytes: [u8; 512],
    len: usize,
}

impl Message {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Formats `values`; `read` reads a byte of the program's memory. `None` for a format it does not know.
    pub(crate) fn format(
        &mut self,
        format: &[u8],
        values: [u64; 3],
        read: impl Fn(u64) -> Option<u8>,
    ) -> Option<()> {
        let mut values = values.into_iter();
        let mut text = format.iter().copied().take_while(|byte| *byte != 0);
        while let Some(byte) = text.next() {
            if byte != b'%' {
                self.push(byte);
                continue;
            }
            let mut directive = text.next()?;
            let zero = directive == b'0';
            let mut width = 0usize;
            while directive.is_ascii_digit() {
                width =
                    width.wrapping_mul(10).wrapping_add(usize::from(directive.wrapping_sub(b'0'))).min(512);
                directive = text.next()?;
            }
            let mut bits = 32u32;
            while matches!(directive, b'l' | b'h') {
                bits = match (directive, bits) {
                    (b'l', _) => 64,
                    (_, 16) => 8,
                    _ => 16,
                };
                directive = text.next()?;
            }
            if directive == b'%' {
                self.push(b'%');
                continue;
            }
            let value = values.next()?;
            let unused = 64u32.wrapping_sub(bits);
            let unsigned = value.wrapping_shl(unused).wrapping_shr(unused);
            match directive {
                b'd' | b'i' => {
                    let signed = value.wrapping_shl(unused).cast_signed().wrapping_shr(unused);
                    self.number(signed.unsigned_abs(), 10, signed < 0, width, zero, false);
                }
                b'u' => self.number(unsigned, 10, false, width, zero, false),
                b'x' => self.number(unsigned, 16, false, width, zero, false),
                b'X' => self.number(unsigned, 16, false, width, zero, true),
                b'o' => self.number(unsigned, 8, false, width, zero, false),
                b'p' => self.number(value, 16, false, 16, true, false),
                b'c' => self.push(value.to_le_bytes()[0]),
                b's' => {
                    for distance in 0..512 {
                        match read(value.wrapping_add(distance)) {
                            None | Some(0) => break,
                            Some(byte) => self.push(byte),
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len = self.len.wrapping_add(1);
        }
    }

    fn number(&mut self, value: u64, base: u64, negative: bool, width: usize, zero: bool, upper: bool) {
        // Octal takes the most digits: 22.
        let mut digits = [0u8; 22];
        let mut left = value;
        let mut count = 0usize;
        for place in digits.iter_mut().rev() {
            let digit = left.checked_rem(base).unwrap_or(0).to_le_bytes()[0];
            *place = match digit {
                0..=9 => digit.wrapping_add(b'0'),
                _ if upper => digit.wrapping_add(b'A' - 10),
                _ => digit.wrapping_add(b'a' - 10),
            };
            count = count.wrapping_add(1);
            left = left.checked_div(base).unwrap_or(0);
            if left == 0 {
                break;
            }
        }
        let padding = width.saturating_sub(count).saturating_sub(usize::from(negative));
        if negative && zero {
            self.push(b'-');
        }
        for _ in 0..padding {
            self.push(if zero { b'0' } else { b' ' });
        }
        if negative && !zero {
            self.push(b'-');
        }
        for digit in digits.iter().skip(digits.len().saturating_sub(count)) {
            self.push(*digit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(format: &str, values: [u64; 3]) -> Option<std::string::String> {
        let mut message = Message::new();
        message.format(format.as_bytes(), values, |address| {
            b"abc\0".get(usize::try_from(address).ok()?).copied()
        })?;
        Some(std::string::String::from_utf8_lossy(message.as_bytes()).into_owned())
    }

    #[test]
    fn formats_as_c_does() {
        assert_eq!(format("%d|%u|%x", [u64::MAX, 0xffff_ffff_0000_0007, 0xabc]).unwrap(), "-1|7|abc");
        assert_eq!(
            format("%ld|%llu|%lX", [u64::MAX, u64::MAX, 0xabc]).unwrap(),
            "-1|18446744073709551615|ABC"
        );
        assert_eq!(format("%5d|%05d|%3u", [7, (-7i64).cast_unsigned(), 1234]).unwrap(), "    7|-0007|1234");
        assert_eq!(format("%s|%c|%%|%p", [0, 65, 0x10]).unwrap(), "abc|A|%|0000000000000010");
        assert_eq!(format("%lo", [u64::MAX, 0, 0]).unwrap(), "1777777777777777777777");
        assert_eq!(format("a\0b", [0; 3]).unwrap(), "a");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(format("%", [0; 3]), None);
        assert_eq!(format("%f", [0; 3]), None);
        assert_eq!(format("%d%d%d%d", [0; 3]), None);
        assert_eq!(format("%99999999999999999999d", [1, 0, 0]).unwrap().len(), 512);
    }
}
