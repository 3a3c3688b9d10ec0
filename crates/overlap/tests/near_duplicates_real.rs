//! Near-duplicates in real rows and among real questions.
#![allow(clippy::print_stdout, reason = "a skipped test says so, and a measurement its numbers")]

mod near_duplicates_common;

use attune_overlap::near_duplicates::{self, Guard, Settings};
use near_duplicates_common::{Brute, Random, Rows, assert_kept_promises, assets, greedy, real_rows, with_planted};

/// 5,000 rows of four data sets, a fifth of them edited copies, against all pairs.
#[test]
fn real_rows_as_by_brute_force() {
    let Some(assets) = assets() else {
        println!("SKIPPED: no shared assets");
        return;
    };
    let rows = with_planted(real_rows(&assets, 4_000), 1_000, &mut Random(11));
    assert_eq!(rows.len(), 5_000);
    let settings = Settings { guard: Guard::off(), ..Settings::default() };
    let mut brute = Brute::new(settings.shingle_chars);
    let sets: Vec<Vec<u32>> = rows.iter().map(|row| brute.set(row)).collect();
    let order: Vec<usize> = (0..rows.len()).collect();
    let expected = greedy(&sets, &order, settings.threshold);
    let rows = Rows(rows);
    let report = near_duplicates::find(&rows, None, &settings, &|_| ()).expect("a report");
    assert_kept_promises(&report, &sets, settings.threshold);
    let planted = expected.iter().flatten().count();
    let found = report.removals.iter().filter(|removal| expected[removal.removed] == Some(removal.kept)).count();
    println!("{found} of {planted} removals, {} candidates, {} compared", report.candidates, report.verified);
    assert!(planted > 300, "{planted}");
    assert!(found as f64 >= 0.999 * planted as f64, "{found} of {planted}");
    assert!(report.removals.len() <= planted, "{} removed, {planted} expected", report.removals.len());

    let guarded = near_duplicates::find(&rows, None, &Settings::default(), &|_| ()).expect("a report");
    assert_kept_promises(&guarded, &sets, settings.threshold);
    println!("with the guard {} removals, {} kept apart", guarded.removals.len(), guarded.guarded_total);
}

/// Pairs of questions with a score of 4 or 5 ask the same.
#[test]
fn scored_questions() {
    let Some(assets) = assets() else {
        println!("SKIPPED: no shared assets");
        return;
    };
    let file = assets.join("suites/semeval-question-question/question-question.test.tsv");
    let table = std::fs::read_to_string(file).expect("the pairs");
    let pairs: Vec<(f64, &str, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some((fields.next()?.parse().ok()?, fields.next()?, fields.next()?))
        })
        .collect();
    assert!(pairs.len() > 200, "{}", pairs.len());
    let merged = |threshold: f64, guard: Guard| {
        let settings = Settings { threshold, guard, bands: 60, rows_per_band: Some(1), ..Settings::default() };
        let hits: Vec<bool> = pairs
            .iter()
            .filter(|(_, left, right)| {
                let rows = Rows(vec![(*left).to_owned(), (*right).to_owned()]);
                !near_duplicates::find(&rows, None, &settings, &|_| ()).expect("a report").removals.is_empty()
            })
            .map(|&(score, ..)| score >= 4.0)
            .collect();
        (hits.iter().filter(|&&right| right).count(), hits.len())
    };
    let alike = pairs.iter().filter(|(score, ..)| *score >= 4.0).count();
    for threshold in [0.85, 0.7, 0.5, 0.3] {
        let (bare, guarded) = (merged(threshold, Guard::off()), merged(threshold, Guard::default()));
        println!(
            "{threshold}: {} right of {} without, {} of {} with the guard; {alike} alike",
            bare.0, bare.1, guarded.0, guarded.1
        );
        assert!(guarded.1 - guarded.0 <= bare.1 - bare.0, "the guard made mistakes of its own");
        assert_eq!(guarded.0, guarded.1, "at {threshold} the guard let a wrong pair pass");
    }
}
