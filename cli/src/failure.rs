//! Why a command could not do what it was asked: one sentence and an exit status.

use std::io;

use rustix::io::Errno;
use tcpinfo::diag::FilterError;

/// How the program ends, by the number that a script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It did what was asked; `explain` found nothing that is wrong.
    Done = 0,
    /// `explain` found what is wrong.
    Found = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// What was asked for does not exist: process, unit, connection.
    NoTarget = 3,
    /// The system does not offer it or does not allow it, or a file cannot be used.
    Impossible = 4,
    /// A mistake in this program.
    Bug = 70,
}

impl Status {
    /// Every status with what it means, for the help and the manual page.
    pub(crate) const ALL: &[(Self, &'static str)] = &[
        (Self::Done, "it did what was asked; explain: nothing is wrong"),
        (Self::Found, "explain: something is wrong with these connections"),
        (Self::Usage, "the arguments are wrong"),
        (Self::NoTarget, "what was asked for does not exist: process, unit, connection"),
        (Self::Impossible, "the system does not offer or allow it, or a file cannot be used"),
        (Self::Bug, "a mistake in this program"),
    ];

    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more, as in `| head`: not a failure at all.
    Closed,
    /// Everything else has a sentence.
    Said(Status, String),
}

impl Failure {
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::Said(Status::Usage, sentence.into())
    }

    pub(crate) fn no_target(sentence: impl Into<String>) -> Self {
        Self::Said(Status::NoTarget, sentence.into())
    }

    pub(crate) fn impossible(sentence: impl Into<String>) -> Self {
        Self::Said(Status::Impossible, sentence.into())
    }

    /// An error of asking the kernel for sockets.
    pub(crate) fn kernel(error: &io::Error) -> Self {
        Self::impossible(kernel_sentence(error))
    }

    /// An error of writing the output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::impossible(format!("cannot write the output: {error}"))
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Closed => Status::Done,
            Self::Said(status, _) => *status,
        }
    }

    pub(crate) fn sentence(&self) -> Option<&str> {
        match self {
            Self::Closed => None,
            Self::Said(_, sentence) => Some(sentence),
        }
    }
}

/// What the kernel's error means here, and what one can do.
fn kernel_sentence(error: &io::Error) -> String {
    if let Some(filter) = error.get_ref().and_then(|inner| inner.downcast_ref::<FilterError>()) {
        return format!("{filter}; leave that filter out");
    }
    let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else {
        return format!("the kernel's answer cannot be used: {error}");
    };
    match errno {
        Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
            "this kernel offers no NETLINK_SOCK_DIAG, as gVisor: run tcpinfo on the host, or use \
             the library inside the program"
                .into()
        }
        Errno::ACCESS | Errno::PERM => {
            "a policy forbids to ask the kernel for sockets (seccomp, SELinux, Android): allow \
             sockets of the family AF_NETLINK"
                .into()
        }
        Errno::NOENT => {
            "this kernel has no inet_diag: `modprobe tcp_diag` as root may load it".into()
        }
        Errno::MFILE | Errno::NFILE => "no descriptor is free: raise `ulimit -n`".into(),
        _ => format!("the kernel does not tell its sockets: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_kernel_has_a_way_on() {
        for (errno, part) in [
            (Errno::PROTONOSUPPORT, "gVisor"),
            (Errno::PERM, "policy"),
            (Errno::NOENT, "modprobe tcp_diag"),
            (Errno::MFILE, "ulimit"),
            (Errno::NOMEM, "does not tell its sockets"),
        ] {
            let failure = Failure::kernel(&errno.into());
            let sentence = failure.sentence().expect("it says why");
            assert!(sentence.contains(part), "{sentence}");
            assert_eq!(failure.status().number(), 4);
        }
    }

    #[test]
    fn a_closed_pipe_is_the_end_and_no_failure() {
        let failure = Failure::output(&Errno::PIPE.into());
        assert_eq!((failure.status(), failure.sentence()), (Status::Done, None));
        let failure = Failure::output(&Errno::NOSPC.into());
        assert_eq!(failure.status(), Status::Impossible);
    }

    #[test]
    fn every_status_is_documented_once() {
        let numbers: Vec<u8> = Status::ALL.iter().map(|(status, _)| status.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 70]);
    }
}
