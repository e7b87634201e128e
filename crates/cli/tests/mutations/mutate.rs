//! Damage of the kinds that happen to files and of the kinds that attackers do.

/// A sequence that depends on seed and iteration alone (SplitMix64: a counter, mixed).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, iteration: u64) -> Self {
        let mut random = Self(seed ^ iteration.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A damaged copy. Most damage is small: a file with many wrong bytes is refused at its header and tests nothing else.
pub(crate) fn mutate(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = place(&bytes, random);
        match random.below(14) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let copy = bytes[at..(at + random.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
            3..=5 => bytes[at] ^= 1 << random.below(8),
            6 | 7 => bytes[at] = random.next() as u8,
            // Lengths, offsets and counts at and beyond their limits.
            width @ 8..=10 => {
                let width = [2, 4, 8][width - 8];
                let at = at & !(width - 1);
                let value = interesting(random).to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            11 | 12 => {
                // What may well be the size of a map, into one that may well be refused.
                let size = [4_u32, 8, 16, 36, 4096, 65536][random.below(6)].to_le_bytes();
                let starts = (0..bytes.len() / 4).map(|word| word * 4);
                let found: Vec<usize> = starts.filter(|at| bytes[*at..].starts_with(&size)).collect();
                if !found.is_empty() {
                    let at = found[random.below(found.len())];
                    let size = 1_u32 << random.below(32);
                    bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
                }
            }
            _ => {
                let from = random.below(bytes.len());
                let len = random.below(32).min(bytes.len() - from).min(bytes.len() - at);
                bytes.copy_within(from..from + len, at);
            }
        }
    }
    bytes
}

/// Anywhere, but every other time where the structure is: file header, section headers at the end, symbol and type tables.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let len = bytes.len();
    match random.below(6) {
        0 => random.below(len.min(64)),
        1 | 2 => len - 1 - random.below(len.min(22 * 64)),
        _ => random.below(len),
    }
}

fn interesting(random: &mut Random) -> u64 {
    const VALUES: [u64; 16] = [
        0,
        1,
        7,
        8,
        64,
        0xff,
        0x7fff,
        0xffff,
        0xfff1,
        0x1_0000,
        0x4000_0000,
        0x7fff_ffff,
        0xffff_ffff,
        0x7fff_ffff_ffff_ffff,
        0xffff_ffff_ffff_fff8,
        0xffff_ffff_ffff_ffff,
    ];
    VALUES[random.below(VALUES.len())].wrapping_sub(random.below(3) as u64)
}
