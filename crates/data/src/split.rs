//! Holding rows out for validation.

use std::collections::{HashMap, HashSet};

use crate::error::DataError;
use crate::row::Row;

/// A data set in two parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Split {
    /// Rows to train on, in their order.
    pub train: Vec<Row>,
    /// Rows held out, in their order.
    pub validation: Vec<Row>,
}

/// Holds about `fraction` of the rows out.
///
/// Rows are drawn by a hash of their content and `seed`: the result depends neither on the order of the rows nor on
/// anything else, and rows of equal content always land on the same side, so that no row is validated on that was
/// trained on. Groups of equal rows are taken in the drawn order as long as they fit, which gives the fraction exactly
/// (rounded) unless large groups stand in the way. A fraction above 0 gives at least one row to each side.
///
/// # Errors
/// [`DataError::Fraction`] unless `0 <= fraction < 1`; [`DataError::TooFewDistinct`] if there are not two different
/// rows to put on the two sides.
pub fn split_validation(rows: Vec<Row>, fraction: f64, seed: u64) -> Result<Split, DataError> {
    if !(0.0..1.0).contains(&fraction) {
        return Err(DataError::Fraction { fraction });
    }
    if fraction == 0.0 {
        return Ok(Split { train: rows, validation: Vec::new() });
    }
    let mut group_sizes: HashMap<[u8; 32], usize> = HashMap::new();
    for row in &rows {
        *group_sizes.entry(row.hash).or_default() += 1;
    }
    if group_sizes.len() < 2 {
        return Err(DataError::TooFewDistinct { rows: rows.len(), distinct: group_sizes.len() });
    }
    let key =
        *blake3::Hasher::new().update(b"attune validation split 1").update(&seed.to_le_bytes()).finalize().as_bytes();
    let mut drawn: Vec<([u8; 32], [u8; 32], usize)> =
        group_sizes.into_iter().map(|(hash, size)| (*blake3::keyed_hash(&key, &hash).as_bytes(), hash, size)).collect();
    drawn.sort_unstable();

    let wanted = ((rows.len() as f64 * fraction).round() as usize).clamp(1, rows.len() - 1);
    let mut held_out: HashSet<[u8; 32]> = HashSet::new();
    let mut count = 0;
    for (_, hash, size) in &drawn {
        if count + size <= wanted {
            held_out.insert(*hash);
            count += size;
        }
    }
    if held_out.is_empty() {
        // Every group is larger than the share: the smallest comes nearest. The order of drawing breaks ties.
        let smallest = drawn.iter().min_by_key(|(_, _, size)| *size);
        held_out.extend(smallest.map(|(_, hash, _)| *hash));
    }
    let (validation, train) = rows.into_iter().partition(|row| held_out.contains(&row.hash));
    Ok(Split { train, validation })
}
