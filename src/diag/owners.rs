//! Which program holds a socket: the descriptors of all processes, from `/proc`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rustix::io::Errno;

use super::socket::Socket;

/// One descriptor of a process that leads to a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Owner {
    /// The process, as the caller's PID namespace numbers it.
    pub pid: u32,
    /// The name of its first thread, by default the program's: at most 15 bytes. Bytes that are not
    /// UTF-8 are replaced.
    #[cfg_attr(feature = "serde", serde(serialize_with = "text"))]
    pub command: Arc<str>,
    /// The descriptor there.
    pub fd: u32,
}

/// Who holds which socket, at the time of [`owners`].
#[derive(Clone, Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u32, Vec<Owner>>,
    forbidden: usize,
    vanished: usize,
}

impl Owners {
    /// Every descriptor that leads to this socket: several if a program duplicated it, or shares it
    /// with its children. None if the process may not be seen, and for a socket without
    /// [`inode`](Socket::inode).
    pub fn of(&self, socket: &Socket) -> &[Owner] {
        socket.inode.map_or(&[], |inode| self.of_inode(inode))
    }

    /// The same by the number of a socket's inode.
    pub fn of_inode(&self, inode: u32) -> &[Owner] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// How many processes were left out because the caller may not see their descriptors: those of
    /// other users, unless it has `CAP_SYS_PTRACE`.
    pub fn forbidden(&self) -> usize {
        self.forbidden
    }

    /// How many processes were left out because they ended meanwhile.
    pub fn vanished(&self) -> usize {
        self.vanished
    }

    fn add(&mut self, process: &Path, pid: u32) -> io::Result<()> {
        let mut command: Option<Arc<str>> = None;
        for entry in fs::read_dir(process.join("fd"))? {
            let entry = entry?;
            let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A descriptor that is closed meanwhile is none.
            let target = fs::read_link(entry.path()).ok();
            let inode = target.as_deref().and_then(Path::to_str).and_then(socket_inode);
            let Some((fd, inode)) = fd.zip(inode) else { continue };
            let command = match &command {
                Some(command) => command,
                None => command.insert(name(&process.join("comm"))?),
            };
            let owner = Owner { pid, command: Arc::clone(command), fd };
            self.by_inode.entry(inode).or_default().push(owner);
        }
        Ok(())
    }
}

/// Looks up who holds which socket, for all processes that the caller may see.
///
/// Root sees all processes of its PID namespace, others those of their own user. A process that
/// cannot be read is left out and [counted](Owners::forbidden). TCP sockets are not told apart from
/// others here. A socket that only a thread with descriptors of its own holds is not found.
///
/// Costs two system calls for each open descriptor of the machine, files and pipes too: about two
/// microseconds each. [Dump](super::Query::dump) after it, or before it: connections come and go in
/// between.
///
/// # Errors
///
/// Those of listing `/proc`.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use tcpinfo::diag::{Query, owners};
///
/// let owners = owners()?;
/// for socket in Query::new().dump()? {
///     let socket = socket?;
///     for owner in owners.of(&socket) {
///         println!("{} of {} ({})", socket.local, owner.command, owner.pid);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn owners() -> io::Result<Owners> {
    within(Path::new("/proc"))
}

fn within(proc: &Path) -> io::Result<Owners> {
    let mut owners = Owners::default();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Err(error) = owners.add(&entry.path(), pid) {
            let ended = [Errno::NOENT, Errno::SRCH].map(|errno| Some(errno.raw_os_error()));
            if ended.contains(&error.raw_os_error()) {
                owners.vanished += 1;
            } else {
                owners.forbidden += 1;
            }
        }
    }
    Ok(owners)
}

/// The number in `socket:[123]`.
fn socket_inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The line of a file `comm`.
fn name(comm: &Path) -> io::Result<Arc<str>> {
    let bytes = fs::read(comm)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(line).into())
}

#[cfg(feature = "serde")]
fn text<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A folder like `/proc`, removed in the end.
    struct Proc(PathBuf);

    impl Proc {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tcpinfo-{test}-{}", std::process::id()));
            fs::create_dir(&path).expect("a new name");
            Self(path)
        }

        fn process(&self, pid: &str, comm: Option<&[u8]>, fds: &[(&str, &str)]) {
            let process = self.0.join(pid);
            fs::create_dir_all(process.join("fd")).expect("a new folder");
            for (fd, target) in fds {
                symlink(target, process.join("fd").join(fd)).expect("a new name");
            }
            if let Some(comm) = comm {
                fs::write(process.join("comm"), comm).expect("a new file");
            }
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn sockets_are_found_among_other_descriptors() {
        let proc = Proc::new("owners");
        let others =
            [("0", "/dev/null"), ("1", "pipe:[7]"), ("2", "socket:[x]"), ("x", "socket:[7]")];
        proc.process("12", Some(b"nginx\n"), &[("3", "socket:[7]"), ("44", "socket:[8]")]);
        proc.process("34", Some(b"a\xffb"), &[others.as_slice(), &[("5", "socket:[7]")]].concat());
        // No number, so no process; and one without sockets, whose name is not asked for.
        proc.process("self", Some(b"self\n"), &[("3", "socket:[7]")]);
        proc.process("56", None, &others[..3]);
        let owners = within(&proc.0).expect("it can be read");
        let owner = |pid, command: &str, fd| Owner { pid, command: command.into(), fd };
        let mut both = owners.of_inode(7).to_vec();
        both.sort_by_key(|owner| owner.pid);
        assert_eq!(both, [owner(12, "nginx", 3), owner(34, "a\u{fffd}b", 5)]);
        assert_eq!(owners.of_inode(8), [owner(12, "nginx", 44)]);
        assert_eq!(owners.of_inode(9), []);
        assert_eq!((owners.forbidden(), owners.vanished()), (0, 0));
    }

    #[test]
    fn processes_that_cannot_be_read_are_counted() {
        let proc = Proc::new("skipped");
        // Ended before its name was asked for; before its descriptors were; and no folder at all.
        proc.process("12", None, &[("3", "socket:[7]")]);
        fs::create_dir(proc.0.join("34")).expect("a new name");
        fs::write(proc.0.join("56"), "").expect("a new name");
        let owners = within(&proc.0).expect("it can be read");
        assert_eq!((owners.forbidden(), owners.vanished()), (1, 2));
        assert_eq!(owners.of_inode(7), []);
        assert!(within(&proc.0.join("nowhere")).is_err());
    }
}
