//! The linear and every matrix product in it, against the reference.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::reference::Reference;
use attune_compute::{Backend, DType, Dropout, LinearArgs, SidePath, SidePathGradient, Tensor, Weight};
use common::*;

/// A chain of 256 multiply-adds from `f32` rounds 256 times by half an epsilon at worst; rounding errors are as good as
/// random, so about sqrt(256) / 2 = 8 of them add up; twice that for the sums of the cuts and for luck.
const EPSILONS: f64 = 16.0;

struct Case {
    x: Tensor,
    dy: Tensor,
    weight: Weight,
    bias: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    rank: usize,
    dropout: f32,
    row_keys: Vec<u64>,
}

struct Results {
    y: Tensor,
    h: Tensor,
    dx: Tensor,
    da: Vec<f32>,
    db: Vec<f32>,
}

impl Case {
    fn new(dtype: DType, tokens: usize, inputs: usize, outputs: usize, rank: usize, dropout: f32) -> Self {
        Self {
            x: tensor(1, tokens, inputs),
            dy: tensor(2, tokens, outputs),
            weight: weight(dtype, 3, outputs, inputs),
            bias: values(4, outputs),
            a: values(5, rank * inputs),
            b: values(6, outputs * rank),
            rank,
            dropout,
            row_keys: (0..tokens as u64).map(|t| 1000 + 7 * t).collect(),
        }
    }

    /// The case whose results are the sums of the absolute values of what the other's are sums of.
    fn absolute(&self) -> Self {
        Self {
            x: absolute_tensor(&self.x),
            dy: absolute_tensor(&self.dy),
            weight: absolute_weight(&self.weight),
            bias: absolute(&self.bias),
            a: absolute(&self.a),
            b: absolute(&self.b),
            rank: self.rank,
            dropout: self.dropout,
            row_keys: self.row_keys.clone(),
        }
    }

    fn run(&self, backend: &dyn Backend) -> Results {
        let dropout = (self.dropout > 0.0).then_some(Dropout { rate: self.dropout, key: 99, row_keys: &self.row_keys });
        let side = SidePath { a: &self.a, b: &self.b, rank: self.rank, scale: 0.75, dropout };
        let args = LinearArgs { weight: &self.weight, bias: Some(&self.bias), side: Some(side), residual: None };
        let output = backend.linear_forward(&self.x, &args);
        let h = output.low_rank.unwrap();
        // The gradients are added to what is there.
        let (mut da, mut db) = (vec![0.5; self.a.len()], vec![0.25; self.b.len()]);
        let gradient = SidePathGradient { da: &mut da, db: &mut db };
        let dx = backend.linear_backward(&self.x, Some(&h), &self.dy, &args, Some(gradient), true).unwrap();
        Results { y: output.y, h, dx, da, db }
    }

    fn name(&self) -> String {
        let (outputs, inputs) = (self.weight.rows(), self.weight.cols());
        format!(
            "{:?} t {} in {inputs} out {outputs} r {} dropout {}",
            self.weight.dtype(),
            self.x.rows(),
            self.rank,
            self.dropout
        )
    }

    fn check(&self) {
        let (expected, size) = (self.run(&Reference), self.absolute().run(&Reference));
        for cpu in cpus(2) {
            let got = self.run(&cpu);
            let what = |part: &str| format!("{} {part}: {}", cpu.name(), self.name());
            // `tests/bf16.rs` looks closer, with numbers that need no rounding.
            let epsilons = if rounds_factors(&cpu, self.weight.dtype()) { BF16_EPSILONS } else { EPSILONS };
            assert_close(&what("y"), got.y.data(), expected.y.data(), size.y.data(), epsilons);
            assert_close(&what("h"), got.h.data(), expected.h.data(), size.h.data(), epsilons);
            assert_close(&what("dx"), got.dx.data(), expected.dx.data(), size.dx.data(), epsilons);
            assert_close(&what("da"), &got.da, &expected.da, &size.da, epsilons);
            assert_close(&what("db"), &got.db, &expected.db, &size.db, epsilons);
        }
    }
}

/// Every size in every place, the other places going through sizes below, at and above the tiles.
#[test]
fn grid_against_reference() {
    for (i, &size) in SIZES.iter().enumerate() {
        let dtype = DTYPES[i % 3];
        let other = [33, 17, 64, 7, 31][i % 5];
        Case::new(dtype, size, other, 65, 4, 0.0).check();
        Case::new(dtype, other, size, 17, 5, 0.0).check();
        Case::new(dtype, 3, other, size, 16, 0.0).check();
        Case::new(dtype, size, 31, 15, other, 0.0).check();
    }
}

#[test]
fn every_weight_type_at_every_small_number_of_rows() {
    for dtype in DTYPES {
        for tokens in 1..=30 {
            Case::new(dtype, tokens, 67, 71, 8, 0.0).check();
        }
    }
}

#[test]
fn large_products_cut_into_many_tiles() {
    Case::new(DType::Bf16, 530, 300, 600, 16, 0.0).check();
    Case::new(DType::F16, 257, 700, 257, 33, 0.1).check();
    Case::new(DType::F32, 1031, 65, 130, 3, 0.0).check();
}

#[test]
fn dropout_masks_are_those_of_the_reference() {
    for (tokens, inputs, outputs, rank) in [(1, 1, 1, 1), (7, 33, 16, 4), (31, 257, 65, 16), (65, 300, 40, 17)] {
        Case::new(DType::F32, tokens, inputs, outputs, rank, 0.3).check();
    }
    // Everything dropped but a few: an element that should be zero is exactly zero.
    let case = Case::new(DType::F32, 9, 40, 20, 4, 0.95);
    let expected = case.run(&Reference);
    for cpu in cpus(1) {
        let got = case.run(&cpu);
        for (got, expected) in got.h.data().iter().zip(expected.h.data()) {
            assert_eq!(*got == 0.0, *expected == 0.0);
        }
    }
}

#[test]
fn no_rows_and_no_side_path() {
    let weight = weight(DType::Bf16, 3, 9, 17);
    let args = LinearArgs::frozen(&weight, None);
    for backend in all_backends() {
        let empty = backend.linear_forward(&Tensor::zeros(0, 17), &args);
        assert_eq!((empty.y.rows(), empty.y.cols(), empty.low_rank.is_none()), (0, 9, true), "{}", backend.name());
        let dx = backend.linear_backward(&Tensor::zeros(0, 17), None, &Tensor::zeros(0, 9), &args, None, true).unwrap();
        assert_eq!((dx.rows(), dx.cols()), (0, 17), "{}", backend.name());
        let none = backend.linear_backward(&tensor(1, 2, 17), None, &tensor(2, 2, 9), &args, None, false);
        assert!(none.is_none());
    }
    let case = Case::new(DType::F32, 0, 17, 9, 4, 0.5);
    for backend in all_backends() {
        let results = case.run(&*backend);
        assert_eq!((results.y.rows(), results.dx.rows(), results.h.rows()), (0, 0, 0));
        assert!(results.da.iter().all(|&value| value == 0.5) && results.db.iter().all(|&value| value == 0.25));
    }
}

#[test]
fn without_dx_the_gradients_are_the_same() {
    let case = Case::new(DType::F32, 20, 33, 40, 8, 0.0);
    for backend in all_backends() {
        let all = case.run(&*backend);
        let side = SidePath { a: &case.a, b: &case.b, rank: case.rank, scale: 0.75, dropout: None };
        let args = LinearArgs { weight: &case.weight, bias: Some(&case.bias), side: Some(side), residual: None };
        let (mut da, mut db) = (vec![0.5; case.a.len()], vec![0.25; case.b.len()]);
        let gradient = SidePathGradient { da: &mut da, db: &mut db };
        let dx = backend.linear_backward(&case.x, Some(&all.h), &case.dy, &args, Some(gradient), false);
        assert!(dx.is_none());
        assert_eq!((bits(&da), bits(&db)), (bits(&all.da), bits(&all.db)), "{}", backend.name());
    }
}

/// The claim of `cpu/gemm.rs`: a row's bits do not depend on the other rows, so neither on the path for few rows.
#[test]
fn a_row_does_not_depend_on_the_others() {
    for dtype in DTYPES {
        for (inputs, outputs) in [(17, 40), (300, 33), (1031, 257)] {
            let case = Case::new(dtype, 37, inputs, outputs, 5, 0.2);
            for cpu in cpus(2) {
                let all = case.run(&cpu);
                for rows in [0..1, 5..6, 36..37, 7..9, 10..13, 20..24, 3..8, 14..35] {
                    let part = |x: &Tensor| {
                        let values = x.data()[rows.start * x.cols()..rows.end * x.cols()].to_vec();
                        Tensor::from_vec(rows.len(), x.cols(), values)
                    };
                    let mut alone = Case::new(dtype, 0, inputs, outputs, 5, 0.2);
                    (alone.x, alone.dy) = (part(&case.x), part(&case.dy));
                    alone.row_keys = case.row_keys[rows.clone()].to_vec();
                    let alone = alone.run(&cpu);
                    let what = format!("{} {dtype:?} in {inputs} out {outputs} rows {rows:?}", cpu.name());
                    assert_eq!(bits(alone.y.data()), bits(part(&all.y).data()), "y {what}");
                    assert_eq!(bits(alone.h.data()), bits(part(&all.h).data()), "h {what}");
                    assert_eq!(bits(alone.dx.data()), bits(part(&all.dx).data()), "dx {what}");
                }
            }
        }
    }
}

/// Sums of 5000 terms must be as good as sums of 256: they are added up in cuts.
#[test]
fn long_sums_stay_accurate() {
    let case = Case::new(DType::F32, 3, 5000, 20, 2, 0.0);
    let (expected, size) = (case.run(&Reference), case.absolute().run(&Reference));
    for cpu in cpus(1) {
        let got = case.run(&cpu);
        assert_close(&format!("{} y", cpu.name()), got.y.data(), expected.y.data(), size.y.data(), 4.0);
    }
}

/// The comparison itself must be able to fail: one forgotten term of a sum is found.
#[test]
fn a_forgotten_term_is_noticed() {
    let case = Case::new(DType::Bf16, 7, 257, 33, 4, 0.0);
    let size = case.absolute().run(&Reference);
    let expected = case.run(&Reference);
    let mut cut = case.x.clone();
    cut.row_mut(3)[256] = 0.0;
    let wrong = Case { x: cut, ..case }.run(&Reference);
    let (worst, _) = worst_error(wrong.y.data(), expected.y.data(), |i| size.y.data()[i]);
    assert!(worst > 100.0 * EPSILONS, "a forgotten term is {worst} epsilons");
}

/// Infinities and NaN of the data must come out, in whatever lane.
#[test]
fn bad_numbers_are_not_swallowed() {
    for (row, value) in [(0, f32::NAN), (13, f32::INFINITY), (15, f32::NAN)] {
        let mut case = Case::new(DType::Bf16, 16, 70, 50, 4, 0.0);
        case.x.row_mut(row)[69] = value;
        for backend in all_backends() {
            let results = case.run(&*backend);
            assert!(results.y.row(row).iter().all(|y| !y.is_finite()), "{} row {row}", backend.name());
            let others = (0..16).filter(|&other| other != row);
            assert!(others.flat_map(|other| results.y.row(other)).all(|y| y.is_finite()), "{}", backend.name());
        }
    }
}
