//! Slabs of memory and the blocks that they are cut into: the only `unsafe` code of the pool.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::error::MathError;

/// Alignment of blocks in bytes: a cache line, a vector register.
pub(super) const ALIGNMENT: usize = 64;

/// Size and alignment of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Size of a page, where the system does not tell: no system has smaller ones.
const LEAST_PAGE: usize = 4096;

/// One allocation, cut into equal blocks. It must outlive them, which the pool sees to: blocks are
/// in its free list or in a [`Limb`](super::Limb), which keeps the pool alive.
#[derive(Debug)]
pub(super) struct Slab {
    base: NonNull<u8>,
    layout: Layout,
    block_bytes: usize,
    /// Whether the blocks have been handed out.
    taken: bool,
}

/// Exclusive ownership of one block of a slab.
#[derive(Debug)]
pub(super) struct Block {
    base: NonNull<u64>,
    words: usize,
}

// SAFETY: a slab is plain memory; it has no ties to a thread.
unsafe impl Send for Slab {}
// SAFETY: a block owns its words exclusively, like a `Box<[u64]>`.
unsafe impl Send for Block {}
// SAFETY: a shared block only gives out shared slices, like a `Box<[u64]>`.
unsafe impl Sync for Block {}

impl Slab {
    /// Takes `blocks` blocks of `block_bytes` (a multiple of the alignment) from the system, zeroed.
    pub(super) fn map(block_bytes: usize, blocks: usize) -> Result<Self, MathError> {
        assert!(
            block_bytes.is_multiple_of(ALIGNMENT) && block_bytes > 0 && blocks > 0,
            "shape of a slab"
        );
        let refused = |bytes: usize| MathError::OutOfMemory {
            bytes: bytes as u64,
        };
        let bytes = block_bytes.checked_mul(blocks).ok_or(refused(usize::MAX))?;
        let alignment = if bytes >= HUGE_PAGE {
            HUGE_PAGE
        } else {
            ALIGNMENT
        };
        let layout = Layout::from_size_align(bytes, alignment).map_err(|_| refused(bytes))?;
        let base = system::allocate(layout).ok_or(refused(bytes))?;
        Ok(Self {
            base,
            layout,
            block_bytes,
            taken: false,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.layout.size()
    }

    pub(super) fn blocks(&self) -> usize {
        self.bytes() / self.block_bytes
    }

    /// Hands out the blocks, in descending order of address.
    ///
    /// # Panics
    /// If that has been done before.
    pub(super) fn take_blocks(&mut self) -> impl Iterator<Item = Block> + use<> {
        assert!(!self.taken, "the blocks of a slab are handed out once");
        self.taken = true;
        let (base, block_bytes) = (self.base, self.block_bytes);
        (0..self.blocks()).rev().map(move |i| {
            // SAFETY: block i lies within the allocation, which is blocks * block_bytes long.
            let start = unsafe { base.add(i * block_bytes) };
            Block {
                base: start.cast(),
                words: block_bytes / size_of::<u64>(),
            }
        })
    }

    /// Writes one word of every page, so that the system provides them now.
    fn touch(&mut self) {
        assert!(
            !self.taken,
            "pages are touched before the blocks are handed out"
        );
        for offset in (0..self.bytes()).step_by(system::page_bytes()) {
            // SAFETY: the offset lies within the allocation, and no block has been handed out.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        system::release(self.base, self.layout);
    }
}

impl Block {
    pub(super) fn words(&self) -> &[u64] {
        // SAFETY: the block is aligned, initialised (zeroed by the system or written since), alive as
        // long as its slab, and owned exclusively by self, which is borrowed.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `words`, with self borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.words) }
    }
}

/// Touches the pages of fresh slabs, on several threads if there is much to touch.
pub(super) fn touch(slabs: &mut [Slab]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let per_thread = slabs.len().div_ceil(cores.min(4)).max(1);
    std::thread::scope(|scope| {
        let mut chunks = slabs.chunks_mut(per_thread);
        let own = chunks.next();
        for chunk in chunks {
            scope.spawn(move || chunk.iter_mut().for_each(Slab::touch));
        }
        own.into_iter().flatten().for_each(Slab::touch);
    });
}

/// Memory from the system: zeroed, and not touched before its first use where that is possible.
mod system {
    use super::*;

    /// Size of the pages that the system hands out.
    #[cfg(unix)]
    pub(super) fn page_bytes() -> usize {
        // SAFETY: the call has no preconditions.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes)
            .ok()
            .filter(|bytes| bytes.is_power_of_two())
            .unwrap_or(LEAST_PAGE)
    }

    #[cfg(not(unix))]
    pub(super) fn page_bytes() -> usize {
        LEAST_PAGE
    }

    #[cfg(target_os = "linux")]
    pub(super) fn allocate(layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() < HUGE_PAGE {
            return heap(layout);
        }
        // Room to align by hand; what is cut off is given back.
        let total = layout.size().checked_add(layout.align())?;
        // SAFETY: an anonymous private mapping at an address of the system's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                total,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = NonNull::new(start.cast::<u8>())?;
        let before = start.align_offset(layout.align());
        // Mappings end on page boundaries.
        let end = (before + layout.size()).next_multiple_of(page_bytes());
        // SAFETY: all three ranges lie within the mapping; the first and last are not used by anyone,
        // and the advice does not change contents.
        unsafe {
            let base = start.add(before);
            if before > 0 {
                libc::munmap(start.as_ptr().cast(), before);
            }
            if end < total {
                libc::munmap(start.add(end).as_ptr().cast(), total - end);
            }
            libc::madvise(base.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
            Some(base)
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn release(base: NonNull<u8>, layout: Layout) {
        if layout.size() < HUGE_PAGE {
            return heap_release(base, layout);
        }
        // SAFETY: the mapping was made by `allocate` with this layout, and no block is alive.
        unsafe {
            libc::munmap(
                base.as_ptr().cast(),
                layout.size().next_multiple_of(page_bytes()),
            );
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) use heap as allocate;
    #[cfg(not(target_os = "linux"))]
    pub(super) use heap_release as release;

    pub(super) fn heap(layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout has a size above zero.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
    }

    pub(super) fn heap_release(base: NonNull<u8>, layout: Layout) {
        // SAFETY: the memory was taken by `heap` with this layout, and no block is alive.
        unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn pages_are_as_large_as_the_system_says() {
        let output = std::process::Command::new("getconf")
            .arg("PAGESIZE")
            .output();
        let output = output.expect("a POSIX system has getconf");
        let text = String::from_utf8(output.stdout).expect("a number");
        assert_eq!(system::page_bytes().to_string(), text.trim());
    }

    #[test]
    fn slabs_of_any_size_are_zeroed_touched_and_given_back() {
        for blocks in [1, 3, 33, 1025] {
            for block_bytes in [64, 4096 + 64, 65_536 + 1088] {
                let mut slab = Slab::map(block_bytes, blocks).expect("memory");
                touch(std::slice::from_mut(&mut slab));
                let taken: Vec<Block> = slab.take_blocks().collect();
                assert_eq!(taken.len(), blocks);
                assert!(taken.iter().all(|b| b.words().iter().all(|w| *w == 0)));
            }
        }
    }
}
