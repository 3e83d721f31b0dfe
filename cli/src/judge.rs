//! What a verdict means for the reader: how bad it is, and what to look at next.

use std::cmp::Reverse;

use tcpinfo::{Cause, Side, Verdict};

/// The worst first. What is not in it is unknown to this version, and not bad.
const BY_SEVERITY: &[Cause] = &[
    Cause::Stalled,
    Cause::Unreachable,
    Cause::Refused,
    Cause::Reset,
    Cause::AcceptQueue,
    Cause::Loss,
    Cause::ReceiveWindow,
    Cause::SendBuffer,
    Cause::Queue,
    Cause::Network,
    Cause::Application,
    Cause::Healthy,
    Cause::TooLittle,
];

/// All that are known, the worst first.
pub(crate) fn causes() -> &'static [Cause] {
    BY_SEVERITY
}

/// Greater is worse.
pub(crate) fn severity(cause: Cause) -> usize {
    let place = BY_SEVERITY.iter().position(|other| *other == cause);
    BY_SEVERITY.len() - place.unwrap_or(BY_SEVERITY.len())
}

/// The worst of them, and how many there are of it.
pub(crate) fn worst(causes: impl IntoIterator<Item = Cause>) -> Option<(Cause, usize)> {
    causes.into_iter().fold(None, |worst, cause| match worst {
        Some((other, count)) if other == cause => Some((other, count + 1)),
        Some((other, _)) if severity(other) > severity(cause) => worst,
        _ => Some((cause, 1)),
    })
}

/// Whether something is wrong that somebody can do something about.
pub(crate) fn is_wrong(cause: Cause) -> bool {
    severity(cause) > severity(Cause::Network)
}

/// The cause in words.
pub(crate) fn words(cause: Cause) -> String {
    cause.text().replace('_', " ")
}

/// What to look at next. Nothing where there is nothing to do.
pub(crate) fn advice(verdict: &Verdict) -> Option<&'static str> {
    let receives = verdict.side == Side::Receiving;
    Some(match verdict.cause {
        Cause::Stalled => {
            "the other end or the path is gone: look whether that host answers, and whether a \
             firewall forgot the connection"
        }
        Cause::Unreachable => {
            "look whether the address is right, whether that host is up, and whether a firewall \
             drops what is sent to this port"
        }
        Cause::Refused => {
            "nothing listens there: look whether that program runs, and on which port"
        }
        Cause::Reset => "the other end cut it off: look into its log, and for a proxy's time limit",
        Cause::AcceptQueue => {
            "the program does not accept: look what keeps it busy; a longer backlog (and \
             net.core.somaxconn) only helps against bursts"
        }
        Cause::Loss => {
            "look which connections lose: all to one network point to its link, all of this host \
             to its own; `ip -s link` counts drops of devices"
        }
        Cause::ReceiveWindow if receives => {
            "this program reads too slowly: look what it does instead of reading"
        }
        Cause::ReceiveWindow => {
            "the program at the other end reads too slowly, or its receive buffer is small: look \
             there, first at its CPU, then at net.ipv4.tcp_rmem and SO_RCVBUF"
        }
        Cause::SendBuffer => {
            "give this program a larger send buffer: net.ipv4.tcp_wmem, and no SO_SNDBUF of its own"
        }
        Cause::Queue => {
            "a buffer on the path fills: look for a slow link that others fill as well; fq_codel \
             or cake there, or BBR here, keep it short"
        }
        Cause::Network => "the path is used to its rate: only a faster one, or fewer bytes, help",
        Cause::Application => {
            "TCP waits for the program: look at its time between requests, and at the other end's \
             answers"
        }
        _ => return None,
    })
}

/// For sorting: the worst first.
pub(crate) fn order(cause: Cause) -> Reverse<usize> {
    Reverse(severity(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_found_and_counted() {
        let causes = [Cause::Healthy, Cause::Loss, Cause::Queue, Cause::Loss, Cause::TooLittle];
        assert_eq!(worst(causes), Some((Cause::Loss, 2)));
        assert_eq!(worst([]), None);
        assert_eq!(worst([Cause::TooLittle]), Some((Cause::TooLittle, 1)));
    }

    #[test]
    fn what_a_program_decides_is_not_wrong() {
        for cause in [Cause::Application, Cause::Network, Cause::Healthy, Cause::TooLittle] {
            assert!(!is_wrong(cause), "{cause}");
        }
        assert!(is_wrong(Cause::Queue) && is_wrong(Cause::Stalled));
    }
}
