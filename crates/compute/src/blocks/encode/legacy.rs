//! Q8_0 and Q4_0: one scale, rounding to nearest.

use half::f16;

/// `d = max|x| / 127`, `q = round(x / d)`, halves away from zero.
///
/// # Shapes
/// Whole blocks: 32 values, 34 bytes.
#[inline(always)]
pub(super) fn q8_0(values: &[f32], out: &mut [u8]) {
    for (x, block) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<34>().0) {
        let mut lanes = [0.0f32; 8];
        for eight in x.as_chunks::<8>().0 {
            for lane in 0..8 {
                let magnitude = eight[lane].abs();
                lanes[lane] = if magnitude > lanes[lane] { magnitude } else { lanes[lane] };
            }
        }
        let scale = lanes.iter().fold(0.0f32, |a, &b| a.max(b)) / 127.0;
        // The codes come from the unrounded scale, as ggml's do: converters' files are then reproduced to the byte.
        let inverse = inverse_of(scale);
        let mut codes = [0i8; 32];
        for i in 0..32 {
            let scaled = x[i] * inverse;
            let magnitude = scaled.abs();
            // Within 0..=127 by the choice of the scale.
            let whole = magnitude as i32;
            let code = whole + i32::from(magnitude - whole as f32 >= 0.5);
            codes[i] = (if scaled < 0.0 { -code } else { code }) as i8;
        }
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for i in 0..32 {
            block[2 + i] = codes[i] as u8;
        }
    }
}

/// `d = m / -8` with m the value of the largest magnitude (the first of equals), `q = min(15, floor(x / d + 8.5))`.
///
/// # Shapes
/// Whole blocks: 32 values, 18 bytes.
#[inline(always)]
pub(super) fn q4_0(values: &[f32], out: &mut [u8]) {
    for (x, block) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<18>().0) {
        let mut lanes = [0.0f32; 8];
        for eight in x.as_chunks::<8>().0 {
            for lane in 0..8 {
                let magnitude = eight[lane].abs();
                lanes[lane] = if magnitude > lanes[lane] { magnitude } else { lanes[lane] };
            }
        }
        let largest = lanes.iter().fold(0.0f32, |a, &b| a.max(b));
        let signed = x.iter().copied().find(|value| value.abs() == largest).unwrap_or(0.0);
        let scale = signed / -8.0;
        let inverse = inverse_of(scale);
        let mut codes = [0u8; 32];
        for i in 0..32 {
            codes[i] = ((x[i] * inverse + 8.5) as i32).min(15) as u8;
        }
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for i in 0..16 {
            block[2 + i] = codes[i] | codes[i + 16] << 4;
        }
    }
}

/// `1 / scale`; 0 for 0, and where only an infinity would do: such scales are 0 as an `f16` anyway.
#[inline(always)]
fn inverse_of(scale: f32) -> f32 {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    if inverse.is_finite() { inverse } else { 0.0 }
}
