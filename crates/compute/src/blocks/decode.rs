//! From blocks back to values, to the bit as ggml and bitsandbytes compute them: products and sums in `f32`, each rounded
//! on its own, in their order.
//!
//! ```text
//! Q8_0  d q                    Q4_K, Q5_K  (d scale) q - (dmin minimum)
//! Q4_0  d (q - 8)              Q6_K        (d scale) (q - 32)
//! NF4   values[index] (codes[code] second[block / 256] + offset)
//! ```
//!
//! Values are decoded in groups of 32, which every type has: a group has one scale (two in Q6_K), and its bits lie side by
//! side. So a few columns of a row cost no more than they must.

use half::bf16;

use super::encode::{NF4_TABLE, nf4_scale_table};
use super::{Affine, BlockType, NF4_SCALE_GROUP};

/// Values that are decoded at a time.
pub(crate) const GROUP: usize = 32;

/// Packed indices of a group of NF4, upper nibble first.
pub(crate) type Nf4Indices = [u8; GROUP / 2];

/// A matrix in blocks.
#[derive(Debug, Clone, Copy)]
pub struct BlockMatrix<'a> {
    kind: BlockType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
    /// Scales and biases of affine groups; empty for all others.
    tails: [&'a [u8]; 2],
}

impl<'a> BlockMatrix<'a> {
    /// A matrix `[rows, cols]` over its bytes.
    ///
    /// # Panics
    /// If these are not exactly [`BlockType::matrix_bytes`].
    pub fn new(kind: BlockType, bytes: &'a [u8], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(bytes.len()), kind.matrix_bytes(rows, cols), "bytes of a matrix of {kind} [{rows}, {cols}]");
        let Some(row_bytes) = kind.row_bytes(cols) else { unreachable!("a matrix has rows") };
        let BlockType::Affine(affine) = kind else {
            return Self { kind, rows, cols, row_bytes, bytes, tails: [&[], &[]] };
        };
        let Some(parts) = affine.parts(rows, cols) else { unreachable!("a matrix has parts") };
        let [codes, scales, biases] = parts.map(|part| &bytes[part]);
        Self { kind, rows, cols, row_bytes, bytes: codes, tails: [scales, biases] }
    }

    /// A matrix in affine groups whose parts lie apart; their sizes were checked.
    pub(crate) fn of_parts(affine: Affine, [codes, scales, biases]: [&'a [u8]; 3], rows: usize, cols: usize) -> Self {
        let kind = BlockType::Affine(affine);
        let Some(row_bytes) = kind.row_bytes(cols) else { panic!("rows of {cols} values in {affine}") };
        Self { kind, rows, cols, row_bytes, bytes: codes, tails: [scales, biases] }
    }

    /// Type of the blocks.
    pub(crate) fn kind(&self) -> BlockType {
        self.kind
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        assert!(row < self.rows, "row {row} of {self:?}");
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }

    /// The bytes of a row that must have `values` from the group `first_group` on, which are whole groups.
    pub(crate) fn groups_of_row(&self, row: usize, first_group: usize, values: usize) -> &'a [u8] {
        assert!(values.is_multiple_of(GROUP), "{values} values are no whole groups");
        let last_col = first_group * GROUP + values;
        assert!(last_col <= self.cols, "{last_col} columns of {self:?}");
        self.row(row)
    }

    /// The scales of a row of NF4.
    #[inline]
    pub(crate) fn nf4_scales(&self, row: usize) -> Nf4Scales<'a> {
        let codes = &self.row(row)[self.cols / 2..];
        let (second, _) = self.bytes[self.rows * self.row_bytes..].as_chunks::<{ size_of::<f32>() }>();
        let offset = second.last().map_or(0.0, |&offset| f32::from_le_bytes(offset));
        Nf4Scales { codes, first_block: row * codes.len(), second, offset, values: nf4_scale_table() }
    }

    /// Decodes the columns from `first_col` on of a row into `out`.
    ///
    /// # Panics
    /// If there is no such row, or it ends before `out` does.
    pub fn decode(&self, row: usize, first_col: usize, out: &mut [f32]) {
        let mut group = first_col / GROUP;
        // What a group has before the first column, and behind the last one, is decoded and left out.
        let (mut skipped, mut rest) = (first_col % GROUP, out);
        while skipped > 0 || (!rest.is_empty() && rest.len() < GROUP) {
            let mut values = [0.0; GROUP];
            self.decode_groups(row, group, &mut values, nf4_group);
            let taken = rest.len().min(GROUP - skipped);
            rest[..taken].copy_from_slice(&values[skipped..skipped + taken]);
            (group, skipped, rest) = (group + 1, 0, &mut rest[taken..]);
        }
        let (whole, ragged) = rest.split_at_mut(rest.len() / GROUP * GROUP);
        self.decode_groups(row, group, whole, nf4_group);
        if !ragged.is_empty() {
            self.decode(row, group * GROUP + whole.len(), ragged);
        }
    }

    /// Decodes whole groups of a row, from number `first_group` on. `nf4` gives the values of packed indices times a scale.
    #[inline(always)]
    pub(crate) fn decode_groups<T: FromGroup>(
        &self,
        row: usize,
        first_group: usize,
        out: &mut [T],
        nf4: impl Fn(&Nf4Indices, f32) -> [f32; GROUP],
    ) {
        let (groups, rest) = out.as_chunks_mut::<GROUP>();
        let bytes = self.groups_of_row(row, first_group, groups.len() * GROUP + rest.len());
        match self.kind {
            BlockType::Q8_0 => decode_each((bytes, 1), first_group, groups, q8_0),
            BlockType::Q4_0 => decode_each((bytes, 1), first_group, groups, q4_0),
            BlockType::Q4K => decode_each((bytes, 8), first_group, groups, q4_k),
            BlockType::Q5K => decode_each((bytes, 8), first_group, groups, q5_k),
            BlockType::Q6K => decode_each((bytes, 8), first_group, groups, q6_k),
            BlockType::Affine(affine) => {
                let tails = (self.tails[0], self.tails[1]);
                for (group, out) in (first_group..).zip(groups) {
                    T::from_group(&affine.decode_group(bytes, tails, (row, group, self.cols)), out);
                }
            }
            BlockType::Nf4 => {
                let (indices, _) = bytes.as_chunks::<{ GROUP / 2 }>();
                let scales = self.nf4_scales(row);
                for (group, out) in (first_group..).zip(groups) {
                    T::from_group(&nf4(&indices[group], scales.of_block(group / 2)), out);
                }
            }
        }
    }
}

/// What the scales of a row of NF4 are made of.
#[derive(Clone, Copy)]
pub(crate) struct Nf4Scales<'a> {
    codes: &'a [u8],
    /// Number of the row's first block in the matrix.
    first_block: usize,
    second: &'a [[u8; size_of::<f32>()]],
    offset: f32,
    values: &'static [f32; 256],
}

impl Nf4Scales<'_> {
    /// The scale of a block of the row.
    #[inline(always)]
    pub(crate) fn of_block(&self, block: usize) -> f32 {
        let second = f32::from_le_bytes(self.second[(self.first_block + block) / NF4_SCALE_GROUP]);
        self.values[usize::from(self.codes[block])] * second + self.offset
    }
}

/// A type that values are decoded to.
pub(crate) trait FromGroup: Copy {
    fn from_group(values: &[f32; GROUP], to: &mut [Self; GROUP]);
}

impl FromGroup for f32 {
    #[inline(always)]
    fn from_group(values: &[f32; GROUP], to: &mut [f32; GROUP]) {
        *to = *values;
    }
}

impl FromGroup for bf16 {
    /// To nearest even. The values are finite, or NaN and infinite as their scales are.
    #[inline(always)]
    fn from_group(values: &[f32; GROUP], to: &mut [bf16; GROUP]) {
        for (to, value) in to.iter_mut().zip(values) {
            let bits = value.to_bits();
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
            // A NaN must not become an infinity.
            let kept = if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) | 0x40 } else { rounded };
            *to = bf16::from_bits(kept as u16);
        }
    }
}

/// Decodes groups of a type whose blocks of `BYTES` bytes stand one after the other; `decode` is given a block and the
/// number of the group in it.
#[inline(always)]
fn decode_each<T: FromGroup, const BYTES: usize>(
    (bytes, groups_per_block): (&[u8], usize),
    first_group: usize,
    groups: &mut [[T; GROUP]],
    decode: impl Fn(&[u8; BYTES], usize) -> [f32; GROUP],
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    for (group, out) in (first_group..).zip(groups) {
        T::from_group(&decode(&blocks[group / groups_per_block], group % groups_per_block), out);
    }
}

/// Half precision to single, exact for every value but NaN, which stays NaN: the exponent is moved by a product, which
/// is right for subnormal numbers, too.
#[inline(always)]
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let size = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
    let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(size.to_bits() | infinite | ((bits & 0x8000) << 16))
}

/// A part of an array whose place is known to lie inside.
#[inline(always)]
fn part<const LEN: usize>(bytes: &[u8], start: usize) -> &[u8; LEN] {
    match bytes[start..].first_chunk() {
        Some(part) => part,
        None => panic!("{LEN} bytes at {start} of {}", bytes.len()),
    }
}

#[inline(always)]
fn q8_0(block: &[u8; 34], _group: usize) -> [f32; GROUP] {
    let (d, q) = (half([block[0], block[1]]), part::<32>(block, 2));
    std::array::from_fn(|i| f32::from(q[i] as i8) * d)
}

#[inline(always)]
fn q4_0(block: &[u8; 18], _group: usize) -> [f32; GROUP] {
    let (d, q) = (half([block[0], block[1]]), part::<16>(block, 2));
    let mut values = [0.0; GROUP];
    for i in 0..16 {
        values[i] = f32::from((q[i] & 15) as i8 - 8) * d;
        values[i + 16] = f32::from((q[i] >> 4) as i8 - 8) * d;
    }
    values
}

/// Scale and minimum of a group of Q4_K and Q5_K: `(d scale, dmin minimum)`. Those of the first four groups are the lower
/// 6 bits of a byte each; of the others the lower 4 bits share a byte, and the upper 2 are those of the first bytes.
#[inline(always)]
fn scale_and_minimum(block: &[u8], group: usize) -> (f32, f32) {
    let (d, dmin) = (half([block[0], block[1]]), half([block[2], block[3]]));
    let s = part::<12>(block, 4);
    let (scale, minimum) = if group < 4 {
        (s[group] & 63, s[group + 4] & 63)
    } else {
        ((s[group + 4] & 15) | (s[group - 4] >> 6 << 4), (s[group + 4] >> 4) | (s[group] >> 6 << 4))
    };
    (d * f32::from(scale), dmin * f32::from(minimum))
}

#[inline(always)]
fn q4_k(block: &[u8; 144], group: usize) -> [f32; GROUP] {
    let (scale, minimum) = scale_and_minimum(block, group);
    let (q, shift) = (part::<32>(block, 16 + group / 2 * 32), group % 2 * 4);
    std::array::from_fn(|i| scale * f32::from((q[i] >> shift) & 15) - minimum)
}

#[inline(always)]
fn q5_k(block: &[u8; 176], group: usize) -> [f32; GROUP] {
    let (scale, minimum) = scale_and_minimum(block, group);
    let (fifth, q, shift) = (part::<32>(block, 16), part::<32>(block, 48 + group / 2 * 32), group % 2 * 4);
    std::array::from_fn(|i| {
        let value = ((q[i] >> shift) & 15) | (((fifth[i] >> group) & 1) << 4);
        scale * f32::from(value) - minimum
    })
}

#[inline(always)]
fn q6_k(block: &[u8; 210], group: usize) -> [f32; GROUP] {
    // Two halves of 128 values; their groups 0 and 1 are lower nibbles, 2 and 3 the upper ones of the same bytes.
    let (upper_half, group) = (group / 4, group % 4);
    let lower = part::<32>(block, upper_half * 64 + group % 2 * 32);
    let upper = part::<32>(block, 128 + upper_half * 32);
    let scales = part::<2>(block, 192 + upper_half * 8 + group * 2);
    let d = half([block[208], block[209]]);
    let scales = scales.map(|scale| d * f32::from(scale as i8));
    let (nibble, pair) = (group / 2 * 4, group * 2);
    std::array::from_fn(|i| {
        let value = ((lower[i] >> nibble) & 15) | (((upper[i] >> pair) & 3) << 4);
        scales[i / 16] * f32::from(value as i8 - 32)
    })
}

/// A group of NF4 in plain Rust.
#[inline(always)]
pub(crate) fn nf4_group(indices: &Nf4Indices, scale: f32) -> [f32; GROUP] {
    std::array::from_fn(|i| {
        let pair = indices[i / 2];
        NF4_TABLE[usize::from(if i % 2 == 0 { pair >> 4 } else { pair & 15 })] * scale
    })
}
