//! Weights to begin with where there is no base.

use attune_compute::rng;

use super::parameters::Outline;

/// Keeps these draws apart from other uses of the same seed.
const INIT_TAG: u64 = 0x6675_6c6c_2d69_6e69;

/// Values of a parameter before the first step: gains 1, biases 0, and matrices from a bell curve of the given standard
/// deviation.
///
/// The bell is the sum of twelve uniform numbers of 16 bits (Irwin-Hall): made of integers alone, so that every machine
/// draws the same; it ends at six standard deviations. A value is a function of seed, tensor name and place.
pub(super) fn initial_values(outline: &Outline, standard_deviation: f64, seed: u64) -> Vec<f32> {
    let len = outline.len();
    if outline.shape.len() == 1 {
        let is_bias = outline.name.ends_with(".bias");
        return vec![if is_bias { 0.0 } else { 1.0 }; len];
    }
    let name = outline.name.bytes().fold(0, |key, byte| rng::combine(key, u64::from(byte)));
    let key = rng::key(&[seed, INIT_TAG, name]);
    (0..len as u64).map(|index| (bell(rng::combine(key, index)) * standard_deviation) as f32).collect()
}

/// A number of mean 0 and variance 1.
fn bell(bits: u64) -> f64 {
    let sum: i64 = (0..3)
        .map(|round| {
            let bits = rng::combine(bits, round);
            (0..4).map(|part| (bits >> (16 * part) & 0xffff) as i64).sum::<i64>()
        })
        .sum();
    // The mean of 12 numbers in 0..=65535; each has the variance (2^32 - 1) / 12.
    let centred = sum as f64 - 12.0 * 32767.5;
    centred / f64::from(u32::MAX).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_a_bell_curve() {
        let outline = Outline { name: "x.weight".into(), shape: vec![400, 500] };
        let values = initial_values(&outline, 0.02, 7);
        let mean = |power: i32| {
            values.iter().map(|&value| (f64::from(value) / 0.02).powi(power)).sum::<f64>() / values.len() as f64
        };
        // Of 200,000 draws: standard errors 0.0022, 0.0032, 0.009. The fourth moment of twelve uniforms is 2.9.
        assert!(mean(1).abs() < 0.01, "mean {}", mean(1));
        assert!((mean(2) - 1.0).abs() < 0.015, "variance {}", mean(2));
        assert!((mean(4) - 2.9).abs() < 0.05, "fourth moment {}", mean(4));
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let outline = |name: &str| Outline { name: name.into(), shape: vec![4, 4] };
        let draw = |name, seed| initial_values(&outline(name), 0.02, seed);
        assert_eq!(draw("a.weight", 1), draw("a.weight", 1));
        assert_ne!(draw("a.weight", 1), draw("a.weight", 2));
        assert_ne!(draw("a.weight", 1), draw("b.weight", 1));
        // Written down, so that no machine and no later version draws anything else.
        let first: Vec<u32> = draw("a.weight", 1)[..3].iter().map(|value| value.to_bits()).collect();
        assert_eq!(first, [3_151_025_275, 3_164_830_761, 3_163_614_577]);
    }

    #[test]
    fn gains_are_one_and_biases_zero() {
        let vector = |name: &str| Outline { name: name.into(), shape: vec![3] };
        assert_eq!(initial_values(&vector("model.norm.weight"), 0.02, 1), [1.0; 3]);
        assert_eq!(initial_values(&vector("model.layers.0.self_attn.q_proj.bias"), 0.02, 1), [0.0; 3]);
    }
}
