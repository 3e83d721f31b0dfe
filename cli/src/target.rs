//! What `explain` looks at: a process, a port, an address, a unit.

use std::net::{IpAddr, ToSocketAddrs};

use crate::failure::Failure;
use crate::select::Wanted;

/// Which connections a text means: `PID`, `:PORT`, `HOST:PORT`, `ADDRESS`, `ADDRESS/LENGTH`, or the
/// name of a unit.
pub(crate) fn wanted(text: &str) -> Result<Wanted, Failure> {
    let none = Wanted::default();
    // Before ports: `::1` begins with a colon as well.
    if let Ok(prefix) = text.parse() {
        return Ok(Wanted { to: vec![prefix], ..none });
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| Failure::usage(format!("{text} is no port")))?;
        return Ok(Wanted { ports: vec![port], ..none });
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let pid = text.parse().map_err(|_| Failure::no_target(format!("no process {text}")))?;
        return Ok(Wanted { pids: vec![pid], ..none });
    }
    if let Ok(address) = text.parse() {
        return Ok(Wanted { endpoints: vec![address], ..none });
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if !host.is_empty() && port.parse::<u16>().is_ok() && bare.parse::<IpAddr>().is_err() {
            let found = text.to_socket_addrs().map_err(|error| {
                Failure::no_target(format!("the name {host} leads to no address: {error}"))
            })?;
            return Ok(Wanted { endpoints: found.collect(), ..none });
        }
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Failure::usage("a target is PID, :PORT, HOST:PORT, an address or a unit"));
    }
    Ok(Wanted { units: vec![text.to_owned()], ..none })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_means_something_else() {
        let none = Wanted::default;
        let is = |text: &str, expected: Wanted| {
            assert_eq!(wanted(text).expect(text), expected, "{text}");
        };
        is("123", Wanted { pids: vec![123], ..none() });
        is(":443", Wanted { ports: vec![443], ..none() });
        let endpoint = |text: &str| vec![text.parse().expect("an address")];
        is("10.0.0.1:80", Wanted { endpoints: endpoint("10.0.0.1:80"), ..none() });
        is("[::1]:80", Wanted { endpoints: endpoint("[::1]:80"), ..none() });
        let prefix = |text: &str| vec![text.parse().expect("a prefix")];
        is("10.0.0.1", Wanted { to: prefix("10.0.0.1"), ..none() });
        is("10.0.0.0/8", Wanted { to: prefix("10.0.0.0/8"), ..none() });
        is("::1", Wanted { to: prefix("::1"), ..none() });
        is("nginx.service", Wanted { units: vec!["nginx.service".into()], ..none() });
        let local = wanted("localhost:80").expect("every machine has it");
        assert!(local.endpoints.iter().all(|address| address.ip().is_loopback()), "{local:?}");
        for text in ["", ":", ":70000", "a b", "99999999999", "no-such-host.invalid:80"] {
            assert!(wanted(text).is_err(), "{text}");
        }
    }
}
