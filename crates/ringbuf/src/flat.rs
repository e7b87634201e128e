//! A ring inside one process, in plain memory that the caller gives.

use core::fmt;
use core::sync::atomic::AtomicUsize;

use crate::mapped::{FlatPages, Mapped, SharedMarks, marks_for};
use crate::{Consumer, ExclusiveProducer, Geometry, GeometryError, Mapping, PageOffset, Producer};

/// Everything a flat ring needs besides its data. Put it wherever it lives long enough: a `static`, the stack, a driver's extension.
///
/// `MARKS` is [`marks_for`] the ring's size.
///
/// ```
/// use ebpf_ringbuf::{FlatRing, PageOffset, SubmitFlags, marks_for};
///
/// let mut data = [0u64; 4096 / 8];
/// let mut ring = FlatRing::<{ marks_for(4096) }>::new();
/// let (producer, mut consumer) = ring.split(&mut data, 4096, PageOffset::FromRing)?;
///
/// assert!(producer.output(b"hello", SubmitFlags::empty())?.is_needed());
/// assert_eq!(&*consumer.next_record()?, b"hello");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FlatRing<const MARKS: usize> {
    pages: FlatPages,
    reserve: AtomicUsize,
    marks: [AtomicUsize; MARKS],
}

impl<const MARKS: usize> FlatRing<MARKS> {
    /// Nothing in it, positions at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pages: FlatPages::default(),
            reserve: AtomicUsize::new(0),
            marks: [const { AtomicUsize::new(0) }; MARKS],
        }
    }

    /// The two sides of an empty ring over all of `data`, for many producers. Pages are of `page_size` bytes; they matter to the second header word
    /// only.
    ///
    /// # Errors
    /// When `data` is not a size a ring can have, or `MARKS` does not fit it.
    pub fn split<'a>(
        &'a mut self,
        data: &'a mut [u64],
        page_size: usize,
        page_offset: PageOffset,
    ) -> Result<(Producer<Mapped<'a>, SharedMarks<'a>>, Consumer<Mapped<'a>>), FlatError> {
        let geometry = geometry(data, page_size, page_offset)?;
        let wrong_marks = FlatError::Marks { needed: marks_for(geometry.size()), given: MARKS };
        *self = Self::new();
        let marks = SharedMarks::new(&self.reserve, &self.marks).map_err(|_| wrong_marks)?;
        let [producer, consumer] = sides(&mut self.pages, data, geometry)?;
        let producer = Producer::new(producer, marks).map_err(|_| wrong_marks)?;
        Ok((producer, consume(consumer)?))
    }
}

impl FlatRing<0> {
    /// The two sides of an empty ring over all of `data`, for one producer, which needs no marks. The consumer makes way for it, see
    /// [`Consumer::with_spins`].
    ///
    /// # Errors
    /// When `data` is not a size a ring can have.
    pub fn split_exclusive<'a>(
        &'a mut self,
        data: &'a mut [u64],
        page_size: usize,
        page_offset: PageOffset,
    ) -> Result<(ExclusiveProducer<Mapped<'a>>, Consumer<Mapped<'a>>), FlatError> {
        let geometry = geometry(data, page_size, page_offset)?;
        *self = Self::new();
        let [producer, consumer] = sides(&mut self.pages, data, geometry)?;
        let producer = ExclusiveProducer::new(producer).map_err(|_| FlatError::DataLength)?;
        Ok((producer, consume(consumer)?.with_spins(SPINS)))
    }
}

/// What a consumer makes way for one producer, in spin-loop hints: some tenths of a microsecond.
const SPINS: u32 = 16;

impl<const MARKS: usize> Default for FlatRing<MARKS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The memory given does not make a flat ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlatError {
    /// The data does not hold a ring at rest.
    DataLength,
    /// A size is not one of a ring.
    Geometry(GeometryError),
    /// The number of mark words does not fit the size of the data.
    Marks {
        /// Words needed, by [`marks_for`].
        needed: usize,
        /// Words given.
        given: usize,
    },
}

impl fmt::Display for FlatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataLength => f.write_str("the data does not hold a ring at rest"),
            Self::Geometry(error) => error.fmt(f),
            Self::Marks { needed, given } => write!(f, "{given} mark words given, the ring needs {needed}"),
        }
    }
}

impl core::error::Error for FlatError {}

fn geometry(data: &[u64], page_size: usize, page_offset: PageOffset) -> Result<Geometry, FlatError> {
    Geometry::new(size_of_val(data), page_size, Mapping::Flat, page_offset).map_err(FlatError::Geometry)
}

fn sides<'a>(
    pages: &'a mut FlatPages,
    data: &'a mut [u64],
    geometry: Geometry,
) -> Result<[Mapped<'a>; 2], FlatError> {
    Mapped::flat(pages, data, geometry).ok_or(FlatError::DataLength)
}

fn consume(side: Mapped<'_>) -> Result<Consumer<Mapped<'_>>, FlatError> {
    Consumer::new(side).map_err(|_| FlatError::DataLength)
}
