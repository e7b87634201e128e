//! Waiting for rings.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

use crate::error::Error;
use crate::sys::{Errno, admit};

/// An epoll instance: waits for any of several rings.
///
/// ```no_run
/// # use ebpf_linux::{Interest, LinuxMap, Trigger, Waiter};
/// # fn example(ring: &LinuxMap) -> Result<(), ebpf_linux::Error> {
/// let waiter = Waiter::new()?;
/// waiter.add(ring, 7, Interest::Readable, Trigger::Edge)?;
/// let mut ready = Vec::new();
/// waiter.wait(&mut ready, None)?;
/// assert_eq!(ready, [7]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Waiter {
    epoll: OwnedFd,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// There is something to read: a ring, a perf ring.
    Readable,
    /// There is space to write: a user ring.
    Writable,
}

/// How often to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// Once for each wakeup by the kernel. Read until there is nothing more, or it never comes again.
    Edge,
    /// As long as there is something, each time. A ring whose oldest record is busy, or that was written without wakeups, counts as readable.
    Level,
}

impl Waiter {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn new() -> Result<Self, Error> {
        let refused = |errno| Error::new("epoll_create", errno);
        admit().map_err(refused)?;
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)? })
    }

    /// Waits for `object` too, which is called `key` from now on. Close it, or [`remove`](Self::remove) it, to end that.
    ///
    /// # Errors
    /// The system's: `EEXIST` if it is there already.
    pub fn add(
        &self,
        object: &impl AsFd,
        key: u64,
        interest: Interest,
        trigger: Trigger,
    ) -> Result<(), Error> {
        let refused = |errno| Error::new("epoll_ctl(EPOLL_CTL_ADD)", errno);
        admit().map_err(refused)?;
        let interest = match interest {
            Interest::Readable => EventFlags::IN,
            Interest::Writable => EventFlags::OUT,
        };
        let trigger = match trigger {
            Trigger::Edge => EventFlags::ET,
            Trigger::Level => EventFlags::empty(),
        };
        epoll::add(&self.epoll, object, EventData::new_u64(key), interest | trigger).map_err(refused)
    }

    /// Waits for it no more.
    ///
    /// # Errors
    /// The system's: `ENOENT` if it was not added.
    pub fn remove(&self, object: &impl AsFd) -> Result<(), Error> {
        epoll::delete(&self.epoll, object).map_err(|errno| Error::new("epoll_ctl(EPOLL_CTL_DEL)", errno))
    }

    /// Waits until something is ready, at most `limit`, and replaces `ready` by the keys of what is; none when the time is over.
    ///
    /// Up to 64 keys at a time; what is ready beyond that comes first the next time. A signal does not end it.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, ready: &mut Vec<u64>, limit: Option<Duration>) -> Result<(), Error> {
        ready.clear();
        // Beyond what the clock can hold is without end.
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut events = Vec::with_capacity(MOST);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), left.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("epoll_wait", errno)),
            }
        }
        ready.extend(events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Keys of one wait.
const MOST: usize = 64;
