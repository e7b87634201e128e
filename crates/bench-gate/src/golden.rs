//! The same samples and the same seed give the same report on every machine: evaluated by the compiler, for whichever target it compiles.

use crate::pair::{PairGate, Turn, VoidReason};
use crate::policy::{Policy, Risk, Rule};
use crate::verdict::{Step, Verdict};

const _: () = {
    let strict = Policy::new().with_risks(Risk::E4, Risk::E4);
    assert!(digest(Policy::new(), 1, 1_031_000) == 0x8298_93AF_F5EF_C61C);
    assert!(digest(Policy::new().with_rule(Rule::Bets), 1, 1_031_000) == 0xBEFB_582E_97AA_4597);
    assert!(digest(strict, 1, 1_031_000) == 0xCE9A_CE47_14E0_8738);
};

/// Everything that a gate says about samples of a generator, in one number.
const fn digest(policy: Policy, seed: u64, candidate_ppm: u64) -> u64 {
    let Ok(mut gate) = PairGate::new(policy, seed) else { return 0 };
    let mut noise: u64 = 0x0123_4567_89AB_CDEF;
    let mut digest: u64 = 0xCBF2_9CE4_8422_2325;
    while !gate.is_over() {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let is_first = matches!(gate.turn(), Turn::BaselineFirst);
        let baseline = 1_000_000_u64.wrapping_add(noise % 60_000);
        let candidate = candidate_ppm.wrapping_add((noise >> 32) % 60_000);
        let step =
            if noise >> 60 == 0 { gate.void(VoidReason::Disturbed) } else { gate.push(baseline, candidate) };
        digest = mixed(digest, is_first as u64);
        digest = mixed(digest, matches!(step, Step::More) as u64);
    }
    let report = gate.report();
    let (code, figure) = match report.verdict {
        Verdict::Pass { upper_ppm } => (1, upper_ppm.unsigned_abs()),
        Verdict::Regressed { lower_ppm } => (2, lower_ppm.unsigned_abs()),
        Verdict::TooNoisy { pairs_needed } => (3, pairs_needed),
        Verdict::Unfit(reason) => (4, reason as u32),
    };
    digest = mixed(mixed(digest, code), figure as u64);
    digest = mixed(mixed(digest, report.pairs as u64), report.slower as u64);
    digest = mixed(mixed(digest, report.within as u64), report.voided as u64);
    mixed(mixed(digest, report.short as u64), report.seed)
}

const fn mixed(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x0000_0100_0000_01B3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_seeds_samples_and_policies_apart() {
        let digests = [
            digest(Policy::new(), 1, 1_031_000),
            digest(Policy::new(), 2, 1_031_000),
            digest(Policy::new(), 1, 1_000_000),
            digest(Policy::new().with_rule(Rule::Bets), 1, 1_031_000),
            digest(Policy::new().with_risks(Risk::E4, Risk::E4), 1, 1_031_000),
            digest(Policy::new().with_max_pairs(20), 1, 1_020_000),
        ];
        for (index, digest) in digests.iter().enumerate() {
            std::println!("{digest:#018X}");
            assert!(!digests[..index].contains(digest) && *digest != 0, "{digests:X?}");
        }
    }
}
