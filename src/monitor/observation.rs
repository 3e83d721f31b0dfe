//! A connection from now on, until somebody asks what limited it.

use std::io;
use std::time::{Duration, Instant};

use super::watched::SocketProbe;
use crate::info::TcpInfo;
use crate::verdict::{Retransmits, Verdict};

/// A connection since a moment, such as the beginning of a request: what limited it since then.
///
/// It keeps neither the socket nor the monitor alive. It reads the kernel when it begins and each
/// time it is asked, and has nothing to do with sweeps.
///
/// Most requests are over before there is anything to judge: then the cause is
/// [`TooLittle`](crate::Cause::TooLittle). Ask at the end of long ones, such as a download or a
/// stream, and of an upload after its body was read.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let stream = tcpinfo::Monitor::new().group([]).watch(stream);
/// let observation = stream.probe().observe()?;
/// // ... a long answer ...
/// println!("{}", observation.verdict()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Observation {
    probe: SocketProbe,
    earlier: TcpInfo,
    began: Instant,
}

impl SocketProbe {
    /// Observes the socket from now on.
    ///
    /// # Errors
    ///
    /// As for [`info`](Self::info).
    pub fn observe(&self) -> io::Result<Observation> {
        let earlier = self.info()?;
        Ok(Observation { probe: self.clone(), earlier, began: Instant::now() })
    }
}

impl Observation {
    /// What limited the connection since the observation began.
    ///
    /// # Errors
    ///
    /// As for [`SocketProbe::info`]: `NotConnected` once the socket is no longer watched.
    pub fn verdict(&self) -> io::Result<Verdict> {
        let later = self.probe.info()?;
        Ok(Verdict::between(&self.earlier, &later, self.began.elapsed()))
    }

    /// What was sent again since the observation began.
    ///
    /// # Errors
    ///
    /// As for [`verdict`](Self::verdict).
    pub fn retransmits(&self) -> io::Result<Retransmits> {
        Ok(Retransmits::between(&self.earlier, &self.probe.info()?))
    }

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
