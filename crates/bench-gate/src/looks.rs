//! Boundaries of the sign test, whose risks are exact: `tests/error_rates.rs` computes them by dynamic programming.
//!
//! Where there is nothing to find, each pair is a win with probability one half at most, whatever the noise is, because a coin decided which side went first. The
//! boundary at the i-th of the 25 looks is the smallest number of wins with which the probability of having crossed any boundary so far is at most i/25 of the risk.

use crate::policy::{Risk, Rule};

/// A number of pairs, and the wins that decide there.
pub(crate) struct Look {
    pub(crate) pairs: u16,
    /// For each [`Risk`].
    wins: [u16; 3],
}

/// More wins than pairs.
const NEVER: u16 = u16::MAX;

pub(crate) const LOOKS: [Look; 25] = [
    Look { pairs: 16, wins: [15, 16, NEVER] },
    Look { pairs: 20, wins: [18, 19, 20] },
    Look { pairs: 24, wins: [20, 22, 23] },
    Look { pairs: 28, wins: [23, 24, 25] },
    Look { pairs: 32, wins: [25, 27, 28] },
    Look { pairs: 40, wins: [30, 32, 34] },
    Look { pairs: 48, wins: [35, 37, 39] },
    Look { pairs: 56, wins: [40, 43, 45] },
    Look { pairs: 64, wins: [45, 47, 50] },
    Look { pairs: 80, wins: [54, 57, 60] },
    Look { pairs: 96, wins: [64, 67, 69] },
    Look { pairs: 112, wins: [73, 77, 79] },
    Look { pairs: 128, wins: [82, 86, 89] },
    Look { pairs: 160, wins: [100, 104, 108] },
    Look { pairs: 192, wins: [118, 122, 126] },
    Look { pairs: 224, wins: [135, 141, 145] },
    Look { pairs: 256, wins: [153, 158, 163] },
    Look { pairs: 320, wins: [188, 195, 199] },
    Look { pairs: 384, wins: [223, 229, 235] },
    Look { pairs: 448, wins: [257, 265, 270] },
    Look { pairs: 512, wins: [291, 299, 305] },
    Look { pairs: 640, wins: [360, 368, 376] },
    Look { pairs: 768, wins: [427, 437, 445] },
    Look { pairs: 896, wins: [495, 505, 513] },
    Look { pairs: 1024, wins: [562, 572, 582] },
];

impl Look {
    const fn wins(&self, risk: Risk) -> u16 {
        let [e2, e3, e4] = self.wins;
        match risk {
            Risk::E2 => e2,
            Risk::E3 => e3,
            Risk::E4 => e4,
        }
    }
}

/// The boundary that follows the `index`-th look: pairs, and wins at each of two risks. None follows the last.
#[expect(clippy::indexing_slicing, reason = "constant functions have no `get`; the index is compared first")]
pub(crate) const fn look(index: u8, alarm: Risk, pass: Risk) -> (u16, u16, u16) {
    if (index as usize) < LOOKS.len() {
        let look = &LOOKS[index as usize];
        (look.pairs, look.wins(alarm), look.wins(pass))
    } else {
        (NEVER, NEVER, NEVER)
    }
}

/// The wins that decide after `pairs` pairs, by whichever rule. For looks between two of them the boundary of the next: who has that many now has them there too.
pub(crate) const fn deciding_wins(rule: Rule, risk: Risk, pairs: u16) -> u16 {
    match rule {
        Rule::Looks => {
            let mut index: u8 = 0;
            loop {
                let (at, wins, _) = look(index, risk, risk);
                if at >= pairs {
                    return wins;
                }
                index = index.saturating_add(1);
            }
        }
        Rule::Bets => {
            // The wealth of either bet grows with each win: halve the range.
            let (mut low, mut high) = (0, pairs.saturating_add(1));
            while low < high {
                let middle = low.midpoint(high);
                if bets_decide(risk, pairs, middle) {
                    high = middle;
                } else {
                    low = middle.saturating_add(1);
                }
            }
            if low > pairs { NEVER } else { low }
        }
    }
}

/// Whether one of two bets on "more than half are wins" has multiplied its stake by 2 / risk. In thousandths of natural logarithms, each rounded against us: the
/// first stakes a fifth (ln 1.2 = 0.1823, ln 0.8 = -0.2231), the second a half (ln 1.5 = 0.4055, ln 0.5 = -0.6931).
pub(crate) const fn bets_decide(risk: Risk, pairs: u16, wins: u16) -> bool {
    let goal = match risk {
        Risk::E2 => 5_299,
        Risk::E3 => 7_601,
        Risk::E4 => 9_904,
    };
    let wins = wins as i32;
    let losses = (pairs as i32).wrapping_sub(wins);
    let cautious = wins.wrapping_mul(182).wrapping_sub(losses.wrapping_mul(224));
    let bold = wins.wrapping_mul(405).wrapping_sub(losses.wrapping_mul(694));
    cautious >= goal || bold >= goal
}
