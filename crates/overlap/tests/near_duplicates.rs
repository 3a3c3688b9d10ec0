//! Near-duplicates against the same question answered by comparing everything.

mod near_duplicates_common;

use std::sync::atomic::{AtomicUsize, Ordering};

use attune_overlap::near_duplicates::{self, Error, Guard, Kind, Progress, Report, Settings, Texts};
use near_duplicates_common::{Brute, Random, Rows, assert_kept_promises, edited, greedy};
use proptest::prelude::*;

fn unguarded(threshold: f64) -> Settings {
    Settings { threshold, guard: Guard::off(), ..Settings::default() }
}

fn find(rows: &[&str], settings: &Settings) -> Report {
    let rows = Rows(rows.iter().map(|&row| row.to_owned()).collect());
    near_duplicates::find(&rows, None, settings, &|_| ()).expect("a report")
}

fn pairs(report: &Report) -> Vec<(usize, usize)> {
    report.removals.iter().map(|removal| (removal.removed, removal.kept)).collect()
}

fn in_pool(threads: usize, rows: &Rows, order: Option<&[u32]>, settings: &Settings) -> Report {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| near_duplicates::find(rows, order, settings, &|_| ())).expect("a report")
}

/// Short texts over few words, with edited copies: many pairs on both sides of the threshold.
fn random_rows(seed: u64, count: usize) -> Vec<String> {
    const WORDS: [&str; 24] = [
        "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima",
        "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "x",
    ];
    let mut random = Random(seed);
    let mut rows: Vec<String> = Vec::new();
    for _ in 0..count {
        if rows.is_empty() || random.below(2) == 0 {
            let words: Vec<&str> = (0..1 + random.below(20)).map(|_| WORDS[random.below(WORDS.len())]).collect();
            rows.push(words.join(" "));
        } else {
            let source = rows[random.below(rows.len())].clone();
            let share = [0.0, 0.03, 0.08, 0.15, 0.3][random.below(5)];
            rows.push(edited(&source, share, &mut random));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against brute force: the very same rows go to the very same survivors, for any order and threshold.
    #[test]
    fn as_by_brute_force(seed in any::<u64>(), hundredths in 60..100_u32, shuffle in any::<bool>()) {
        let rows = random_rows(seed, 160);
        let threshold = f64::from(hundredths) / 100.0;
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        if shuffle {
            order.sort_by_key(|&row| Random(seed ^ u64::from(row)).next());
        }
        let settings = Settings { bands: 120, rows_per_band: Some(2), ..unguarded(threshold) };
        let mut brute = Brute::new(settings.shingle_chars);
        let sets: Vec<Vec<u32>> = rows.iter().map(|row| brute.set(row)).collect();
        let by_row: Vec<usize> = order.iter().map(|&row| row as usize).collect();
        let expected = greedy(&sets, &by_row, threshold);
        let rows = Rows(rows);
        let report = near_duplicates::find(&rows, shuffle.then_some(order.as_slice()), &settings, &|_| ()).expect("a report");
        assert_kept_promises(&report, &sets, threshold);
        let mut got = vec![None; rows.0.len()];
        for removal in &report.removals {
            got[removal.removed] = Some(removal.kept);
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(report.cut_short, 0);
    }

    #[test]
    fn threads_do_not_show(seed in any::<u64>(), guarded in any::<bool>()) {
        let rows = Rows(random_rows(seed, 400));
        let settings = if guarded { Settings::default() } else { unguarded(0.8) };
        let one = in_pool(1, &rows, None, &settings);
        prop_assert!(!one.removals.is_empty());
        prop_assert_eq!(&one, &in_pool(2, &rows, None, &settings));
        prop_assert_eq!(&one, &in_pool(5, &rows, None, &settings));
    }

    #[test]
    fn any_texts_keep_the_promises(rows in prop::collection::vec(".{0,40}", 0..40)) {
        let report = near_duplicates::find(&Rows(rows.clone()), None, &Settings::default(), &|_| ()).expect("a report");
        for removal in &report.removals {
            prop_assert!(removal.similarity >= 0.85);
            prop_assert!(report.removals.iter().all(|other| other.removed != removal.kept));
        }
    }
}

#[test]
fn exact_copies_go_whatever_the_guard_says() {
    let rows = ["Is it 5 kg?", "is  IT 5\tkg? ", "Is it 5 lb?", "", "  ", "It", "it", "Ubuntu 20.04", "ubuntu 20.04"];
    let report = find(&rows, &Settings::default());
    assert_eq!(pairs(&report), [(1, 0), (6, 5), (8, 7)]);
    assert!(report.removals.iter().all(|removal| removal.exact && removal.similarity == 1.0));
    let strict = find(&rows, &Settings { threshold: 1.0, ..Settings::default() });
    assert_eq!(pairs(&strict), pairs(&report));
}

#[test]
fn a_chain_of_likeness_is_no_cluster() {
    // Each is like the next one, and the first is not like the last one.
    let words: Vec<String> = (0..140).map(|word| format!("word{word:03}")).collect();
    let rows: Vec<String> = (0..10).map(|row| words[row * 8..row * 8 + 60].join(" ")).collect();
    let report = find(&rows.iter().map(String::as_str).collect::<Vec<_>>(), &unguarded(0.7));
    let kept: Vec<usize> =
        (0..10).filter(|row| report.removals.iter().all(|removal| removal.removed != *row)).collect();
    assert_eq!(kept, [0, 2, 4, 6, 8]);
    assert!(report.removals.iter().all(|removal| removal.kept + 1 == removal.removed));
}

#[test]
fn the_order_says_who_stays() {
    let rows = Rows(
        ["Why is the sky blue today?", "why is the sky blue today ?", "Why is the sky blue today"]
            .map(str::to_owned)
            .to_vec(),
    );
    let first = near_duplicates::find(&rows, None, &Settings::default(), &|_| ()).expect("a report");
    assert_eq!(pairs(&first), [(1, 0), (2, 0)]);
    let last = near_duplicates::find(&rows, Some(&[2, 0, 1]), &Settings::default(), &|_| ()).expect("a report");
    assert_eq!(pairs(&last), [(0, 2), (1, 2)]);
}

#[test]
fn copies_of_what_goes_go_to_its_survivor() {
    let rows = [
        "Why is the sky so blue today, and not green or red as it is in the evening?",
        "Why is the sky so blue today and not green or red as it is in the evening?",
        "WHY is the sky so blue today and not green or red as it is in the evening?",
    ];
    let report = find(&rows, &Settings::default());
    assert_eq!(pairs(&report), [(1, 0), (2, 0)]);
    assert!(!report.removals[1].exact && report.removals[1].similarity < 1.0);
    assert_eq!(report.removals[0].similarity, report.removals[1].similarity);
}

#[test]
fn the_guard_reports_what_it_kept() {
    let long = "Explain in detail how the package manager of that distribution resolves its dependencies on release";
    let rows = [format!("{long} 20.04"), format!("{long} 22.04"), format!("{long} 20.04!")];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let report = find(&rows, &Settings::default());
    assert_eq!(pairs(&report), [(2, 0)]);
    assert_eq!((report.guarded_total, report.guarded.len()), (1, 1));
    let guarded = &report.guarded[0];
    assert_eq!((guarded.row, guarded.like, guarded.difference.kind), (1, 0, Kind::Number));
    assert_eq!(guarded.difference.to_string(), "number `22.04`, `20.04`");
    let unlisted = find(&rows, &Settings { listed: 0, ..Settings::default() });
    assert_eq!((unlisted.guarded_total, unlisted.guarded.len()), (1, 0));
    assert_eq!(pairs(&find(&rows, &unguarded(0.85))), [(1, 0), (2, 0)]);
}

/// Tens of thousands of rows of one template: a crowd in every band, and yet nothing quadratic. The rows differ in a few
/// rare words, so they are over the threshold only if those are the same.
#[test]
fn a_template_is_no_quadratic_trap() {
    let template = "You are a helpful assistant. Answer the question of the user as well as you can, and say so if you do not know. ";
    let count = 20_000;
    let rows: Vec<String> = (0..count)
        .map(|row| {
            let mut random = Random(row as u64 / 2);
            let word =
                |random: &mut Random| -> String { (0..9).map(|_| char::from(b'a' + random.below(26) as u8)).collect() };
            let words: Vec<String> = (0..2).map(|_| word(&mut random)).collect();
            format!("{template}{} {}{}", words[0], words[1], if row % 2 == 0 { "" } else { "?" })
        })
        .collect();
    let rows = Rows(rows);
    let report = near_duplicates::find(&rows, None, &unguarded(0.9), &|_| ()).expect("a report");
    let expected: Vec<(usize, usize)> = (0..count).step_by(2).map(|row| (row + 1, row)).collect();
    assert_eq!(pairs(&report), expected);
    assert!(report.crowded > count as u64 / 2, "{}", report.crowded);
    assert!(report.verified < 64 * count as u64, "{}", report.verified);
}

/// A million equal bytes, and a text that is longer than any.
#[test]
fn extreme_texts_are_compared() {
    let rows = Rows(vec![
        "a".repeat(1_000_000),
        format!("{}b", "a".repeat(1_000_000)),
        "ab ".repeat(700_000),
        "\u{200B}".repeat(1_000),
        "é".repeat(300_000),
        "1.".repeat(200_000),
        "n't".repeat(200_000),
        "- ".repeat(500_000),
        "a-".repeat(500_000),
    ]);
    let report = near_duplicates::find(&rows, None, &Settings::default(), &|_| ()).expect("a report");
    assert!(report.removals.iter().all(|removal| removal.kept == 0), "{:?}", report.removals);
}

#[test]
fn mistakes_are_named() {
    let rows = Rows(vec!["one".to_owned(), "two".to_owned()]);
    for order in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 1]] {
        let error =
            near_duplicates::find(&rows, Some(order), &Settings::default(), &|_| ()).expect_err("a wrong order");
        assert!(matches!(error, Error::Order { rows: 2, .. }) && error.hint().is_some(), "{error}");
    }
    struct Broken;
    impl Texts for Broken {
        fn len(&self) -> usize {
            3
        }
        fn read(&self, index: usize, into: &mut String) -> std::io::Result<()> {
            into.clear();
            if index == 1 { Err(std::io::Error::other("no disk")) } else { Ok(()) }
        }
    }
    let error = near_duplicates::find(&Broken, None, &Settings::default(), &|_| ()).expect_err("an unreadable text");
    assert_eq!(error.to_string(), "text 1 cannot be read: no disk");
    let nothing = near_duplicates::find(&Rows(Vec::new()), None, &Settings::default(), &|_| ()).expect("a report");
    assert_eq!(nothing, Report::default());
}

#[test]
fn progress_comes_to_its_end() {
    let (last, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rows = Rows(random_rows(5, 3_000));
    let watch = |progress: Progress| {
        assert!(progress.done <= progress.total);
        last.store(progress.done, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
    };
    near_duplicates::find(&rows, None, &Settings::default(), &watch).expect("a report");
    assert_eq!(last.load(Ordering::Relaxed), 3_000);
    assert!(calls.load(Ordering::Relaxed) >= 4);
}
