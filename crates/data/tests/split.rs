//! Holding rows out.

mod common;

use std::collections::HashSet;

use attune_data::{DataError, Row, split_validation};

/// `copies[i]` rows that say `i`.
fn rows(copies: &[usize]) -> Vec<Row> {
    let texts: Vec<String> = copies
        .iter()
        .enumerate()
        .flat_map(|(index, &count)| vec![format!("{{\"prompt\": \"{index}\", \"completion\": \"x\"}}"); count])
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    common::read_lines(&texts).expect("good rows").rows
}

fn hashes(rows: &[Row]) -> HashSet<[u8; 32]> {
    rows.iter().map(|row| row.hash).collect()
}

#[test]
fn the_fraction_is_met_exactly_and_nothing_is_lost() {
    for (count, fraction, wanted) in
        [(100, 0.1, 10), (100, 0.5, 50), (7, 0.3, 2), (1000, 0.001, 1), (1000, 0.999, 999), (3, 0.01, 1), (2, 0.9, 1)]
    {
        let all = rows(&vec![1; count]);
        let split = split_validation(all.clone(), fraction, 7).expect("a split");
        assert_eq!(split.validation.len(), wanted, "{count} rows, fraction {fraction}");
        assert_eq!(split.train.len() + split.validation.len(), count);
        assert!(hashes(&split.train).is_disjoint(&hashes(&split.validation)));
        for part in [&split.train, &split.validation] {
            assert!(part.is_sorted_by_key(|row| row.origin.row), "the order of the file is kept");
        }
    }
}

#[test]
fn equal_rows_stay_together() {
    let copies: Vec<usize> = (0..200).map(|index| 1 + index % 5).collect();
    let all = rows(&copies);
    for seed in 0..20 {
        let split = split_validation(all.clone(), 0.2, seed).expect("a split");
        assert!(hashes(&split.train).is_disjoint(&hashes(&split.validation)), "seed {seed}");
        let share = split.validation.len() as f64 / all.len() as f64;
        assert!((share - 0.2).abs() < 0.01, "seed {seed}: {share}");
    }
    // A group that is larger than the share goes to one side as a whole.
    let split = split_validation(rows(&[90, 5, 5]), 0.1, 1).expect("a split");
    assert_eq!((split.train.len(), split.validation.len()), (90, 10));
    let split = split_validation(rows(&[60, 40]), 0.1, 1).expect("a split");
    assert_eq!((split.train.len(), split.validation.len()), (60, 40));
}

#[test]
fn the_split_depends_on_content_and_seed_alone() {
    let all = rows(&[1; 100]);
    let first = split_validation(all.clone(), 0.2, 1).expect("a split");
    assert_eq!(first, split_validation(all.clone(), 0.2, 1).expect("a split"));
    let mut reversed = all.clone();
    reversed.reverse();
    let other = split_validation(reversed, 0.2, 1).expect("a split");
    assert_eq!(hashes(&first.validation), hashes(&other.validation));
    let seeds: HashSet<Vec<usize>> = (0..20)
        .map(|seed| {
            let split = split_validation(all.clone(), 0.2, seed).expect("a split");
            split.validation.iter().map(|row| row.origin.row).collect()
        })
        .collect();
    assert_eq!(seeds.len(), 20, "every seed draws other rows");
}

/// A drawing that preferred some rows would show: over many seeds each row is held out about equally often.
#[test]
fn every_row_has_its_chance() {
    let all = rows(&[1; 20]);
    let mut drawn = [0usize; 20];
    for seed in 0..1000 {
        for row in split_validation(all.clone(), 0.25, seed).expect("a split").validation {
            drawn[row.origin.row - 1] += 1;
        }
    }
    // 250 expected, standard deviation 13.7: five of them.
    assert!(drawn.iter().all(|count| (182..=318).contains(count)), "{drawn:?}");
}

#[test]
fn splits_that_cannot_be_are_refused() {
    for fraction in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
        let error = split_validation(rows(&[1, 1]), fraction, 0).expect_err("a bad fraction");
        assert!(matches!(error, DataError::Fraction { .. }) && error.hint().is_some(), "{error:?}");
    }
    let error = split_validation(rows(&[5]), 0.5, 0).expect_err("one content");
    assert!(matches!(error, DataError::TooFewDistinct { rows: 5, distinct: 1 }), "{error:?}");
    assert!(matches!(split_validation(Vec::new(), 0.5, 0), Err(DataError::TooFewDistinct { rows: 0, distinct: 0 })));
    let none = split_validation(rows(&[5]), 0.0, 0).expect("no split");
    assert_eq!((none.train.len(), none.validation.len()), (5, 0));
}
