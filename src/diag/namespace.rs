//! Another network namespace than the calling thread's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::{io, panic, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A descriptor of a network namespace. Clones share it, and only they are equal.
#[derive(Clone, Debug)]
pub(super) struct Namespace(Arc<OwnedFd>);

impl Namespace {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}

/// Does this in the namespace, on a thread of its own: the caller's stays where it is. What is
/// opened there belongs to the namespace.
pub(super) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let entered = || {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
        work()
    };
    thread::scope(|scope| {
        let name = "tcpinfo-netns".to_owned();
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, entered)?;
        thread.join().unwrap_or_else(|why| panic::resume_unwind(why))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn clones_are_equal_and_others_are_not() {
        let open = || Namespace::new(File::open("/proc/self/ns/net").expect("procfs").into());
        let (one, other) = (open(), open());
        assert_eq!(one, one.clone());
        assert_ne!(one, other);
    }

    #[test]
    fn what_is_no_network_namespace_is_an_error() {
        for path in ["/dev/null", "/proc/self/ns/uts"] {
            let file = File::open(path).expect("every machine has it");
            let error = inside(file.as_fd(), || Ok(())).expect_err("no network namespace");
            assert_eq!(error.raw_os_error(), Some(22), "{path}: EINVAL");
        }
    }
}
