//! The published pointer: publish, pin, and what a pin leaves behind. Knows no page.

/// The count of commits; every request that answers Ok takes one, gapless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The count of publications; reserved in order by the writer when it starts to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);
