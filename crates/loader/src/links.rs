//! Attached programs, detached when dropped.

use core::fmt;

use heapless::Vec;

use crate::Platform;

/// A program that is attached. Dropping it detaches; it cannot outlive what it was loaded with:
///
/// ```compile_fail,E0505
/// # use ebpf_loader::{AttachError, Loaded, Platform};
/// # fn keep<P: Platform>(loaded: Loaded<'_, '_, '_, P>, target: P::Target<'_>) -> Result<(), AttachError<P::Error>> {
/// let attached = loaded.attach("program", target)?;
/// drop(loaded); // the program would be unloaded while it is attached
/// drop(attached);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it detaches the program"]
pub struct Attached<'l, P: Platform> {
    platform: &'l P,
    /// Taken out by `drop` and by nothing else.
    link: Option<P::Link>,
}

impl<'l, P: Platform> Attached<'l, P> {
    pub(crate) fn new(platform: &'l P, link: P::Link) -> Self {
        Self { platform, link: Some(link) }
    }

    /// The platform's link. There is one as long as `self` lives.
    #[must_use]
    pub fn link(&self) -> Option<&P::Link> {
        self.link.as_ref()
    }

    /// Detaches; the same as dropping it.
    pub fn detach(self) {
        drop(self);
    }
}

impl<P: Platform> Drop for Attached<'_, P> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.platform.detach(link);
        }
    }
}

impl<P: Platform<Link: fmt::Debug>> fmt::Debug for Attached<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&self.link).finish()
    }
}

/// Programs that were attached together, in the order in which they were. Dropping them detaches the last one first.
#[must_use = "dropping it detaches the programs"]
pub struct Links<'l, P: Platform, const LINKS: usize> {
    attached: Vec<Attached<'l, P>, LINKS>,
}

impl<'l, P: Platform, const LINKS: usize> Links<'l, P, LINKS> {
    pub(crate) fn new() -> Self {
        Self { attached: Vec::new() }
    }

    /// Adds one; where there is no room it is detached again.
    pub(crate) fn push(&mut self, attached: Attached<'l, P>) {
        drop(self.attached.push(attached));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.attached.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attached.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attached<'l, P>> {
        self.attached.iter()
    }
}

impl<P: Platform, const LINKS: usize> Drop for Links<'_, P, LINKS> {
    fn drop(&mut self) {
        while self.attached.pop().is_some() {}
    }
}

impl<P: Platform, const LINKS: usize> fmt::Debug for Links<'_, P, LINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("len", &self.len()).finish()
    }
}
