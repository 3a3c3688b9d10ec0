//! For tests alone: a fuzzer that every run of the tests brings along. Seeds are changed at random but the same way on every
//! machine, for as long as `ATTUNE_FUZZ_SECS` says.

#![allow(clippy::print_stdout, reason = "how much was tried is worth knowing")]

use std::time::{Duration, Instant};

/// How long one input may take whatever it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// xorshift64*, so that the changes are the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What parsers of text and of binary files stumble over.
pub const PIECES: [&[u8]; 30] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b";",
    b"\n",
    b"\r\n",
    b"\t",
    b"\0",
    b"\xFF",
    b"\xC3",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"99999999999999999999",
    b"\\ud800",
    b"../",
    b"-->",
    b"</script>",
    b"<!--",
    b"[[[[[[[[",
];

/// `seed` with one to six changes: bits, bytes, cuts, repetitions, pieces that parsers stumble over.
pub fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + random.below(200)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())].repeat(1 + random.below(300));
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// `ATTUNE_FUZZ_SECS`, shared by `targets` inputs; `default` seconds for each where it is not set.
pub fn budget(default: f64, targets: usize) -> Duration {
    let secs: Option<f64> = std::env::var("ATTUNE_FUZZ_SECS").ok().and_then(|secs| secs.parse().ok());
    Duration::from_secs_f64(secs.map_or(default, |secs| secs / targets as f64))
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was read.
    Accepted,
    /// It was refused with an error.
    Refused,
}

impl Verdict {
    /// The verdict that a result is.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// Feeds changed seeds to `read` for `budget`, at least twenty. Every seed itself must be accepted, and some of the changed ones
/// must be refused.
///
/// # Panics
/// If `read` does, if a seed is refused, if nothing is, or if an input takes longer than a minute.
pub fn fuzz(name: &str, seeds: &[Vec<u8>], budget: Duration, mut read: impl FnMut(&[u8]) -> Verdict) {
    for (number, seed) in seeds.iter().enumerate() {
        assert!(read(seed) == Verdict::Accepted, "{name}: seed {number} is refused");
    }
    let (start, mut random, mut slowest) = (Instant::now(), Random::default(), Duration::ZERO);
    let (mut runs, mut refused) = (0u64, 0u64);
    while runs < 20 || start.elapsed() < budget {
        let bytes = changed(&seeds[random.below(seeds.len())], &mut random);
        let one = Instant::now();
        refused += u64::from(read(&bytes) == Verdict::Refused);
        slowest = slowest.max(one.elapsed());
        assert!(slowest < PATIENCE, "{name}: {} bytes took {slowest:?}", bytes.len());
        runs += 1;
    }
    println!("{name}: {runs} runs, {refused} refused, the slowest took {slowest:?}");
    assert!(refused > 0, "{name}: nothing of {runs} changed files was refused");
}

/// The most memory in kB that this process ever held; `None` where the system does not tell.
pub fn peak_resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_the_same_every_time_and_do_change() {
        let all = |seed: &[u8]| {
            let mut random = Random::default();
            (0..200).map(|_| changed(seed, &mut random)).collect::<Vec<_>>()
        };
        let (first, again) = (all(b"{\"a\": [1, 2]}"), all(b"{\"a\": [1, 2]}"));
        assert_eq!(first, again);
        assert!(first.iter().filter(|bytes| bytes.as_slice() != b"{\"a\": [1, 2]}").count() > 180);
        assert_eq!(all(b"").len(), 200);
    }

    #[test]
    fn a_reader_that_refuses_nothing_is_found() {
        let trial = std::panic::catch_unwind(|| fuzz("all", &[vec![1]], Duration::ZERO, |_| Verdict::Accepted));
        assert!(trial.is_err());
        let trial = std::panic::catch_unwind(|| fuzz("none", &[vec![1]], Duration::ZERO, |_| Verdict::Refused));
        assert!(trial.is_err());
        fuzz("some", &[b"abc".to_vec()], Duration::ZERO, |bytes| Verdict::of(&std::str::from_utf8(bytes).map(drop)));
    }
}
