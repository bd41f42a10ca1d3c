//! The arena: pages in memory, at places that never move.
//! Owns: [`Frames`] (shared, for readers), [`FrameWriter`] (the writer's only handle), and
//! the memory behind them. One of the rooms where `unsafe` is allowed.
//! Keeps I1: a frame is written only while it is *fresh*, that is, by the request that allocated
//! it, before anyone else knows its number.
//! Absent on purpose: which page lies in which frame (`slots`), and who still reads (`reclaim`).
//!
//! # The life of a frame, and why its bytes are never written while they are read
//! 1. *Free*: its number is in the pool, and nobody else knows it.
//! 2. *Fresh*: allocated by the request in progress. Only [`FrameWriter::bytes_mut`] writes,
//!    through `&mut` and after a check that the frame is fresh; until the request ends, its number
//!    is in no published tree, so no reader asks for it. Or it is being *filled* by one reader, who
//!    alone knows the number until it is put into a slot (Release there, Acquire by whoever loads
//!    the slot).
//! 3. *Shared*: the request has ended. Nobody writes.
//! 4. [`FrameWriter::reuse`] makes it free. Its caller owes the reclaim rule: no pin lies between
//!    the frame's birth and end. The last access through a pin comes before its lease's flag
//!    (Release), that before the reclaimer's look at it (Acquire), that before this call and the
//!    next write.
//!
//! A frame of several pages is an overflow run: an allocation of its own, given back when reused.
//! One of a part of a page holds a delta (see `page::delta`).

use crate::page::delta::{SIZES, Size};
use crate::{
    error::{Error, Resource, Result},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{
            AtomicPtr,
            Ordering::{Acquire, Release},
        },
        lock,
    },
};
use std::ptr;

use memory::Block;

/// The number of a frame. Its top bits tell its [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(pub u32);

/// What a frame holds: a page, a run of several, or a delta of one of its sizes. Those of each
/// shape have numbers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(u8);

/// How many shapes there are.
pub const SHAPES: usize = 2 + SIZES;

impl Shape {
    /// A page.
    pub const PAGE: Shape = Shape(0);
    /// A run of several pages.
    pub const RUN: Shape = Shape(1);

    /// All shapes, in their order.
    pub fn all() -> impl Iterator<Item = Shape> {
        (0..SHAPES as u8).map(Shape)
    }

    /// A delta.
    pub fn delta(size: Size) -> Shape {
        Shape(2 + size.index() as u8)
    }

    /// So many pages.
    fn of(pages: u32) -> Shape {
        if pages == 1 { Shape::PAGE } else { Shape::RUN }
    }

    /// Its place in an array of all shapes.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The size of a delta.
    #[inline]
    fn size(self) -> Option<Size> {
        Size::ALL.get(self.index().checked_sub(2)?).copied()
    }

    /// The length of a frame of `pages` pages, or of a delta.
    pub fn bytes(self, pages: u32, page_bytes: usize) -> usize {
        self.size().map_or(pages as usize * page_bytes, |size| size.bytes(page_bytes))
    }
}

impl FrameId {
    /// What the frame holds, and its number among its like.
    #[inline]
    pub fn place(self) -> (Shape, usize) {
        (Shape((self.0 >> NUMBER_BITS) as u8), (self.0 & ((1 << NUMBER_BITS) - 1)) as usize)
    }

    /// The frame of a [`place`](Self::place).
    pub fn at(shape: Shape, number: usize) -> FrameId {
        FrameId(number as u32 | u32::from(shape.0) << NUMBER_BITS)
    }

    /// Whether it holds a delta.
    #[inline]
    pub fn is_delta(self) -> bool {
        self.place().0.size().is_some()
    }
}

/// The bits of a number among its like.
const NUMBER_BITS: u32 = 29;
/// Two numbers less than there are, because a slot's word has two other meanings.
const NUMBERS_MAX: u32 = (1 << NUMBER_BITS) - 2;
const _: () = assert!(SHAPES <= 1 << (u32::BITS - NUMBER_BITS));

/// The length of the first chunk, in frames or runs; each further one is twice as long.
const FIRST_CHUNK: u32 = if cfg!(loom) { 2 } else { 64 };
const CHUNKS: usize = 32 - FIRST_CHUNK.trailing_zeros() as usize;
const _: () = assert!(FIRST_CHUNK.is_power_of_two());

/// The chunk of a frame or run, and its place in it.
#[inline]
fn place(number: u32) -> (usize, usize) {
    let number = number + FIRST_CHUNK;
    let chunk = number.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (number - (FIRST_CHUNK << chunk)) as usize)
}

/// The arena as readers and the writer share it.
pub struct Frames {
    page_bytes: usize,
    cache_bytes: usize,
    /// By shape; none of runs.
    blocks: Box<[[OnceLock<Block>; CHUNKS]; SHAPES]>,
    runs: Box<[OnceLock<Box<[RunPlace]>>; CHUNKS]>,
    pool: Mutex<Pool>,
}

/// Where a run's memory is; null while its number is free.
struct RunPlace(AtomicPtr<Block>);

/// What a number in the pool is at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    /// Allocated by the writer.
    Written,
    /// Filled from the page file by a reader.
    Filled,
}

#[derive(Default)]
struct Pool {
    /// By shape.
    numbers: [Numbers; SHAPES],
    written_bytes: usize,
    filled_bytes: usize,
}

#[derive(Default)]
struct Numbers {
    /// Last freed, first used: it is warm.
    free: Vec<u32>,
    uses: Vec<Use>,
}

impl Frames {
    /// An arena of frames of `page_bytes`, and the handle that writes in it. Readers may fill
    /// frames up to `cache_bytes` in all.
    pub fn new(page_bytes: usize, cache_bytes: usize) -> (Arc<Frames>, FrameWriter) {
        let frames = Arc::new(Frames {
            page_bytes,
            cache_bytes,
            blocks: Box::new(std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new()))),
            runs: Box::new(std::array::from_fn(|_| OnceLock::new())),
            pool: Mutex::new(Pool::default()),
        });
        let writer = FrameWriter {
            frames: Arc::clone(&frames),
            made_by: std::array::from_fn(|_| Vec::new()),
            request: 1,
        };
        (frames, writer)
    }

    /// The bytes of a frame, all its pages. For readers: of a frame that a slot names and a pin
    /// holds. The writer asks its own handle.
    #[inline]
    pub fn bytes(&self, frame: FrameId) -> &[u8] {
        let (block, piece) = self.find(frame);
        // SAFETY: not written while borrowed: a slot named the frame, so it is shared, and the
        // caller's pin keeps it from being reused (file head, 3 and 4).
        unsafe { block.piece(piece) }
    }

    /// Fills a frame of `pages` pages for a page that has none. `write` gets all its bytes, whose
    /// former content means nothing.
    ///
    /// # Errors
    /// [`Error::Full`] if filled frames would exceed the limit; else what `write` answers. Then
    /// nothing has changed.
    pub fn fill(
        &self,
        pages: u32,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Filled<'_>> {
        let frame = self.take(Shape::of(pages), pages, Use::Filled)?;
        // From here on the frame goes back if `write` fails or panics.
        let filled = Filled { frames: self, frame, kept: false };
        let (block, piece) = self.find(frame);
        // SAFETY: the only access: the number just came from the pool and is not told to anyone
        // yet.
        unsafe { block.lend(piece, write) }?;
        Ok(filled)
    }

    /// The size of a page, in bytes.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The bytes of all frames that the writer allocated and nobody has reused yet.
    pub fn written_bytes(&self) -> usize {
        lock(&self.pool).written_bytes
    }

    /// The bytes of all frames that readers filled and nobody has reused yet.
    pub fn filled_bytes(&self) -> usize {
        lock(&self.pool).filled_bytes
    }

    /// The memory of a frame: a block, and which piece of it.
    #[inline]
    fn find(&self, frame: FrameId) -> (&Block, usize) {
        let (shape, number) = frame.place();
        if shape == Shape::RUN {
            return (self.find_run(frame), 0);
        }
        let (chunk, index) = place(number as u32);
        let blocks = &self.blocks[shape.index()];
        (blocks[chunk].get().expect("a frame's number comes from the arena"), index)
    }

    fn find_run(&self, frame: FrameId) -> &Block {
        let (chunk, index) = place(frame.place().1 as u32);
        let places = self.runs[chunk].get().expect("a run's number comes from the arena");
        // Acquire: pairs with the Release in `take`; the block's own fields were written before.
        let block = places[index].0.load(Acquire);
        assert!(!block.is_null(), "a run is asked for only while it is in use");
        // SAFETY: made by `Box::into_raw` in `take`, initialized before its address was stored, and
        // freed only by `give_back`, whose callers owe the reclaim rule, or by `drop`.
        unsafe { &*block }
    }

    /// Takes a frame out of the pool, with memory behind it.
    fn take(&self, shape: Shape, pages: u32, by: Use) -> Result<FrameId> {
        assert!(pages > 0, "a frame holds at least a page");
        let full = |what| Error::Full { what };
        let memory = if by == Use::Filled { Resource::CacheBytes } else { Resource::DirtyBytes };
        let bytes = shape.bytes(pages, self.page_bytes);
        let mut pool = lock(&self.pool);
        if by == Use::Filled && pool.filled_bytes + bytes > self.cache_bytes {
            return Err(full(Resource::CacheBytes));
        }
        let number = pool.numbers[shape.index()].next().ok_or(full(memory))?;
        let (chunk, index) = place(number);
        if shape == Shape::RUN {
            let block = Box::new(Block::new(1, bytes).ok_or(full(memory))?);
            let places = self.runs[chunk].get_or_init(|| {
                let empty = |_| RunPlace(AtomicPtr::new(ptr::null_mut()));
                (0..FIRST_CHUNK << chunk).map(empty).collect()
            });
            // Release: pairs with the Acquire in `find_run`.
            places[index].0.store(Box::into_raw(block), Release);
        } else {
            let blocks = &self.blocks[shape.index()];
            if blocks[chunk].get().is_none() {
                let pieces = (FIRST_CHUNK as usize) << chunk;
                let block = Block::new(pieces, bytes).ok_or(full(memory))?;
                // Set only here, under the pool's lock.
                let _ = blocks[chunk].set(block);
            }
        }
        pool.numbers[shape.index()].take(number, by);
        *pool.bytes(by) += bytes;
        Ok(FrameId::at(shape, number as usize))
    }

    /// Puts a frame back into the pool. Whoever calls this knows that nobody else reads it.
    fn give_back(&self, frame: FrameId) {
        let mut pool = lock(&self.pool);
        let (shape, number) = frame.place();
        let mut bytes = shape.bytes(1, self.page_bytes);
        if shape == Shape::RUN {
            bytes = self.find_run(frame).piece_bytes();
            let (chunk, index) = place(number as u32);
            let place = &self.runs[chunk].get().expect("found above")[index];
            // Acquire: pairs with the Release in `take`.
            let block = place.0.swap(ptr::null_mut(), Acquire);
            // SAFETY: made by `Box::into_raw` in `take`; the swap makes this the only call that
            // frees it; nobody reads it, as this function's callers know.
            drop(unsafe { Box::from_raw(block) });
        }
        let by = pool.numbers[shape.index()].give_back(number as u32);
        *pool.bytes(by) -= bytes;
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        for place in self.runs.iter().filter_map(OnceLock::get).flatten() {
            let block = place.0.swap(ptr::null_mut(), Acquire);
            if !block.is_null() {
                // SAFETY: made by `Box::into_raw` in `take` and not freed since, or it would be
                // null; `&mut self` means that nobody borrows it.
                drop(unsafe { Box::from_raw(block) });
            }
        }
    }
}

impl Pool {
    fn bytes(&mut self, by: Use) -> &mut usize {
        match by {
            Use::Written => &mut self.written_bytes,
            Use::Filled => &mut self.filled_bytes,
            Use::Free => unreachable!("free frames are not counted"),
        }
    }
}

impl Numbers {
    /// The number to use next; none if all have been used. It stays free.
    fn next(&self) -> Option<u32> {
        let fresh = || u32::try_from(self.uses.len()).ok().filter(|number| *number < NUMBERS_MAX);
        self.free.last().copied().or_else(fresh)
    }

    fn take(&mut self, number: u32, by: Use) {
        if self.free.pop().is_none() {
            self.uses.push(Use::Free);
        }
        self.uses[number as usize] = by;
    }

    fn give_back(&mut self, number: u32) -> Use {
        let by = std::mem::replace(&mut self.uses[number as usize], Use::Free);
        assert!(by != Use::Free, "a frame is given back once");
        self.free.push(number);
        by
    }
}

/// A frame that a reader has filled and nobody else knows. Dropped, it goes back to the pool.
pub struct Filled<'a> {
    frames: &'a Frames,
    frame: FrameId,
    kept: bool,
}

impl Filled<'_> {
    /// The frame's number, to be put into the page's slot.
    pub fn id(&self) -> FrameId {
        self.frame
    }

    /// The frame is now named by a slot; it comes back through [`FrameWriter::reuse`].
    pub fn keep(mut self) -> FrameId {
        self.kept = true;
        self.frame
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.frames.give_back(self.frame);
        }
    }
}

/// The writer's handle: the only way to write in a frame.
pub struct FrameWriter {
    frames: Arc<Frames>,
    /// By shape, for each frame the request that allocated it; 0 if it is shared or free.
    made_by: [Vec<u64>; SHAPES],
    /// The request in progress, counted from 1.
    request: u64,
}

impl FrameWriter {
    /// A fresh frame of `pages` pages. Its former content means nothing; it is not zeroed.
    ///
    /// # Errors
    /// [`Error::Full`] if the machine has no memory for it. The limit on dirty bytes is the pager's
    /// to keep; [`Frames::written_bytes`] is what it compares.
    pub fn alloc(&mut self, pages: u32) -> Result<FrameId> {
        self.alloc_shape(Shape::of(pages), pages)
    }

    /// A fresh frame for a delta, as [`alloc`](Self::alloc).
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn alloc_delta(&mut self, size: Size) -> Result<FrameId> {
        self.alloc_shape(Shape::delta(size), 1)
    }

    fn alloc_shape(&mut self, shape: Shape, pages: u32) -> Result<FrameId> {
        let frame = self.frames.take(shape, pages, Use::Written)?;
        let (request, made_by) = (self.request, self.made_by(frame));
        *made_by = request;
        Ok(frame)
    }

    /// The bytes of a frame, fresh or shared.
    #[inline]
    pub fn bytes(&self, frame: FrameId) -> &[u8] {
        self.frames.bytes(frame)
    }

    /// The bytes of a fresh frame, to be written.
    ///
    /// # Panics
    /// If the request in progress did not make it: others may be reading (I1).
    pub fn bytes_mut(&mut self, frame: FrameId) -> &mut [u8] {
        assert!(self.is_fresh(frame), "only a fresh frame is written");
        let (block, piece) = self.frames.find(frame);
        // SAFETY: exclusive: fresh, so its number is in no published tree and no reader asks for it
        // (file head, 2); this handle is the only one, and it is borrowed mutably.
        unsafe { block.piece_mut(piece) }
    }

    /// Whether the request in progress made this frame.
    #[inline]
    pub fn is_fresh(&self, frame: FrameId) -> bool {
        let (shape, number) = frame.place();
        self.made_by[shape.index()].get(number) == Some(&self.request)
    }

    /// Ends the request: every fresh frame becomes shared, and is never written again until reused.
    pub fn share(&mut self) {
        self.request += 1;
    }

    /// Makes a frame free again: a fresh one that its request gives up, or a shared one that the
    /// reclaimer has let go.
    ///
    /// # Panics
    /// If it is free already: one frame would be given to two pages.
    pub fn reuse(&mut self, frame: FrameId) {
        *self.made_by(frame) = 0;
        self.frames.give_back(frame);
    }

    /// The arena that readers share.
    pub fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    fn made_by(&mut self, frame: FrameId) -> &mut u64 {
        let (shape, number) = frame.place();
        let made_by = &mut self.made_by[shape.index()];
        if made_by.len() <= number {
            made_by.resize(number + 1, 0);
        }
        &mut made_by[number]
    }
}

#[cfg(not(loom))]
mod memory {
    //! The memory of frames: one allocation, cut into pieces of equal length.
    use memmap2::{MmapMut, MmapRaw};
    use std::{
        alloc::{Layout, alloc_zeroed, dealloc},
        ptr::NonNull,
        slice,
    };

    /// Pieces begin where pages of the machine do.
    const ALIGN: usize = 4096;
    /// From here on memory is mapped, in huge pages: a first touch costs as much as a copy else.
    const MAPPED_BYTES_MIN: usize = 2 << 20;

    /// Where a block's memory comes from, and goes back to.
    enum Source {
        Heap(NonNull<u8>, Layout),
        Mapped(#[expect(dead_code, reason = "unmapped when it is dropped")] MmapRaw),
    }

    /// One allocation, cut into pieces of equal length.
    pub struct Block {
        source: Source,
        /// The first piece; `pieces * piece_bytes` from here lie inside the allocation.
        base: NonNull<u8>,
        pieces: usize,
        piece_bytes: usize,
    }

    // SAFETY: the memory is owned; what may be done with it from which thread is the duty of the
    // callers of `piece` and `piece_mut`.
    unsafe impl Send for Block {}
    // SAFETY: as above; `&Block` alone gives no access to the bytes.
    unsafe impl Sync for Block {}

    impl Block {
        /// Zeroed memory for `pieces` of `piece_bytes`; none if there is not that much.
        pub fn new(pieces: usize, piece_bytes: usize) -> Option<Block> {
            let bytes = pieces.checked_mul(piece_bytes)?;
            if bytes >= MAPPED_BYTES_MIN {
                let mapped = MmapMut::map_anon(bytes).ok()?;
                // A hint: where there are no huge pages small ones do.
                #[cfg(target_os = "linux")]
                let _ = mapped.advise(memmap2::Advice::HugePage);
                let mapped = MmapRaw::from(mapped); // begins with a page, and is zero
                let base = NonNull::new(mapped.as_mut_ptr())?;
                return Some(Block { source: Source::Mapped(mapped), base, pieces, piece_bytes });
            }
            let bytes = bytes.checked_add(ALIGN)?;
            // Aligned by hand: asked for zeroed memory at a great alignment, std writes the zeros
            // itself and touches every page; at this one the system hands out pages that cost
            // nothing until used.
            let layout = Layout::from_size_align(bytes, 16).ok()?;
            // SAFETY: the layout's size is at least ALIGN, not zero.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            let skip = start.align_offset(ALIGN);
            assert!(skip <= ALIGN, "a byte pointer can be aligned");
            // SAFETY: `skip <= ALIGN`, and the allocation has ALIGN bytes beyond the pieces.
            let base = unsafe { start.add(skip) };
            let source = Source::Heap(start, layout);
            Some(Block { source, base, pieces, piece_bytes })
        }

        /// The length of a piece, in bytes.
        pub fn piece_bytes(&self) -> usize {
            self.piece_bytes
        }

        #[inline]
        fn at(&self, piece: usize) -> *mut u8 {
            assert!(piece < self.pieces);
            // SAFETY: in bounds: `piece < pieces`, and all pieces lie inside the allocation.
            unsafe { self.base.as_ptr().add(piece * self.piece_bytes) }
        }

        /// The bytes of a piece.
        ///
        /// # Safety
        /// Nobody writes the piece while the answer lives.
        #[inline]
        pub unsafe fn piece(&self, piece: usize) -> &[u8] {
            // SAFETY: in bounds (`at`); initialized (zeroed when allocated); not written meanwhile,
            // as the caller promises; freed only when `self` is dropped.
            unsafe { slice::from_raw_parts(self.at(piece), self.piece_bytes) }
        }

        /// The bytes of a piece, to be written.
        ///
        /// # Safety
        /// Nobody reads or writes the piece while the answer lives, but through it.
        #[allow(clippy::mut_from_ref, reason = "the caller has the piece alone")]
        pub unsafe fn piece_mut(&self, piece: usize) -> &mut [u8] {
            // SAFETY: in bounds (`at`); initialized (zeroed when allocated); exclusive, as the
            // caller promises; freed only when `self` is dropped.
            unsafe { slice::from_raw_parts_mut(self.at(piece), self.piece_bytes) }
        }

        /// Lends the bytes of a piece, to be written in one call.
        ///
        /// # Safety
        /// Nobody else reads or writes the piece during the call.
        pub unsafe fn lend<R>(&self, piece: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
            // SAFETY: exclusive for as long as the answer lives, which is during the call.
            write(unsafe { self.piece_mut(piece) })
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            if let Source::Heap(start, layout) = self.source {
                // SAFETY: allocated in `new` with this layout, and freed only here.
                unsafe { dealloc(start.as_ptr(), layout) }
            }
        }
    }
}

#[cfg(loom)]
mod memory {
    //! The memory of frames as models see it: reading a piece while it is written, or reusing it
    //! under a reader, is a race that loom reports. A borrow is dated from its beginning; what must
    //! not overlap with it is ordered before or behind that.
    use crate::sync::cell::UnsafeCell;

    /// One allocation, cut into pieces of equal length.
    pub struct Block {
        pieces: Vec<UnsafeCell<Box<[u8]>>>,
        piece_bytes: usize,
    }

    // SAFETY: what may be done with the pieces from which thread is the duty of the callers of
    // `piece` and `piece_mut`, and loom checks it.
    unsafe impl Sync for Block {}

    impl Block {
        /// Zeroed memory for `pieces` of `piece_bytes`.
        pub fn new(pieces: usize, piece_bytes: usize) -> Option<Block> {
            let piece = |_| UnsafeCell::new(vec![0; piece_bytes].into_boxed_slice());
            Some(Block { pieces: (0..pieces).map(piece).collect(), piece_bytes })
        }

        /// The length of a piece, in bytes.
        pub fn piece_bytes(&self) -> usize {
            self.piece_bytes
        }

        /// The bytes of a piece.
        ///
        /// # Safety
        /// Nobody writes the piece while the answer lives.
        pub unsafe fn piece(&self, piece: usize) -> &[u8] {
            // SAFETY: the cell lives as long as `self`; not written meanwhile, as the caller
            // promises and loom checks.
            self.pieces[piece].with(|bytes| unsafe { &**bytes })
        }

        /// The bytes of a piece, to be written.
        ///
        /// # Safety
        /// Nobody reads or writes the piece while the answer lives, but through it.
        #[allow(clippy::mut_from_ref, reason = "the caller has the piece alone")]
        pub unsafe fn piece_mut(&self, piece: usize) -> &mut [u8] {
            // SAFETY: the cell lives as long as `self`; exclusive, as the caller promises and loom
            // checks.
            self.pieces[piece].with_mut(|bytes| unsafe { &mut **bytes })
        }

        /// Lends the bytes of a piece, to be written in one call.
        ///
        /// # Safety
        /// Nobody else reads or writes the piece during the call.
        pub unsafe fn lend<R>(&self, piece: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
            // SAFETY: exclusive, as the caller promises and loom checks to the call's end.
            self.pieces[piece].with_mut(|bytes| write(unsafe { &mut **bytes }))
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            if !crate::sync::thread::panicking() {
                // Freeing is a write: under a reader it is reported.
                for piece in &self.pieces {
                    piece.with_mut(|_| ());
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
