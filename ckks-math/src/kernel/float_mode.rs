//! The processor's floating-point mode.
//!
//! The kernel for AVX-512 compares words as if they were floating-point numbers, and most of them look like denormal
//! ones. The one for AVX2 calculates with floating-point numbers, and relies on rounding to the nearest. A host program may have
//! told the processor to take denormal numbers for zero, to flush them to zero, to trap where one occurs, or to round
//! otherwise; so the mode is set for each operation, and set back.

use std::arch::asm;

/// Denormal numbers as they are, rounding to the nearest, no traps.
const STANDARD: u32 = 0x1f80;

/// The bits of the control register that only record what happened.
const RECORD: u32 = 0x3f;

/// While it lives, the thread's floating-point mode is the standard one.
pub(super) struct StandardMode {
    /// What to set back.
    before: Option<u32>,
}

impl StandardMode {
    /// Sets the mode, unless it is the standard one.
    #[inline]
    pub(super) fn set() -> Self {
        let found = read();
        if found & !RECORD == STANDARD {
            return Self { before: None };
        }
        write(STANDARD);
        Self {
            before: Some(found),
        }
    }
}

impl Drop for StandardMode {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            write(before);
        }
    }
}

/// The control register of the thread.
#[inline]
fn read() -> u32 {
    let mut mode = 0u32;
    // SAFETY: the instruction, which every x86-64 processor has, writes the four bytes of `mode`.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags));
    }
    mode
}

/// Sets the control register of the thread.
#[inline]
fn write(mode: u32) {
    // SAFETY: the instruction reads the four bytes of `mode`. Values are the standard mode or what `read` gave, which have
    // no reserved bits. The block counts as one that accesses memory, so that no load or store of words moves across it.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags));
    }
}

/// Runs `f` as a host program would that has set the floating-point control register to `mode`.
#[cfg(test)]
pub(crate) fn in_mode<T>(mode: u32, f: impl FnOnce() -> T) -> T {
    let before = read();
    write(mode);
    let out = f();
    let after = read();
    write(before);
    assert_eq!(after & mode, mode, "the mode of the host program");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_standard_while_the_guard_lives_and_set_back_then() {
        let host = 0xffc0;
        std::thread::spawn(move || {
            write(host);
            let inside = {
                let _mode = StandardMode::set();
                read() & !RECORD
            };
            let after = read();
            write(STANDARD);
            assert_eq!((inside, after & !RECORD), (STANDARD, host));
        })
        .join()
        .unwrap();
    }
}
