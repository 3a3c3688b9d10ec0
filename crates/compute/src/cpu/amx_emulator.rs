//! The AMX instructions of this engine in software, so that tests run the very machine code of its micro-kernel on
//! processors without AMX. Compiled with the feature `amx-emulator` alone, never into a program that is shipped.
//!
//! A processor without AMX raises an exception at each of the instructions, which Linux hands to the thread as SIGILL.
//! [`install`] puts a handler there that decodes the instruction, does its work on the thread's own tile registers in
//! memory, moves the instruction pointer on and returns. Where another such instruction follows directly, it does that
//! one too: a signal costs more than what it is raised for. A signal that came from anything else goes to the handler
//! that was there before.
//!
//! # The handler's surroundings
//! It runs on the interrupted thread's own stack (no `SA_ONSTACK`). The signal comes from known instructions in the
//! middle of a task, never from a stack that ran over, and the frame of 3 to 4 KiB that the kernel pushes, below the 128
//! bytes under the stack pointer that belong to the interrupted function, is little beside a thread's 2 MiB; an
//! alternate stack of 8 KiB would hold hardly more than that frame. The handler allocates nothing, takes no lock and
//! prints nothing: the registers are thread-local memory without a destructor and with a constant first value, so that
//! reaching them runs no code. Executables have that memory from a thread's start; a library that is loaded later
//! (`dlopen`) would not.
//!
//! # Source
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: `LDTILECFG`, `TILERELEASE`, `TILEZERO`,
//! `TILELOADD`/`TILELOADDT1`, `TILESTORED`, `TDPBF16PS`, and the VEX prefix in chapter 2.
#![allow(unsafe_code)]

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::kernels_amx;

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// What SIGILL did before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Makes the kernels for AMX run in this process, for all its threads and until it ends. Returns whether they do: true
/// on a processor with AMX, where nothing is installed, or one with AVX-512 BF16; false on others.
pub fn install() -> bool {
    static RESULT: OnceLock<bool> = OnceLock::new();
    *RESULT.get_or_init(|| {
        if kernels_amx::is_available() {
            return true;
        }
        let done = kernels_amx::has_vector_instructions() && install_handler();
        INSTALLED.store(done, Ordering::Release);
        done
    })
}

/// Whether the emulator took the place of the processor's own instructions.
pub(super) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

fn install_handler() -> bool {
    // SAFETY: an all-zero `sigaction` is a valid value of the plain struct; the system fills in the old one. The handler
    // has the signature that SA_SIGINFO asks for. The old action is in its place before the handler can run.
    unsafe {
        let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
        if libc::sigaction(libc::SIGILL, ptr::null(), previous.as_mut_ptr()) != 0 {
            return false;
        }
        PREVIOUS.get_or_init(|| previous.assume_init());
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGILL, &raw const action, null_mut()) == 0
    }
}

thread_local! {
    static TILES: UnsafeCell<TileFile> = const { UnsafeCell::new(TileFile::RELEASED) };
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system hands a handler with SA_SIGINFO the interrupted registers, and nobody else looks at them or at
    // this thread's tiles meanwhile: no code but this handler does, and SIGILL is blocked while it runs.
    let emulated = unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        TILES.with(|tiles| {
            let tiles = &mut *tiles.get();
            let emulated = step(registers, tiles);
            // The processor would go on to the next instruction, so its first byte is there to be read.
            while emulated && step(registers, tiles) {}
            emulated
        })
    };
    if !emulated {
        // SAFETY: these are the arguments of this very signal.
        unsafe { hand_on(signal, info, context) };
    }
}

/// Gives the signal to the handler that was there before; without one, the signal ends the process as it would have.
///
/// # Safety
/// The arguments must be those of a signal handler that is running.
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    match PREVIOUS.get() {
        Some(previous) if ![libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction) => {
            // SAFETY: the flag says which of the two signatures the handler has.
            unsafe {
                if previous.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                        std::mem::transmute(previous.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(c_int) = std::mem::transmute(previous.sa_sigaction);
                    handler(signal);
                }
            }
        }
        // The instruction is run again on return, and this time it ends the process.
        // SAFETY: setting the default action is always allowed.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

type Registers = [libc::greg_t; 23];

/// Where general register 0 to 15 of an encoding lies in the system's list.
const GENERAL: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Emulates the instruction at the instruction pointer and moves that on; false, with nothing changed, if it is none of
/// ours or the processor would refuse it.
///
/// # Safety
/// The instruction pointer must point at code, and memory that the instruction names must be the interrupted program's
/// to read or write.
unsafe fn step(registers: &mut Registers, tiles: &mut TileFile) -> bool {
    let start = registers[libc::REG_RIP as usize] as usize as *const u8;
    // SAFETY: by the caller's promise.
    let Some((instruction, end)) = (unsafe { decode(start) }) else { return false };
    // SAFETY: as above.
    let done = unsafe { execute(instruction, registers, end, tiles) };
    if done {
        registers[libc::REG_RIP as usize] = end as libc::greg_t;
    }
    done
}

/// An instruction of ours; tiles by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    LoadConfig(Address),
    Release,
    Zero { tile: usize },
    Load { tile: usize, source: Address },
    Store { tile: usize, target: Address },
    DotBf16 { sum: usize, left: usize, right: usize },
}

/// A place in memory: `base + displacement`, rows at `index << scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    base: Base,
    index: Option<usize>,
    scale: u8,
    displacement: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    None,
    Register(usize),
    /// The end of the instruction.
    InstructionEnd,
}

/// Reads code byte by byte, never past what the instruction needs: the page behind it may be missing.
struct Code(*const u8);

impl Code {
    /// # Safety
    /// The byte must be readable.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: by the caller's promise.
        unsafe {
            let byte = *self.0;
            self.0 = self.0.add(1);
            byte
        }
    }

    /// # Safety
    /// Four bytes must be readable.
    unsafe fn displacement(&mut self) -> i32 {
        // SAFETY: by the caller's promise.
        i32::from_le_bytes(std::array::from_fn(|_| unsafe { self.byte() }))
    }

    /// The memory operand that ModRM names: its `mod` is not 3.
    ///
    /// # Safety
    /// The bytes that ModRM announces must be readable.
    unsafe fn address(&mut self, prefix: Prefix, mode: u8, low_bits: u8) -> Address {
        const SIB_FOLLOWS: u8 = 4;
        const NO_INDEX: usize = 4;
        const DISPLACEMENT_ALONE: u8 = 5;
        // SAFETY: the encoding says which bytes follow.
        unsafe {
            let (mut base_bits, mut index, mut scale) = (low_bits, None, 0);
            if low_bits == SIB_FOLLOWS {
                let sib = self.byte();
                let number = usize::from(sib >> 3 & 7) | prefix.index_high;
                (base_bits, index, scale) = (sib & 7, (number != NO_INDEX).then_some(number), sib >> 6);
            }
            let base = match (mode, base_bits) {
                (0, DISPLACEMENT_ALONE) if low_bits == SIB_FOLLOWS => Base::None,
                (0, DISPLACEMENT_ALONE) => Base::InstructionEnd,
                _ => Base::Register(usize::from(base_bits) | prefix.base_high),
            };
            let displacement = match mode {
                1 => i32::from(self.byte() as i8),
                2 => self.displacement(),
                _ if matches!(base, Base::Register(_)) => 0,
                _ => self.displacement(),
            };
            Address { base, index, scale, displacement }
        }
    }
}

/// What a three-byte VEX prefix says beyond the opcode map; high bits are 0 or 8.
#[derive(Clone, Copy)]
struct Prefix {
    register_high: usize,
    index_high: usize,
    base_high: usize,
    /// The third operand.
    extra: usize,
    mandatory: Mandatory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mandatory {
    None,
    P66,
    F3,
    F2,
}

/// The instruction at `start` and its end, if it is one of ours.
///
/// # Safety
/// `start` must point at code.
unsafe fn decode(start: *const u8) -> Option<(Instruction, *const u8)> {
    const VEX3: u8 = 0xc4;
    const MAP_0F38: u8 = 2;
    let mut code = Code(start);
    // SAFETY: bytes are read one after the other, as long as they are those of our instructions.
    unsafe {
        if code.byte() != VEX3 {
            return None;
        }
        let (second, third) = (code.byte(), code.byte());
        let wide_or_256_bits = third & 0x84 != 0;
        if second & 0x1f != MAP_0F38 || wide_or_256_bits {
            return None;
        }
        // Register bits of the prefix are stored inverted.
        let high = |bit: u8| if second & bit == 0 { 8 } else { 0 };
        let prefix = Prefix {
            register_high: high(0x80),
            index_high: high(0x40),
            base_high: high(0x20),
            extra: usize::from(!third >> 3 & 15),
            mandatory: [Mandatory::None, Mandatory::P66, Mandatory::F3, Mandatory::F2][usize::from(third & 3)],
        };
        let (opcode, mod_rm) = (code.byte(), code.byte());
        let instruction = operation(&mut code, prefix, opcode, mod_rm)?;
        Some((instruction, code.0))
    }
}

/// # Safety
/// As [`decode`], for what follows ModRM.
unsafe fn operation(code: &mut Code, prefix: Prefix, opcode: u8, mod_rm: u8) -> Option<Instruction> {
    const REGISTER: u8 = 3;
    let (mode, low_bits) = (mod_rm >> 6, mod_rm & 7);
    let tile = usize::from(mod_rm >> 3 & 7);
    let second = usize::from(low_bits);
    let one_tile = prefix.register_high == 0 && prefix.extra == 0;
    // SAFETY: addresses are read where ModRM announces one.
    unsafe {
        match (opcode, prefix.mandatory, mode) {
            (0x5c, Mandatory::F3, REGISTER) => {
                let tiles = prefix.register_high == 0 && prefix.base_high == 0 && prefix.extra < 8;
                let right = prefix.extra;
                let distinct = tile != second && tile != right && second != right;
                (tiles && distinct).then_some(Instruction::DotBf16 { sum: tile, left: second, right })
            }
            _ if !one_tile => None,
            (0x49, Mandatory::None, REGISTER) if mod_rm == 0xc0 => Some(Instruction::Release),
            (0x49, Mandatory::F2, REGISTER) if low_bits == 0 => Some(Instruction::Zero { tile }),
            (_, _, REGISTER) => None,
            (0x49, Mandatory::None, _) if tile == 0 => {
                Some(Instruction::LoadConfig(code.address(prefix, mode, low_bits)))
            }
            // Tiles in memory must be named with an index.
            (0x4b, mandatory, _) if low_bits == 4 => match mandatory {
                Mandatory::F2 | Mandatory::P66 => {
                    Some(Instruction::Load { tile, source: code.address(prefix, mode, low_bits) })
                }
                Mandatory::F3 => Some(Instruction::Store { tile, target: code.address(prefix, mode, low_bits) }),
                Mandatory::None => None,
            },
            _ => None,
        }
    }
}

impl Address {
    /// Where it begins, and the distance of its rows in bytes.
    fn resolve(self, registers: &Registers, end: *const u8) -> (usize, usize) {
        let general = |number: usize| registers[GENERAL[number] as usize] as usize;
        let base = match self.base {
            Base::None => 0,
            Base::Register(number) => general(number),
            Base::InstructionEnd => end as usize,
        };
        let stride = self.index.map_or(0, |index| general(index) << self.scale);
        (base.wrapping_add(self.displacement as usize), stride)
    }
}

/// A tile register and its present size. What lies outside of that is zero.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile {
    bytes: [[u8; 64]; 16],
    rows: u8,
    row_bytes: u8,
}

/// The tile registers of a thread.
struct TileFile {
    configured: bool,
    tiles: [Tile; 8],
}

impl TileFile {
    const RELEASED: Self = Self { configured: false, tiles: [Tile { bytes: [[0; 64]; 16], rows: 0, row_bytes: 0 }; 8] };

    /// Takes over a configuration of 64 bytes; false if the processor would refuse it.
    fn configure(&mut self, config: &[u8; 64]) -> bool {
        let (palette, start_row) = (config[0], config[1]);
        if palette == 0 {
            self.release();
            return true;
        }
        let reserved = [&config[2..16], &config[32..48], &config[56..64]].into_iter().flatten().any(|&byte| byte != 0);
        if palette != 1 || start_row != 0 || reserved {
            return false;
        }
        let row_bytes = |tile: usize| u16::from_le_bytes([config[16 + 2 * tile], config[17 + 2 * tile]]);
        let rows = |tile: usize| config[48 + tile];
        for tile in 0..8 {
            let empty = (rows(tile) == 0, row_bytes(tile) == 0);
            if rows(tile) > 16 || row_bytes(tile) > 64 || empty.0 != empty.1 {
                return false;
            }
        }
        self.release();
        self.configured = true;
        for (number, tile) in self.tiles.iter_mut().enumerate() {
            (tile.rows, tile.row_bytes) = (rows(number), row_bytes(number) as u8);
        }
        true
    }

    /// In place: a value of 8 KiB would travel over the stack.
    fn release(&mut self) {
        self.configured = false;
        for tile in &mut self.tiles {
            (tile.rows, tile.row_bytes) = (0, 0);
            tile.bytes.as_flattened_mut().fill(0);
        }
    }

    /// The tile, if it is set up.
    fn get(&mut self, tile: usize) -> Option<&mut Tile> {
        (self.configured && self.tiles[tile].rows > 0).then(|| &mut self.tiles[tile])
    }
}

/// Does what the instruction does; false, with nothing changed, if the processor would refuse it.
///
/// # Safety
/// Memory that the instruction names must be readable or, for a store, writable.
unsafe fn execute(instruction: Instruction, registers: &Registers, end: *const u8, tiles: &mut TileFile) -> bool {
    match instruction {
        Instruction::LoadConfig(address) => {
            let (start, _) = address.resolve(registers, end);
            // SAFETY: 64 bytes by the caller's promise; a plain array has no alignment.
            tiles.configure(unsafe { &*(start as *const [u8; 64]) })
        }
        Instruction::Release => {
            tiles.release();
            true
        }
        Instruction::Zero { tile } => tiles.get(tile).map(|tile| tile.bytes.as_flattened_mut().fill(0)).is_some(),
        Instruction::Load { tile, source } => {
            let Some(tile) = tiles.get(tile) else { return false };
            let (start, stride) = source.resolve(registers, end);
            tile.bytes.as_flattened_mut().fill(0);
            for row in 0..usize::from(tile.rows) {
                let from = start.wrapping_add(stride.wrapping_mul(row)) as *const u8;
                // SAFETY: `row_bytes` bytes of each row by the caller's promise; at most the 64 of the register.
                unsafe { ptr::copy_nonoverlapping(from, tile.bytes[row].as_mut_ptr(), usize::from(tile.row_bytes)) };
            }
            true
        }
        Instruction::Store { tile, target } => {
            let Some(tile) = tiles.get(tile) else { return false };
            let (start, stride) = target.resolve(registers, end);
            for row in 0..usize::from(tile.rows) {
                let to = start.wrapping_add(stride.wrapping_mul(row)) as *mut u8;
                // SAFETY: as for a load, for writing.
                unsafe { ptr::copy_nonoverlapping(tile.bytes[row].as_ptr(), to, usize::from(tile.row_bytes)) };
            }
            true
        }
        Instruction::DotBf16 { sum, left, right } => {
            if !tiles.configured {
                return false;
            }
            let Ok([sum, left, right]) = tiles.tiles.get_disjoint_mut([sum, left, right]) else { return false };
            let shapes_fit = sum.rows > 0
                && sum.rows == left.rows
                && sum.row_bytes == right.row_bytes
                && left.row_bytes == 4 * right.rows
                && [&*sum, left, right].iter().all(|tile| tile.row_bytes > 0 && tile.row_bytes.is_multiple_of(4));
            if shapes_fit {
                // SAFETY: the emulator is only installed where the vector instructions were detected.
                unsafe { dot_bf16(sum, left, right) };
            }
            shapes_fit
        }
    }
}

/// `sum += left right`: for each element two chains of fused multiply-adds from zero, over the lower and the upper halves
/// of the pairs; then the chains are added to each other, then to the sum.
///
/// The instruction treats denormal numbers as zero on both sides, rounds to the nearest even and ignores MXCSR. Vector
/// instructions under an MXCSR that says the same do the same, down to when a result counts as denormal (after
/// rounding). It is all one block of assembly since compiled code must not run under a changed MXCSR.
///
/// # Safety
/// The machine must have AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn dot_bf16(sum: &mut Tile, left: &Tile, right: &Tile) {
    /// For MXCSR: flush to zero, denormals are zero, all exceptions masked, nearest even.
    static MODE: u32 = 0x9fc0;
    let mut saved = 0u32;
    let columns = usize::from(sum.row_bytes) / 4;
    let pairs = usize::from(right.rows);
    for row in 0..usize::from(sum.rows) {
        // SAFETY: reads `pairs` <= 16 pairs of the left row and rows of the right tile, reads and writes one row of the
        // sum; the registers are full 64-byte rows. MXCSR is as before at the end.
        unsafe {
            asm!(
                "stmxcsr [{saved}]",
                "ldmxcsr [{mode}]",
                "kmovw k1, {mask:e}",
                "vpxord {lower}, {lower}, {lower}",
                "vpxord {upper}, {upper}, {upper}",
                "2:",
                "vpbroadcastd {a}, dword ptr [{left}]",
                "vmovdqu32 {b}, zmmword ptr [{right}]",
                "vpslld {a_half}, {a}, 16",
                "vpslld {b_half}, {b}, 16",
                "vfmadd231ps {lower}, {a_half}, {b_half}",
                "vpsrld {a}, {a}, 16",
                "vpsrld {b}, {b}, 16",
                "vpslld {a}, {a}, 16",
                "vpslld {b}, {b}, 16",
                "vfmadd231ps {upper}, {a}, {b}",
                "add {left}, 4",
                "add {right}, 64",
                "dec {pairs}",
                "jnz 2b",
                "vaddps {lower}, {lower}, {upper}",
                "vaddps {lower}{{k1}}{{z}}, {lower}, zmmword ptr [{sum}]",
                "vmovups zmmword ptr [{sum}], {lower}",
                "ldmxcsr [{saved}]",
                saved = in(reg) &raw mut saved,
                mode = in(reg) &raw const MODE,
                mask = in(reg) (1u32 << columns) - 1,
                left = inout(reg) left.bytes[row].as_ptr() => _,
                right = inout(reg) right.bytes.as_ptr() => _,
                sum = in(reg) sum.bytes[row].as_mut_ptr(),
                pairs = inout(reg) pairs => _,
                lower = out(zmm_reg) _,
                upper = out(zmm_reg) _,
                a = out(zmm_reg) _,
                b = out(zmm_reg) _,
                a_half = out(zmm_reg) _,
                b_half = out(zmm_reg) _,
                out("k1") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests;
