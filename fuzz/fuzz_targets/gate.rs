//! Any policy and any samples, pushed and voided in any order, beside counting in wide integers; the same values as runs of a history, as distances and as drift.
#![no_main]

use bench_gate::{
    Better, Drift, History, HistoryPolicy, PairGate, Policy, Reason, Risk, Rule, Spread, Step, Threshold,
    Verdict, VoidReason,
};
use libfuzzer_sys::fuzz_target;

const RISKS: [Risk; 3] = [Risk::E2, Risk::E3, Risk::E4];

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<16>() else { return };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let policy = Policy::new()
        .with_margins(word(0), word(4))
        .with_risks(RISKS[usize::from(head[8]) % 3], RISKS[usize::from(head[9]) % 3])
        .with_rule(if head[10] & 1 == 0 { Rule::Looks } else { Rule::Bets })
        .with_max_pairs(u16::from_le_bytes([head[11], head[12]]))
        .with_max_void_percent(head[13]);
    let samples: Vec<(u64, u64)> = rest.as_chunks::<8>().0.iter().map(|bytes| sample(*bytes)).collect();
    if let Ok(gate) = PairGate::new(policy, u64::from(word(12))) {
        judge(gate, policy, &samples);
    } else {
        assert!(policy.check().is_err_and(|error| !error.to_string().is_empty()));
    }
    runs(head, &samples);
});

/// Two values that are near each other more often than not, or anything; a pair in sixteen is voided: both the largest.
fn sample(bytes: [u8; 8]) -> (u64, u64) {
    let [kind, scale, a, b, c, d, e, f] = bytes;
    let small = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]));
    match kind % 16 {
        0 => (u64::MAX, u64::MAX),
        1 => (u64::from_le_bytes(bytes), u64::from_le_bytes([f, e, d, c, b, a, scale, kind])),
        2 => (small(a, b), small(c, d)),
        _ => {
            let shift = scale % 40;
            ((1_000_000 + small(a, b)) << shift, (1_000_000 + small(c, d) + (u64::from(e) << 8)) << shift)
        }
    }
}

fn judge(mut gate: PairGate, policy: Policy, samples: &[(u64, u64)]) {
    let mut spread = Spread::new();
    let (mut pairs, mut slower, mut within, mut voided) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (baseline, candidate) in samples {
        if gate.is_over() {
            break;
        }
        let _ = gate.turn();
        let step = if *baseline == u64::MAX {
            voided += 1;
            gate.void(VoidReason::Disturbed)
        } else {
            pairs += 1;
            let (a, b) = (i128::from(*baseline), i128::from(*candidate));
            slower += u32::from(b * 1_000_000 > a * (1_000_000 + i128::from(policy.tolerated_ppm)));
            within += u32::from(b * 1_000_000 < a * (1_000_000 + i128::from(policy.forbidden_ppm)));
            spread.push(*baseline, *candidate);
            gate.push(*baseline, *candidate)
        };
        assert_eq!(matches!(step, Step::Done(_)), gate.is_over());
    }
    let report = gate.report();
    let counted = [report.pairs, report.slower, report.within, report.voided].map(u32::from);
    assert_eq!(counted, [pairs, slower, within, voided]);
    match report.verdict {
        Verdict::Regressed { .. } => assert!(slower * 2 > pairs),
        Verdict::Pass { .. } => assert!(within * 2 > pairs),
        Verdict::Unfit(reason) => {
            assert!(matches!(reason, Reason::Voided | Reason::TooShort | Reason::Dependent))
        }
        _ => assert!(!gate.is_over() || pairs >= u32::from(policy.max_pairs)),
    }
    if let (Some(lower), Some(upper)) = spread.bounds_ppm(&gate) {
        assert!(lower < upper, "{lower} {upper}");
    }
    assert!(!report.to_string().is_empty());
}

fn runs(head: &[u8; 16], samples: &[(u64, u64)]) {
    let better = if head[15] & 1 == 0 { Better::Lower } else { Better::Higher };
    let policy =
        HistoryPolicy::new().with_better(better).with_newest(head[14] % 8).with_trimmed(head[13] % 4);
    let mut drift =
        Drift::new(better, samples.first().map_or(0, |(a, _)| *a), samples.first().map_or(0, |(_, b)| *b));
    let mut threshold = Threshold::new();
    for (a, b) in samples {
        let before = drift.percent();
        drift.push(*b);
        assert!(drift.percent() - before <= 50, "one run of any size is half of the alarm at most");
        threshold.push(i32::try_from(a.abs_diff(*b)).unwrap_or(i32::MIN));
    }
    if let Ok(adapted) = threshold.adapt(Policy::new()) {
        assert!(adapted.tolerated_ppm <= adapted.forbidden_ppm / 2);
    }
    let Ok(mut history) = History::<24>::new(policy) else { return };
    for (a, _) in samples {
        history.push(*a);
    }
    let judgement = history.judge();
    assert_eq!(history.len(), samples.len().min(24));
    assert!(judgement.beyond <= policy.newest && judgement.within <= policy.newest);
    if let Verdict::Regressed { .. } = judgement.verdict {
        assert!(judgement.beyond == policy.newest && judgement.tolerated_ppm <= policy.forbidden_ppm / 2);
    }
}
