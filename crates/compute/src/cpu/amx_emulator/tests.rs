//! The bytes of each instruction below are what the GNU assembler makes of the text beside them.
use super::*;

/// Decodes bytes that end where the instruction must end.
fn decoded(bytes: &[u8]) -> Option<(Instruction, usize)> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() + 16, 0);
    // SAFETY: no instruction is longer than 16 bytes.
    let (instruction, end) = unsafe { decode(padded.as_ptr())? };
    Some((instruction, end as usize - padded.as_ptr() as usize))
}

fn at(base: usize, index: Option<usize>, scale: u8, displacement: i32) -> Address {
    Address { base: Base::Register(base), index, scale, displacement }
}

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

#[test]
#[rustfmt::skip]
fn every_form_is_decoded() {
    use Instruction::*;
    let load = |tile, source| Load { tile, source };
    let store = |tile, target| Store { tile, target };
    let no_base = |index, scale, displacement| Address { base: Base::None, index, scale, displacement };
    let cases: &[(&str, &[u8], Instruction)] = &[
        ("ldtilecfg [rax]", &[0xc4, 0xe2, 0x78, 0x49, 0x00], LoadConfig(at(RAX, None, 0, 0))),
        ("ldtilecfg [rsp+8]", &[0xc4, 0xe2, 0x78, 0x49, 0x44, 0x24, 0x08], LoadConfig(at(RSP, None, 0, 8))),
        ("ldtilecfg [r13]", &[0xc4, 0xc2, 0x78, 0x49, 0x45, 0x00], LoadConfig(at(13, None, 0, 0))),
        ("ldtilecfg [rip+0x12345678]", &[0xc4, 0xe2, 0x78, 0x49, 0x05, 0x78, 0x56, 0x34, 0x12],
            LoadConfig(Address { base: Base::InstructionEnd, index: None, scale: 0, displacement: 0x1234_5678 })),
        ("ldtilecfg [r12+r9*4-0x70]", &[0xc4, 0x82, 0x78, 0x49, 0x44, 0x8c, 0x90],
            LoadConfig(at(12, Some(9), 2, -0x70))),
        ("ldtilecfg ds:[0x1234]", &[0xc4, 0xe2, 0x78, 0x49, 0x04, 0x25, 0x34, 0x12, 0x00, 0x00],
            LoadConfig(no_base(None, 0, 0x1234))),
        ("tilerelease", &[0xc4, 0xe2, 0x78, 0x49, 0xc0], Release),
        ("tilezero tmm0", &[0xc4, 0xe2, 0x7b, 0x49, 0xc0], Zero { tile: 0 }),
        ("tilezero tmm7", &[0xc4, 0xe2, 0x7b, 0x49, 0xf8], Zero { tile: 7 }),
        ("tileloadd tmm4, [rax+rbx]", &[0xc4, 0xe2, 0x7b, 0x4b, 0x24, 0x18], load(4, at(RAX, Some(RBX), 0, 0))),
        ("tileloadd tmm5, [rax+rbx+0x400]", &[0xc4, 0xe2, 0x7b, 0x4b, 0xac, 0x18, 0x00, 0x04, 0x00, 0x00],
            load(5, at(RAX, Some(RBX), 0, 0x400))),
        ("tileloadd tmm7, [r8+r15-0x40]", &[0xc4, 0x82, 0x7b, 0x4b, 0x7c, 0x38, 0xc0],
            load(7, at(8, Some(15), 0, -0x40))),
        ("tileloadd tmm6, [rbp+rcx*2]", &[0xc4, 0xe2, 0x7b, 0x4b, 0x74, 0x4d, 0x00],
            load(6, at(RBP, Some(RCX), 1, 0))),
        ("tileloadd tmm6, [r13+r10*8+0x7f]", &[0xc4, 0x82, 0x7b, 0x4b, 0x74, 0xd5, 0x7f],
            load(6, at(13, Some(10), 3, 0x7f))),
        ("tileloadd tmm1, [rsp+r12*4-0x12345]", &[0xc4, 0xa2, 0x7b, 0x4b, 0x8c, 0xa4, 0xbb, 0xdc, 0xfe, 0xff],
            load(1, at(RSP, Some(12), 2, -0x12345))),
        ("tileloadd tmm2, [rsi]", &[0xc4, 0xe2, 0x7b, 0x4b, 0x14, 0x26], load(2, at(RSI, None, 0, 0))),
        ("tileloadd tmm3, [rdi*8+0x100]", &[0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0xfd, 0x00, 0x01, 0x00, 0x00],
            load(3, no_base(Some(RDI), 3, 0x100))),
        ("tileloaddt1 tmm3, [r14+rdi]", &[0xc4, 0xc2, 0x79, 0x4b, 0x1c, 0x3e], load(3, at(14, Some(RDI), 0, 0))),
        ("tilestored [rdx+r11+0x840], tmm3", &[0xc4, 0xa2, 0x7a, 0x4b, 0x9c, 0x1a, 0x40, 0x08, 0x00, 0x00],
            store(3, at(RDX, Some(11), 0, 0x840))),
        ("tilestored [r12+rsi], tmm0", &[0xc4, 0xc2, 0x7a, 0x4b, 0x04, 0x34], store(0, at(12, Some(RSI), 0, 0))),
        ("tdpbf16ps tmm0, tmm4, tmm6", &[0xc4, 0xe2, 0x4a, 0x5c, 0xc4], DotBf16 { sum: 0, left: 4, right: 6 }),
        ("tdpbf16ps tmm3, tmm5, tmm7", &[0xc4, 0xe2, 0x42, 0x5c, 0xdd], DotBf16 { sum: 3, left: 5, right: 7 }),
        ("tdpbf16ps tmm7, tmm0, tmm1", &[0xc4, 0xe2, 0x72, 0x5c, 0xf8], DotBf16 { sum: 7, left: 0, right: 1 }),
    ];
    for (text, bytes, expected) in cases {
        assert_eq!(decoded(bytes), Some((*expected, bytes.len())), "{text}");
    }
}

#[test]
#[rustfmt::skip]
fn other_instructions_are_not_ours() {
    let cases: &[(&str, &[u8])] = &[
        ("ud2", &[0x0f, 0x0b]),
        ("sttilecfg [rax]", &[0xc4, 0xe2, 0x79, 0x49, 0x00]),
        ("tdpbssd tmm0, tmm4, tmm6", &[0xc4, 0xe2, 0x4b, 0x5e, 0xc4]),
        ("vfmadd231ps xmm0, xmm1, xmm2", &[0xc4, 0xe2, 0x71, 0xb8, 0xc2]),
        ("tilezero, 256 bits", &[0xc4, 0xe2, 0x7f, 0x49, 0xc0]),
        ("tilezero, W", &[0xc4, 0xe2, 0xfb, 0x49, 0xc0]),
        ("tilezero, another map", &[0xc4, 0xe3, 0x7b, 0x49, 0xc0]),
        ("tilezero, a second register", &[0xc4, 0xe2, 0x73, 0x49, 0xc0]),
        ("tilezero tmm8", &[0xc4, 0x62, 0x7b, 0x49, 0xc0]),
        ("tileloadd without an index byte", &[0xc4, 0xe2, 0x7b, 0x4b, 0x20]),
        ("tileloadd from a register", &[0xc4, 0xe2, 0x7b, 0x4b, 0xe4]),
        ("tdpbf16ps tmm0, tmm0, tmm6", &[0xc4, 0xe2, 0x4a, 0x5c, 0xc0]),
        ("tdpbf16ps tmm6, tmm0, tmm6", &[0xc4, 0xe2, 0x4a, 0x5c, 0xf0]),
        ("tdpbf16ps tmm0, tmm4, tmm4", &[0xc4, 0xe2, 0x5a, 0x5c, 0xc4]),
        ("tdpbf16ps tmm0, tmm12, tmm6", &[0xc4, 0xc2, 0x4a, 0x5c, 0xc4]),
        ("tdpbf16ps tmm0, tmm4, tmm14", &[0xc4, 0xe2, 0x0a, 0x5c, 0xc4]),
    ];
    for (text, bytes) in cases {
        assert_eq!(decoded(bytes), None, "{text}");
    }
}

fn config(rows: [u8; 8], row_bytes: [u16; 8]) -> [u8; 64] {
    let mut config = [0; 64];
    config[0] = 1;
    for tile in 0..8 {
        config[16 + 2 * tile..][..2].copy_from_slice(&row_bytes[tile].to_le_bytes());
        config[48 + tile] = rows[tile];
    }
    config
}

fn registers(values: &[(usize, usize)]) -> Registers {
    let mut registers = [0; 23];
    for &(number, value) in values {
        registers[GENERAL[number] as usize] = value as libc::greg_t;
    }
    registers
}

/// # Safety
/// As of [`execute`].
unsafe fn run(instruction: Instruction, registers: &Registers, tiles: &mut TileFile) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { execute(instruction, registers, ptr::null(), tiles) }
}

#[test]
fn loads_and_stores_follow_the_registers() {
    let source: Vec<u8> = (0..4096u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut target = vec![0xee_u8; 2048];
    let mut tiles = TileFile::RELEASED;
    assert!(tiles.configure(&config([3; 8], [20; 8])));
    let registers =
        registers(&[(9, source.as_ptr() as usize + 100), (15, 50), (RSP, target.as_mut_ptr() as usize), (RDI, 64)]);
    let load = Instruction::Load { tile: 5, source: at(9, Some(15), 1, -30) };
    let store = Instruction::Store { tile: 5, target: at(RSP, Some(RDI), 2, 8) };
    // SAFETY: 3 rows of 20 bytes, 100 bytes apart from place 70 on; 256 bytes apart from place 8 on.
    unsafe {
        assert!(run(load, &registers, &mut tiles));
        assert!(run(store, &registers, &mut tiles));
    }
    for row in 0..3 {
        let loaded = &source[70 + 100 * row..][..20];
        assert_eq!(tiles.tiles[5].bytes[row][..20], *loaded);
        assert!(tiles.tiles[5].bytes[row][20..].iter().all(|&byte| byte == 0));
        assert_eq!(target[8 + 256 * row..][..20], *loaded);
    }
    assert_eq!(target.iter().filter(|&&byte| byte == 0xee).count(), 2048 - 60 + source_hits(&source));
    assert!(tiles.tiles[5].bytes[3..].as_flattened().iter().all(|&byte| byte == 0));
}

/// How many of the loaded bytes are equal to the filler.
fn source_hits(source: &[u8]) -> usize {
    (0..3).flat_map(|row| &source[70 + 100 * row..][..20]).filter(|&&byte| byte == 0xee).count()
}

#[test]
fn refused_configurations_change_nothing() {
    let mut tiles = TileFile::RELEASED;
    assert!(tiles.configure(&config([16; 8], [64; 8])));
    tiles.tiles[2].bytes[0][0] = 1;
    let good = config([16; 8], [64; 8]);
    let with = |place: usize, value: u8| {
        let mut config = good;
        config[place] = value;
        config
    };
    for (bad, why) in [
        (with(0, 2), "palette"),
        (with(1, 1), "start row"),
        (with(5, 1), "reserved"),
        (with(33, 1), "a ninth tile's bytes"),
        (with(57, 1), "a tenth tile's rows"),
        (with(50, 17), "17 rows"),
        (with(18, 65), "65 bytes"),
        (with(50, 0), "no rows of some bytes"),
    ] {
        assert!(!tiles.configure(&bad), "{why}");
        assert!(tiles.configured && tiles.tiles[2].bytes[0][0] == 1, "{why}");
    }
    assert!(tiles.configure(&[0; 64]), "palette 0 releases");
    assert!(!tiles.configured && tiles.tiles[2].bytes[0][0] == 0);
}

#[test]
fn tiles_that_are_not_set_up_are_refused() {
    let mut tiles = TileFile::RELEASED;
    let registers = registers(&[]);
    let memory = at(RAX, None, 0, 0);
    let needs_tiles = [
        Instruction::Zero { tile: 0 },
        Instruction::Load { tile: 0, source: memory },
        Instruction::Store { tile: 0, target: memory },
        Instruction::DotBf16 { sum: 0, left: 1, right: 2 },
    ];
    for instruction in needs_tiles {
        // SAFETY: refused before memory is touched.
        assert!(!unsafe { run(instruction, &registers, &mut tiles) }, "{instruction:?}");
    }
    // Shapes that do not fit: the left tile has 16 pairs, the right one 4 rows.
    assert!(tiles.configure(&config([16, 16, 4, 16, 16, 16, 16, 16], [64; 8])));
    // SAFETY: as above.
    assert!(!unsafe { run(needs_tiles[3], &registers, &mut tiles) });
}

/// `sum + left right` of one row, one column, and the given pairs (lower, upper) of bf16.
fn dot(sum: f32, pairs: &[[(u16, u16); 2]]) -> f32 {
    let mut tiles = TileFile::RELEASED;
    let count = pairs.len() as u8;
    assert!(tiles.configure(&config([1, 1, count, 1, 1, 1, 1, 1], [4, 4 * u16::from(count), 4, 4, 4, 4, 4, 4])));
    tiles.tiles[0].bytes[0][..4].copy_from_slice(&sum.to_le_bytes());
    let word = |(lower, upper): (u16, u16)| (u32::from(lower) | u32::from(upper) << 16).to_le_bytes();
    for (step, &[left, right]) in pairs.iter().enumerate() {
        tiles.tiles[1].bytes[0][4 * step..][..4].copy_from_slice(&word(left));
        tiles.tiles[2].bytes[step][..4].copy_from_slice(&word(right));
    }
    // SAFETY: no memory is named; the caller asked for the vector instructions.
    assert!(unsafe { run(Instruction::DotBf16 { sum: 0, left: 1, right: 2 }, &registers(&[]), &mut tiles) });
    let tile = &tiles.tiles[0].bytes;
    assert!(tile.as_flattened()[4..].iter().all(|&byte| byte == 0), "outside of the tile's size");
    f32::from_le_bytes(std::array::from_fn(|i| tile[0][i]))
}

fn bf16(value: f64) -> u16 {
    let rounded = half::bf16::from_f64(value);
    assert_eq!(rounded.to_f64(), value, "not a bf16");
    rounded.to_bits()
}

#[test]
fn products_are_rounded_as_the_manual_says() {
    if !kernels_amx::has_vector_instructions() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    let two = |exponent: i32| bf16(2f64.powi(exponent));
    let one = two(0);
    let minus_one = bf16(-1.0);
    // Two chains: the large numbers meet in the lower one and cancel before the small one of the upper chain is added.
    let cancels = [[(two(60), one), (one, one)], [(two(60), 0), (minus_one, 0)]];
    assert_eq!(dot(0.0, &cancels), 1.0);
    // The chains start at zero and reach the sum at their end: 1 + 1 + ... is not lost in 2^25 one by one.
    assert_eq!(dot(2f32.powi(25), &[[(one, one), (one, one)]; 16]), 2f32.powi(25) + 32.0);
    // Fused: 1.0078125^2 - 1 keeps the last bit of the square.
    let a = 1.0078125;
    let fused = [[(minus_one, 0), (one, 0)], [(bf16(a), 0), (bf16(a), 0)]];
    assert_eq!(f64::from(dot(0.0, &fused)), a * a - 1.0);
    // Ties to even: 2^24 + 1 and 2^24 + 3.
    assert_eq!(dot(0.0, &[[(two(24), 0), (one, 0)], [(one, 0), (one, 0)]]), 16_777_216.0);
    assert_eq!(dot(16_777_218.0, &[[(one, 0), (one, 0)]]), 16_777_220.0);
    // Denormal factors, sums and results are zeros, with their sign.
    assert_eq!(dot(0.0, &[[(0x007f, 0), (two(100), 0)]]), 0.0);
    assert_eq!(dot(f32::from_bits(0x0040_0000), &[[(0, 0), (0, 0)]]).to_bits(), 0);
    assert_eq!(dot(0.0, &[[(two(-64), 0), (two(-63), 0)]]), 0.0);
    assert_eq!(dot(0.0, &[[(two(-63), 0), (two(-63), 0)]]), f32::MIN_POSITIVE);
    // 2^-126 less three quarters of 2^-150 is denormal: to 24 bits it rounds down. Less one quarter it is not.
    let almost = |product: f64| [[(two(-63), 0), (two(-63), 0)], [(two(-75), 0), (bf16(product * 2f64.powi(-75)), 0)]];
    assert_eq!(dot(0.0, &almost(-0.75)), 0.0);
    assert_eq!(dot(0.0, &almost(-0.25)), f32::MIN_POSITIVE);
    // Infinities and what is no number.
    assert_eq!(dot(0.0, &[[(two(127), 0), (two(2), 0)]]), f32::INFINITY);
    assert!(dot(0.0, &[[(two(127), two(127)), (two(2), bf16(-4.0))]]).is_nan());
    assert!(dot(0.0, &[[(0x7fc0, 0), (one, 0)]]).is_nan());
}

#[test]
fn the_control_register_is_left_as_it_was() {
    if !kernels_amx::has_vector_instructions() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    let read = || {
        let mut value = 0u32;
        // SAFETY: stores four bytes.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value & !0x3f
    };
    let before = read();
    dot(1.0, &[[(0x3f80, 0x3f80), (0x3f80, 0x3f80)]]);
    assert_eq!(read(), before);
}
