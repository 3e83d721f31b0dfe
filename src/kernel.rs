//! Which kernel wrote a reply, by its `uname -r`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A kernel version, such as 4.10 or 6.6.57.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number: the stable release, 0 if none is named.
    pub patch: u16,
}

impl KernelVersion {
    /// The version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// The stable or pre-3.0 version `major.minor.patch`.
    pub const fn with_patch(self, patch: u16) -> Self {
        Self { patch, ..self }
    }

    /// Parses a literal of the table. A mistake there is a compile error.
    pub(crate) const fn literal(text: &str) -> Self {
        match Self::scan(text.as_bytes()) {
            Some(version) => version,
            None => panic!("a version in the table is two or three numbers"),
        }
    }

    /// The numbers at the beginning of `text`, whatever follows them.
    const fn scan(text: &[u8]) -> Option<Self> {
        let mut numbers = [0_u16; 3];
        let (mut at, mut count) = (0, 0);
        while count < 3 {
            let start = at;
            let mut number = 0_u16;
            while at < text.len() && text[at].is_ascii_digit() {
                let Some(shifted) = number.checked_mul(10) else { return None };
                let Some(next) = shifted.checked_add((text[at] - b'0') as u16) else { return None };
                number = next;
                at += 1;
            }
            if at == start {
                break;
            }
            numbers[count] = number;
            count += 1;
            if at == text.len() || text[at] != b'.' {
                break;
            }
            at += 1;
        }
        if count < 2 {
            return None;
        }
        Some(Self { major: numbers[0], minor: numbers[1], patch: numbers[2] })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// The kernel that wrote a reply. It decides the few fields whose presence the length cannot prove.
///
/// It is made from any `uname -r` string. If the string names no version, those fields are absent.
///
/// ```
/// use tcpinfo::{Kernel, KernelVersion};
///
/// let debian = Kernel::from_release("6.1.0-56-cloud-amd64");
/// assert_eq!(debian.version(), Some(KernelVersion::new(6, 1)));
/// assert_eq!(Kernel::from_release("mystery").version(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    release: String,
    version: Option<KernelVersion>,
    gvisor: bool,
}

impl Kernel {
    /// The kernel with this `uname -r` string, whatever the string says.
    pub fn from_release(release: &str) -> Self {
        const LAST_2_6: KernelVersion = KernelVersion::new(2, 6).with_patch(39);
        let masked = |v: &KernelVersion| (v.major, v.minor) == (2, 6) && *v > LAST_2_6;
        Self {
            release: release.to_owned(),
            version: KernelVersion::scan(release.as_bytes()).filter(|v| !masked(v)),
            gvisor: release.contains("gvisor"),
        }
    }

    /// The `uname -r` string as given.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The version that the release names, `None` if it names none or cannot be trusted.
    ///
    /// `setarch --uname-2.6` makes a 6.4 kernel say that it is 2.6.64. The last real one was
    /// 2.6.39.
    pub fn version(&self) -> Option<KernelVersion> {
        self.version
    }

    /// Whether the release names gVisor, which is not Linux and fills few fields.
    pub(crate) fn is_gvisor(&self) -> bool {
        self.gvisor
    }

    /// Whether the version is known and at least `version`.
    pub(crate) fn is_at_least(&self, version: KernelVersion) -> bool {
        self.version.is_some_and(|known| known >= version)
    }

    /// Whether the version is known and below `version`.
    pub(crate) fn is_below(&self, version: KernelVersion) -> bool {
        self.version.is_some_and(|known| known < version)
    }
}

impl FromStr for Kernel {
    type Err = Infallible;

    fn from_str(release: &str) -> Result<Self, Infallible> {
        Ok(Self::from_release(release))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(release: &str) -> Option<KernelVersion> {
        Kernel::from_release(release).version()
    }

    #[test]
    fn releases_of_real_kernels() {
        let stable = |major, minor, patch| Some(KernelVersion::new(major, minor).with_patch(patch));
        assert_eq!(version("6.18.44-fc-v669"), stable(6, 18, 44));
        assert_eq!(version("3.10.0-1160.el7.x86_64"), stable(3, 10, 0));
        assert_eq!(version("4.19.0-gvisor"), stable(4, 19, 0));
        assert_eq!(version("6.6.57-android"), stable(6, 6, 57));
        assert_eq!(version("5.4.17-2136.335.4.el8uek.x86_64"), stable(5, 4, 17));
        assert_eq!(version("7.3-rc7-amd64"), stable(7, 3, 0));
        assert_eq!(version("2.6.32-754.el6"), stable(2, 6, 32));
        assert_eq!(version("5.15.153.1-microsoft-standard-WSL2"), stable(5, 15, 153));
    }

    #[test]
    fn what_says_nothing_is_no_version() {
        // 2.6.40 and up is `setarch --uname-2.6` over a 3.0 or later kernel.
        for release in ["2.6.40", "2.6.64", "2.6.78-fc", "", "garbage", "6", ".6.1", "99999.1"] {
            assert_eq!(version(release), None, "{release:?}");
        }
    }

    #[test]
    fn gvisor_names_itself() {
        let gvisor = Kernel::from_release("4.19.0-gvisor");
        let linux = Kernel::from_release("4.19.0-27-amd64");
        assert!(gvisor.is_gvisor() && !linux.is_gvisor());
    }

    #[test]
    fn versions_print_as_people_write_them() {
        assert_eq!(KernelVersion::literal("4.10").to_string(), "4.10");
        assert_eq!(KernelVersion::literal("2.6.24").to_string(), "2.6.24");
        assert!(KernelVersion::literal("4.9") < KernelVersion::literal("4.10"));
    }
}
