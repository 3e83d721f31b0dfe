//! Bytecode byte by byte, and random filters run as the kernel runs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::word;

use super::super::abi::{AF_INET, AF_INET6, ip, ip_bytes};
use super::*;

fn bytes(filter: &Filter) -> Vec<u8> {
    filter.bytecode().expect("it is short").unwrap_or_default()
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().expect("a prefix")
}

#[cfg(target_endian = "little")]
#[test]
fn each_condition_byte_by_byte() {
    let mut v6 = vec![8, 28, 32, 0, 10, 32, 0, 0, 255, 255, 255, 255, 0x20, 1, 0xd, 0xb8];
    v6.extend([0; 12]);
    for (filter, expected) in [
        (Filter::local_port(443..=443), vec![2, 8, 20, 0, 0, 0, 187, 1, 3, 8, 12, 0, 0, 0, 187, 1]),
        (Filter::local_port(..1024), vec![3, 8, 12, 0, 0, 0, 255, 3]),
        (Filter::peer_port(1024..), vec![4, 8, 12, 0, 0, 0, 0, 4]),
        (Filter::peer_port(..=80), vec![5, 8, 12, 0, 0, 0, 80, 0]),
        (
            Filter::local(prefix("10.0.0.0/8")),
            vec![7, 16, 20, 0, 2, 8, 0, 0, 255, 255, 255, 255, 10, 0, 0, 0],
        ),
        (Filter::peer(prefix("2001:db8::/32")), v6),
        (Filter::interface(3), vec![9, 8, 12, 0, 3, 0, 0, 0]),
        (Filter::mark(1, 15), vec![10, 12, 16, 0, 1, 0, 0, 0, 15, 0, 0, 0]),
        (Filter::cgroup(7), vec![13, 12, 16, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(bytes(&filter), expected, "{filter:?}");
    }
}

#[cfg(target_endian = "little")]
#[test]
fn combinations_jump() {
    let [a, b] = [1, 2].map(Filter::interface);
    let both = vec![9, 8, 20, 0, 1, 0, 0, 0, 9, 8, 12, 0, 2, 0, 0, 0];
    assert_eq!(bytes(&(a.clone() & b.clone())), both);
    let either = vec![9, 8, 12, 0, 1, 0, 0, 0, 1, 4, 12, 0, 9, 8, 12, 0, 2, 0, 0, 0];
    assert_eq!(bytes(&(a.clone() | b)), either);
    assert_eq!(bytes(&!a), [9, 8, 12, 0, 1, 0, 0, 0, 1, 4, 8, 0]);
    assert_eq!(bytes(&Filter::any([])), [1, 4, 8, 0]);
    // The kernel takes no empty program, so there is none.
    assert_eq!(Filter::all([]).bytecode(), Ok(None));
    assert_eq!(Filter::local_port(..).bytecode(), Ok(None));
}

#[test]
fn empty_ranges_select_nothing() {
    let nothing = Filter::any([]);
    #[allow(clippy::reversed_empty_ranges, reason = "that is the test")]
    let reversed = Filter::local_port(5..=4);
    let after_all = (Bound::Excluded(u16::MAX), Bound::Unbounded);
    for filter in [reversed, Filter::local_port(7..7), Filter::peer_port(..0)] {
        assert_eq!(filter, nothing);
    }
    assert_eq!(Filter::peer_port(after_all), nothing);
    assert_eq!(Filter::mark(3, 1), nothing);
}

#[test]
fn a_filter_that_is_too_long_says_by_how_much() {
    let many = |count: u16| Filter::any((0..count).map(|n| Filter::interface(n.into())));
    let len = |filter: &Filter| filter.bytecode().map(|bytes| bytes.map_or(0, |b| b.len()));
    // 12 bytes each; the last needs no jump.
    assert_eq!(len(&many(5461)), Ok(65528));
    let error = FilterError::TooLong { len: 65540, room: 65528 };
    assert_eq!(len(&many(5462)), Err(error.clone()));
    assert_eq!(error.to_string(), "filter of 65540 bytes, the kernel takes 65528");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    // The kernel checks jumps along the way, so the longest program is checked here as well.
    assert!(is_valid(&bytes(&many(5461))));
}

#[test]
fn what_the_kernel_lacks_is_named() {
    let filter = Filter::local_port(..5) & Filter::interface(1) & !Filter::cgroup(1);
    let error = filter.error(22).expect("it may be an old kernel");
    assert_eq!(error.to_string(), "this kernel cannot filter by cgroup, linux 5.8 can");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Unsupported);
    let error = Filter::mark(1, 1).error(1).expect("it may be nobody");
    assert_eq!(error.to_string(), "to filter by mark needs CAP_NET_ADMIN");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::PermissionDenied);
    for (filter, errno) in [(Filter::local_port(..5), 22), (filter.clone(), 1), (filter, 2)] {
        assert_eq!(filter.error(errno), None);
    }
}

/// What the kernel's programs see of a socket: `struct inet_diag_entry`.
#[derive(Clone, Debug)]
struct Entry {
    family: u8,
    ports: [u16; 2],
    ips: [[u8; 16]; 2],
    interface: u32,
    mark: u32,
    cgroup: u64,
}

/// Runs a program as `inet_diag_bc_run` does.
fn run(program: &[u8], entry: &Entry) -> bool {
    let half = |at: usize| u16::from_ne_bytes([program[at], program[at + 1]]);
    let mut at = 0;
    while at < program.len() {
        let (code, argument) = (program[at], at + 4);
        let yes = match code {
            1 => false,
            2 | 4 => entry.ports[usize::from(code == 4)] >= half(argument + 2),
            3 | 5 => entry.ports[usize::from(code == 5)] <= half(argument + 2),
            7 | 8 => {
                let [family, bits] = [program[argument], program[argument + 1]];
                assert_eq!(word(program, argument + 4), u32::MAX, "any port");
                let address = &entry.ips[usize::from(code == 8)];
                let same = |from: usize| {
                    (0..usize::from(bits)).all(|bit| {
                        let of = |bytes: &[u8]| bytes[bit / 8] << (bit % 8) & 0x80;
                        of(&address[from..]) == of(&program[argument + 8..])
                    })
                };
                if family == entry.family {
                    same(0)
                } else {
                    let mapped = address.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
                    (entry.family, family) == (AF_INET6, AF_INET) && mapped && same(12)
                }
            }
            9 => entry.interface == word(program, argument),
            10 => entry.mark & word(program, argument + 4) == word(program, argument),
            13 => {
                let id = program[argument..].first_chunk().expect("8 bytes");
                entry.cgroup == u64::from_ne_bytes(*id)
            }
            code => panic!("code {code}"),
        };
        at += if yes { usize::from(program[at + 1]) } else { usize::from(half(at + 2)) };
    }
    at == program.len()
}

/// Whether the kernel takes the program: `inet_diag_bc_audit`.
fn is_valid(program: &[u8]) -> bool {
    let no = |at: usize| usize::from(u16::from_ne_bytes([program[at + 2], program[at + 3]]));
    // Places where instructions begin: each is where the one before goes if its test is true.
    let mut places = vec![0];
    while let Some(at) = places.last().copied().filter(|at| *at < program.len()) {
        let (yes, min) = (
            usize::from(program[at + 1]),
            match program[at] {
                1 => 4,
                2..=5 | 9 => 8,
                10 | 13 => 12,
                7 | 8 => {
                    if program[at + 4] == AF_INET {
                        16
                    } else {
                        28
                    }
                }
                _ => return false,
            },
        );
        let room = program.len() - at;
        if yes < min || yes > room || yes % 4 != 0 {
            return false;
        }
        if no(at) < min || no(at) > room + 4 || no(at) % 4 != 0 {
            return false;
        }
        places.push(at + yes);
    }
    let target = |at: &usize| at + no(*at);
    let begin = &places[..places.len() - 1];
    let end = program.len();
    places.ends_with(&[end])
        && begin.iter().map(target).all(|to| to > end || places.binary_search(&to).is_ok())
}

/// A filter as a tree, and what it means.
#[derive(Clone, Debug)]
enum Tree {
    Port(usize, u16, u16),
    Prefix(usize, IpPrefix),
    Interface(u32),
    Mark(u32, u32),
    Cgroup(u64),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

impl Tree {
    fn filter(&self) -> Filter {
        match self {
            Self::Port(0, first, last) => Filter::local_port(first..=last),
            Self::Port(_, first, last) => Filter::peer_port(first..=last),
            Self::Prefix(0, prefix) => Filter::local(*prefix),
            Self::Prefix(_, prefix) => Filter::peer(*prefix),
            Self::Interface(index) => Filter::interface(*index),
            Self::Mark(mark, mask) => Filter::mark(*mark, *mask),
            Self::Cgroup(id) => Filter::cgroup(*id),
            Self::Not(tree) => !tree.filter(),
            Self::All(trees) => match &trees[..] {
                [one, other] => one.filter() & other.filter(),
                trees => Filter::all(trees.iter().map(Self::filter)),
            },
            Self::Any(trees) => match &trees[..] {
                [one, other] => one.filter() | other.filter(),
                trees => Filter::any(trees.iter().map(Self::filter)),
            },
        }
    }

    fn holds(&self, entry: &Entry) -> bool {
        match self {
            Self::Port(end, first, last) => (first..=last).contains(&&entry.ports[*end]),
            Self::Prefix(end, prefix) => {
                prefix.contains(ip(entry.family, entry.ips[*end]).expect("a family"))
            }
            Self::Interface(index) => entry.interface == *index,
            Self::Mark(mark, mask) => entry.mark & mask == *mark,
            Self::Cgroup(id) => entry.cgroup == *id,
            Self::Not(tree) => !tree.holds(entry),
            Self::All(trees) => trees.iter().all(|tree| tree.holds(entry)),
            Self::Any(trees) => trees.iter().any(|tree| tree.holds(entry)),
        }
    }
}

/// Numbers of a generator without a seed from outside: each run is the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn bit(&mut self) -> usize {
        self.below(2)
    }

    /// One of few addresses, so that some match.
    fn ip(&mut self) -> IpAddr {
        let host = [10, 0, 0, 1].map(|byte: u8| byte ^ (self.bit() as u8) << self.below(8));
        let v4 = Ipv4Addr::from(host);
        match self.below(4) {
            0 => v4.into(),
            1 => v4.to_ipv6_mapped().into(),
            2 => Ipv6Addr::from_bits(1 << self.below(128)).into(),
            _ => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        }
    }

    fn tree(&mut self, depth: usize) -> Tree {
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 | 1 => {
                let ports = [self.below(6) as u16, self.below(6) as u16];
                Tree::Port(self.bit(), ports[0], ports[1])
            }
            2 => {
                let ip = self.ip();
                let bits = self.below(if ip.is_ipv4() { 33 } else { 129 }) as u8;
                Tree::Prefix(self.bit(), IpPrefix::new(ip, bits).expect("it is short enough"))
            }
            3 => Tree::Interface(self.below(3) as u32),
            4 => Tree::Mark(self.below(4) as u32, self.below(4) as u32),
            5 => Tree::Cgroup((self.below(3) as u64) << 32),
            6 => Tree::Not(self.tree(depth - 1).into()),
            7 | 8 => Tree::All((0..self.below(4)).map(|_| self.tree(depth - 1)).collect()),
            _ => Tree::Any((0..self.below(4)).map(|_| self.tree(depth - 1)).collect()),
        }
    }

    fn entry(&mut self) -> Entry {
        let family = [AF_INET, AF_INET6][self.bit()];
        let ips = [self.ip(), self.ip()].map(|ip| match (family, ip.to_canonical()) {
            (AF_INET, IpAddr::V6(_)) => ip_bytes(Ipv4Addr::UNSPECIFIED.into()),
            (AF_INET6, IpAddr::V4(ip)) => ip_bytes(ip.to_ipv6_mapped().into()),
            (_, ip) => ip_bytes(ip),
        });
        Entry {
            family,
            ports: [self.below(6) as u16, self.below(6) as u16],
            ips,
            interface: self.below(3) as u32,
            mark: self.below(4) as u32,
            cgroup: (self.below(3) as u64) << 32,
        }
    }
}

#[test]
fn random_filters_select_what_they_say() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut outcomes = [0; 2];
    for _ in 0..20_000 {
        let tree = random.tree(4);
        let program = bytes(&tree.filter());
        assert!(is_valid(&program), "{tree:?}: {program:?}");
        for _ in 0..10 {
            let entry = random.entry();
            let holds = tree.holds(&entry);
            assert_eq!(run(&program, &entry), holds, "{tree:?}: {entry:?}: {program:?}");
            outcomes[usize::from(holds)] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 20_000), "{outcomes:?}");
}

#[test]
fn a_deep_filter_needs_no_stack() {
    let mut deep = Filter::interface(1);
    for _ in 0..5_000 {
        deep = !(deep & Filter::all([]));
    }
    assert!(is_valid(&bytes(&deep)));
}
