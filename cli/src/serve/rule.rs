//! A group with a name: which connections it wants.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use tcpinfo::diag::IpPrefix;

use crate::unit;

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'s> {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// The path of its control group.
    pub(super) cgroup: Option<&'s Path>,
    /// The name of the program that holds it.
    pub(super) command: Option<&'s str>,
}

/// A group with a name. Conditions of different kinds all have to be met, and of each kind one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    pub(super) name: String,
    /// On either side.
    port: Vec<u16>,
    to: Vec<IpPrefix>,
    unit: Vec<String>,
    process: Vec<String>,
}

impl Rule {
    /// The kinds of conditions.
    pub(super) const KINDS: [&str; 4] = ["port", "to", "unit", "process"];

    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// One more condition of this kind.
    pub(super) fn add(&mut self, kind: &str, value: &str) -> Result<(), String> {
        match kind {
            "port" => self.port.push(port(value)?),
            "to" => self.to.push(prefix(value)?),
            "unit" => self.unit.push(value.to_owned()),
            "process" => self.process.push(value.to_owned()),
            _ => return Err(format!("no condition {kind}, there is {}", Self::KINDS.join(", "))),
        }
        Ok(())
    }

    /// Whether there is no condition.
    pub(super) fn is_empty(&self) -> bool {
        let Self { name: _, port, to, unit, process } = self;
        port.is_empty() && to.is_empty() && unit.is_empty() && process.is_empty()
    }

    pub(super) fn needs_processes(&self) -> bool {
        !self.process.is_empty()
    }

    pub(super) fn needs_units(&self) -> bool {
        !self.unit.is_empty()
    }

    pub(super) fn fits(&self, sight: &Sight<'_>) -> bool {
        let Sight { local, peer, cgroup, command } = sight;
        let ip: IpAddr = peer.ip().to_canonical();
        let any = |port: &u16| local.port() == *port || peer.port() == *port;
        // A unit has all that is within it.
        let within = |name: &String| {
            cgroup.is_some_and(|path| path.ancestors().any(|path| unit::is_called(path, name)))
        };
        (self.port.is_empty() || self.port.iter().any(any))
            && (self.to.is_empty() || self.to.iter().any(|prefix| prefix.contains(ip)))
            && (self.unit.is_empty() || self.unit.iter().any(within))
            && (self.process.is_empty() || self.process.iter().any(|it| Some(&**it) == *command))
    }
}

/// `NAME=KIND:VALUE,KIND:VALUE`.
impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "a group is NAME=KIND:VALUE,..., such as database=port:5432";
        let (name, conditions) = text.split_once('=').ok_or(form)?;
        if name.is_empty() {
            return Err(form.to_owned());
        }
        let mut rule = Self::named(name);
        for condition in conditions.split(',') {
            let (kind, value) = condition.split_once(':').ok_or(form)?;
            rule.add(kind, value)?;
        }
        Ok(rule)
    }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text} is no port"))
}

pub(super) fn prefix(text: &str) -> Result<IpPrefix, String> {
    text.parse().map_err(|_| format!("{text} is no prefix of addresses, such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight<'s>(peer: &str, cgroup: Option<&'s str>, command: Option<&'s str>) -> Sight<'s> {
        Sight {
            local: "192.0.2.1:80".parse().expect("an address"),
            peer: peer.parse().expect("an address"),
            cgroup: cgroup.map(Path::new),
            command,
        }
    }

    #[test]
    fn kinds_are_joined_by_and_and_one_kind_by_or() {
        let fits = |rule: &str, sight: &Sight<'_>| rule.parse::<Rule>().expect(rule).fits(sight);
        let mapped = sight("[::ffff:10.1.2.3]:5432", Some("/system.slice/a.service/b"), Some("x"));
        for (rule, expected) in [
            ("a=port:80", true),
            ("a=port:5432", true),
            ("a=port:81", false),
            ("a=port:81,port:80", true),
            ("a=to:10.0.0.0/8", true),
            ("a=to:fd00::/8", false),
            ("a=port:80,to:fd00::/8", false),
            ("a=unit:a", true),
            ("a=unit:a.service", true),
            ("a=unit:c", false),
            ("a=process:x,unit:a,port:80,to:10.1.2.3", true),
            ("a=process:y", false),
        ] {
            assert_eq!(fits(rule, &mapped), expected, "{rule}");
        }
        let ended = sight("10.1.2.3:5432", None, None);
        assert!(!fits("a=unit:a", &ended) && !fits("a=process:x", &ended));
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong() {
        let form = "a group is NAME=KIND:VALUE,..., such as database=port:5432";
        for (rule, why) in [
            ("a", form),
            ("=port:1", form),
            ("a=", form),
            ("a=port", form),
            ("a=port:x", "x is no port"),
            ("a=to:1.2.3.4/40", "1.2.3.4/40 is no prefix of addresses, such as 10.0.0.0/8"),
            ("a=user:x", "no condition user, there is port, to, unit, process"),
        ] {
            assert_eq!(rule.parse::<Rule>(), Err(why.to_owned()), "{rule}");
        }
    }
}
