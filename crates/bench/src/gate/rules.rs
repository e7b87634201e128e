//! Rules that others judge by. All say whether the candidate is slower.

/// What they are compared by: one of these, the baseline's figures, the candidate's.
pub(super) type Rule = fn(&[f64], &[f64]) -> bool;

/// Rules about two samples. The first is ours elsewhere.
pub(super) const TWO_SAMPLE: [(&str, Rule); 3] =
    [("Welch", welch), ("Mann-Whitney", mann_whitney), ("criterion", criterion)];

/// The rule of the gate that was removed for crying wolf: the newest value lies two standard deviations above the mean of the last 30, itself among them.
pub(super) fn two_sigma(last: &[f64]) -> bool {
    let (mean, deviation) = (mean(last), variance(last).sqrt());
    last.last().is_some_and(|newest| newest - mean >= 2.0 * deviation && deviation > 0.0)
}

/// Welch's t test, p < 0.05 on two sides.
pub(super) fn welch(baseline: &[f64], candidate: &[f64]) -> bool {
    let part = |values: &[f64]| variance(values) / values.len() as f64;
    let (a, b) = (part(baseline), part(candidate));
    let freedom = (a + b).powi(2)
        / (a.powi(2) / (baseline.len() - 1) as f64 + b.powi(2) / (candidate.len() - 1) as f64);
    (mean(candidate) - mean(baseline)) / (a + b).sqrt() > critical_t(freedom)
}

/// The 97.5 % quantile of Student's distribution, by its expansion around the normal one.
fn critical_t(freedom: f64) -> f64 {
    let z = 1.959_964_f64;
    z + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * freedom.powi(3))
}

/// Mann and Whitney's U, p < 0.05 on two sides, by the normal approximation with ties.
pub(super) fn mann_whitney(baseline: &[f64], candidate: &[f64]) -> bool {
    let mut all: Vec<(f64, bool)> = baseline
        .iter()
        .map(|value| (*value, false))
        .chain(candidate.iter().map(|value| (*value, true)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut below) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        // All of a group have the mean of its ranks.
        ranks += group.iter().filter(|(_, is_candidate)| *is_candidate).count() as f64
            * (below + (size + 1.0) / 2.0);
        ties += size.powi(3) - size;
        below += size;
    }
    let (m, n) = (baseline.len() as f64, candidate.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let total = m + n;
    let deviation = (m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)))).sqrt();
    (u - m * n / 2.0 - 0.5) / deviation > 1.959_964
}

/// Criterion's rule: the 95 % confidence interval of the relative change of means, by the bootstrap, lies above +1 %. (Its p < 0.05 follows from that for all but the
/// oddest samples.)
pub(super) fn criterion(baseline: &[f64], candidate: &[f64]) -> bool {
    const RESAMPLES: usize = 500;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut resampled = |values: &[f64]| {
        let sum: f64 = (0..values.len())
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                values[(((random >> 32) * values.len() as u64) >> 32) as usize]
            })
            .sum();
        sum / values.len() as f64
    };
    let mut changes: Vec<f64> =
        (0..RESAMPLES).map(|_| resampled(candidate) / resampled(baseline) - 1.0).collect();
    let rank = RESAMPLES / 40;
    *changes.select_nth_unstable_by(rank, f64::total_cmp).1 > 0.01
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_rule_is_blind_below_six_values() {
        // A value among n others lies (n - 1) / sqrt(n) standard deviations above their mean at most.
        for n in 2..30 {
            let mut values = vec![100.0; n];
            values[n - 1] = 1e9;
            assert_eq!(two_sigma(&values), n >= 6, "{n}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [(4.0, 2.776), (10.0, 2.228), (30.0, 2.042), (100.0, 1.984)] {
            assert!((critical_t(freedom) - expected).abs() < 0.02, "{freedom}: {}", critical_t(freedom));
        }
    }

    #[test]
    fn rules_find_what_is_there_and_nothing_where_nothing_is() {
        let values = |shift: f64| {
            (0..40).map(|index| 100.0 + shift + f64::from(index * 37 % 40) / 10.0).collect::<Vec<_>>()
        };
        for (name, rule) in TWO_SAMPLE {
            assert!(!rule(&values(0.0), &values(0.0)), "{name}");
            assert!(rule(&values(0.0), &values(3.0)), "{name}");
            assert!(!rule(&values(3.0), &values(0.0)), "{name}: faster is not slower");
        }
        assert!(!mann_whitney(&[1.0; 20], &[1.0; 20]), "ties alone");
    }
}
