//! From the number of a control group to its path.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The path of a control group whose number a [`Socket::cgroup`](super::Socket::cgroup) is, such as
/// `/system.slice/nginx.service`: which systemd unit or container a socket belongs to.
///
/// The path begins where the caller's `cgroup2` file system is mounted. `None` if that has no group
/// of this number: the group is removed, or outside of the caller's container.
///
/// Needs no privilege. Reads the names of all groups until it finds this one, level by level: tens
/// of microseconds on a small machine, milliseconds with thousands of groups. A group keeps its
/// number and its path for life, and the kernel does not use a number again until it restarts, so
/// keep the answer.
///
/// # Errors
///
/// `NotFound` if no `cgroup2` file system is mounted, and the errors of reading it.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use tcpinfo::diag::{Query, cgroup_path};
///
/// for socket in Query::new().dump()? {
///     let socket = socket?;
///     // A program that runs all the time looks each number up once.
///     let unit = socket.cgroup.map(cgroup_path);
///     println!("{} {unit:?}", socket.local);
/// }
/// # Ok(())
/// # }
/// ```
pub fn cgroup_path(id: u64) -> io::Result<Option<PathBuf>> {
    let mount = mount_point(&fs::read("/proc/self/mountinfo")?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "no cgroup2 file system is mounted")
    })?;
    find(&mount, id)
}

/// The folder with this inode number at or below `mount`, as a path that begins there. The number
/// of a group is the inode number of its folder.
fn find(mount: &Path, id: u64) -> io::Result<Option<PathBuf>> {
    if fs::metadata(mount)?.ino() == id {
        return Ok(Some(PathBuf::from("/")));
    }
    let mut folders = VecDeque::from([PathBuf::from("/")]);
    while let Some(folder) = folders.pop_front() {
        let real = mount.join(folder.strip_prefix("/").expect("every path here begins with it"));
        let entries = match fs::read_dir(real) {
            Ok(entries) => entries,
            // Removed in the meantime, or not ours to read.
            Err(_) if folder != Path::new("/") => continue,
            Err(error) => return Err(error),
        };
        // The file system says inode and type with each name, which saves asking file by file.
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = folder.join(entry.file_name());
                if entry.ino() == id {
                    return Ok(Some(path));
                }
                folders.push_back(path);
            }
        }
    }
    Ok(None)
}

/// Where `cgroup2` is mounted, from the lines of `/proc/self/mountinfo`.
fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    mountinfo.split(|byte| *byte == b'\n').find_map(|line| {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = words.iter().position(|word| *word == b"-")?;
        let is_it = words.get(dash + 1).is_some_and(|kind| *kind == b"cgroup2");
        is_it.then(|| words.get(4)).flatten().map(|path| unescape(path))
    })
}

/// Replaces `\040` and other octal numbers by their bytes.
fn unescape(text: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((byte, later)) = rest.split_first() {
        let octal = |digits: &&[u8; 3]| digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
        let digits = later.first_chunk().filter(|_| *byte == b'\\').filter(octal);
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &later[3..];
            }
            None => {
                bytes.push(*byte);
                rest = later;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_the_first_of_its_type() {
        let lines = b"24 30 0:22 / /proc rw,nosuid shared:12 - proc proc rw\n\
            31 25 0:27 / /sys/fs/cgroup rw master:3 shared:9 - tmpfs cgroup2 rw\n\
            33 25 0:28 /a\\040b /sys/fs/cgroup\\134/uni\\040fied rw - cgroup2 none rw\n\
            34 25 0:28 / /other rw - cgroup2 none rw\n";
        assert_eq!(mount_point(lines), Some("/sys/fs/cgroup\\/uni fied".into()));
        for none in [&b""[..], b"24 30 0:22 / /proc rw - proc proc rw", b"- cgroup2", b"1 2 -\n"] {
            assert_eq!(mount_point(none), None);
        }
    }

    #[test]
    fn what_is_no_octal_number_stays() {
        for text in ["", "\\", "\\04", "\\999", "\\400", "a\\+12"] {
            assert_eq!(unescape(text.as_bytes()), Path::new(text));
        }
    }

    #[test]
    fn folders_are_found_by_inode_at_every_level() {
        // Any file system numbers its folders; this crate's has these.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let inode = |path: &str| fs::metadata(root.join(path)).expect("a folder").ino();
        for path in ["", "diag", "diag/captures"] {
            let found = find(&root, inode(path)).expect("it can be read");
            assert_eq!(found, Some(Path::new("/").join(path)));
        }
        // Files have numbers as well.
        assert_eq!(find(&root, inode("diag.rs")).expect("it can be read"), None);
        let error = find(&root.join("nowhere"), 1).expect_err("there is no such folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
