//! Damaged objects: do both refuse them, and where both accept, is the table still the same?
//!
//! libbpf is not written to survive every damaged file, so it is asked in a child process: this very test binary, run again
//! with [`SEEDS`] set. A child that dies is noted and the next one goes on behind the seed that killed it. To see what both
//! say of one seed (add [`KEEP`] to have the object): `EBPF_CONFORMANCE_SEEDS=18..19 EBPF_CONFORMANCE_LOG=1 cargo test … --test mutations -- --nocapture`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use ebpf_conformance::corpus::{self, Sample};
use ebpf_conformance::{libbpf, rows};

/// `first..end`: what a child is to do.
const SEEDS: &str = "EBPF_CONFORMANCE_SEEDS";

/// A folder where a child leaves the objects.
const KEEP: &str = "EBPF_CONFORMANCE_KEEP";

/// How many damaged objects to compare, if not the usual number.
const COUNT: &str = "EBPF_CONFORMANCE_MUTATIONS";

#[test]
fn damaged_objects() {
    if let Ok(seeds) = std::env::var(SEEDS) {
        return child(&seeds);
    }
    let count: u64 = std::env::var(COUNT).ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let mut verdicts = BTreeMap::<String, (usize, u64)>::new();
    let mut differences = Vec::new();
    let mut next = 0;
    while next < count {
        let mut answered = next;
        let (answers, end) = ask(next, count);
        for line in answers {
            let mut columns = line.splitn(3, '\t');
            let seed = columns
                .next()
                .and_then(|seed| seed.parse::<u64>().ok())
                .expect("a child answers with the seed");
            let verdict = columns.next().expect("a child answers with a verdict");
            if let Some(details) = columns.next() {
                differences.push(format!("seed {seed}: {}", details.replace('\u{1}', "\n")));
            }
            answered = seed + 1;
            verdicts.entry(verdict.to_owned()).or_insert((0, seed)).0 += 1;
        }
        if answered < count {
            // A panic is ours and its message stands above; a signal is libbpf's.
            assert!(
                end.signal().is_some(),
                "seed {answered}: we failed where libbpf was still to be asked: {end}"
            );
            verdicts.entry("libbpf crashed".to_owned()).or_insert((0, answered)).0 += 1;
        }
        next = answered + 1;
    }
    println!("{count} damaged objects:");
    for (verdict, (count, seed)) in &verdicts {
        println!("{count:6} {verdict} (first: seed {seed})");
    }
    let agreed = |verdict: &str| verdicts.get(verdict).map_or(0, |(count, _)| *count);
    assert!(agreed("same table") > 0, "some damage is harmless");
    assert!(agreed("both refuse") > 0, "some damage is not");
    let shown = differences.get(..10).unwrap_or(&differences);
    assert!(
        differences.is_empty(),
        "both accept, tables differ {} times:\n{}",
        differences.len(),
        shown.join("\n")
    );
}

/// The child's answers to seeds `first..end`, up to where it died, and how it ended.
fn ask(first: u64, end: u64) -> (Vec<String>, ExitStatus) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "damaged_objects", "--nocapture", "--quiet"])
        .env(SEEDS, format!("{first}..{end}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let answers = output.lines().map_while(Result::ok).filter(|line| line.contains('\t')).collect();
    (answers, child.wait().unwrap())
}

fn child(seeds: &str) {
    let (first, end) = seeds.split_once("..").unwrap();
    let mut samples = [corpus::own(), corpus::xdp_tools()].concat();
    samples.retain(is_little_endian);
    assert!(!samples.is_empty(), "there are objects to damage");
    for seed in first.parse::<u64>().unwrap()..end.parse::<u64>().unwrap() {
        let mut random = Random::new(seed);
        let sample = &samples[random.below(samples.len())];
        let object = damage(sample.bytes.clone(), &mut random);
        if let Some(folder) = std::env::var_os(KEEP) {
            std::fs::write(Path::new(&folder).join(format!("{seed}-{}", sample.name)), &object).unwrap();
        }
        let verdict = verdict(sample, &object);
        println!("{seed}\t{verdict}");
        std::io::stdout().flush().unwrap();
    }
}

fn verdict(sample: &Sample, bytes: &[u8]) -> String {
    // Ours first: should it panic, the child's message is ours and not libbpf's.
    let ours = rows::open(&sample.name, bytes);
    let linked = ours.as_ref().map(rows::link);
    let libbpf = libbpf::Object::open(&sample.name, bytes).map(|object| (object.table(), object.has_types()));
    if std::env::var_os("EBPF_CONFORMANCE_LOG").is_some() {
        eprintln!(
            "{}: ours {:?} and linking {linked:?}, libbpf {:?}",
            sample.origin,
            ours.as_ref().err(),
            libbpf.as_ref().err()
        );
    }
    match (&ours, libbpf) {
        (Ok(ours), Ok((libbpf, has_types))) => {
            let ours = rows::table(ours);
            let differences = rows::differences(&ours, &libbpf);
            let mut not_mappable = ours.clone();
            rows::forget_mappable(&mut not_mappable);
            if rows::reordered(&ours, &libbpf) {
                // Where two functions start at one place, libbpf's order is what its libc's sort makes of an inconsistent
                // comparison; ours is that of the symbols.
                "same table but for the order of programs".to_owned()
            } else if !has_types && rows::differences(&not_mappable, &libbpf).is_empty() {
                // libbpf checks all of .BTF and does without it where it can; we look at what we need and find it sound.
                "same table but for BPF_F_MMAPABLE, libbpf without types".to_owned()
            } else if differences.is_empty() {
                "same table".to_owned()
            } else {
                // One line, whatever it says.
                format!("different\t{}\u{1}{}", sample.origin, differences.replace('\n', "\u{1}"))
            }
        }
        (Err(_), Err(_)) => "both refuse".to_owned(),
        (Err(error), Ok(_)) => format!("only we refuse: {}", variant(error)),
        (Ok(_), Err(error)) => match linked {
            // libbpf looks at relocations when it opens, we look at them when we link.
            Ok(Err(_)) => "both refuse, we when linking".to_owned(),
            _ => format!("only libbpf refuses: {error}"),
        },
    }
}

fn variant(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

/// Damages one to three places, each in a part of the file chosen first: small parts are hit as often as large ones.
fn damage(mut object: Vec<u8>, random: &mut Random) -> Vec<u8> {
    const VALUES: [u32; 12] = [0, 1, 2, 4, 7, 8, 9, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff];
    let parts = parts(&object);
    for _ in 0..=random.below(3) {
        let (start, end) = parts[random.below(parts.len())];
        let at = start + random.below(end - start);
        match random.below(5) {
            0 => object[at] ^= 1 << random.below(8),
            1 => object[at] = random.below(256) as u8,
            2 => object[at] = b'?',
            3 => {
                let at = (at - (at - start) % 4).min(object.len() - 4);
                let value = VALUES[random.below(VALUES.len())];
                object[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            _ => {
                let from = start + random.below(end - start);
                let length = (end - at.max(from)).min(16);
                object.copy_within(from..from + length, at);
            }
        }
    }
    if random.below(20) == 0 {
        object.truncate(random.below(object.len()));
    }
    object
}

/// The ELF header, the section headers, and every section that has contents, of a little-endian object.
fn parts(object: &[u8]) -> Vec<(usize, usize)> {
    let word = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap()) as usize;
    let headers = word(40);
    let count = usize::from(object[60]) | usize::from(object[61]) << 8;
    let mut parts = vec![(0, 64), (headers, headers + count * 64)];
    for header in (headers..).step_by(64).take(count) {
        let (start, length) = (word(header + 24), word(header + 32));
        if object[header + 4] != 8 && length > 0 {
            parts.push((start, start + length));
        }
    }
    parts
}

fn is_little_endian(sample: &Sample) -> bool {
    sample.bytes[5] == 1
}

/// A small generator that gives the same numbers everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
