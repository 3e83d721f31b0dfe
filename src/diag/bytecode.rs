//! Programs that the kernel runs for each socket: `struct inet_diag_bc_op`. Pure.
//!
//! A program is a list of instructions. The kernel accepts a program only if each instruction goes
//! on with the next one when its test is true, and jumps forward when it is false. A socket is
//! selected if the program ends exactly at its end; a jump beyond the end rejects it.
//!
//! ```text
//! all(A, B)           any(A, B)           not(A)
//!   A  false: reject    A  false: B         A  false: end
//!   B  false: reject    jump to the end     jump to reject
//!                       B  false: reject
//! ```
//!
//! Targets are indices: an instruction of the program, its length for the end, or one more to
//! reject. So a list of programs becomes one program by moving numbers, and nothing is recursive.

use std::net::IpAddr;

use super::abi::{AF_INET, AF_INET6};
use super::prefix::IpPrefix;

const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
const INET_DIAG_BC_D_GE: u8 = 4;
const INET_DIAG_BC_D_LE: u8 = 5;
const INET_DIAG_BC_S_COND: u8 = 7;
const INET_DIAG_BC_D_COND: u8 = 8;
const INET_DIAG_BC_DEV_COND: u8 = 9;
const INET_DIAG_BC_MARK_COND: u8 = 10;
const INET_DIAG_BC_CGROUP_COND: u8 = 13;

/// Longest program: jumps are 16-bit numbers, rejecting needs 4 more, and all are multiples of 4.
pub(super) const MAX_LEN: usize = (u16::MAX as usize & !3) - 4;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Local,
    Peer,
}

/// What one instruction tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    PortAtLeast(End, u16),
    PortAtMost(End, u16),
    Address(End, IpPrefix),
    /// Index of the interface that the socket is bound to.
    Interface(u32),
    Mark {
        mark: u32,
        mask: u32,
    },
    Cgroup(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    /// Without a test, it always jumps.
    test: Option<Test>,
    /// Where to go if the test is false.
    no: usize,
}

/// A program. The empty one selects every socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Program(Vec<Instruction>);

impl Program {
    /// Selects no socket.
    pub(super) fn never() -> Self {
        Self(vec![Instruction { test: None, no: 2 }])
    }

    /// Selects what passes this test.
    pub(super) fn test(test: Test) -> Self {
        Self(vec![Instruction { test: Some(test), no: 2 }])
    }

    /// Selects what each of these programs selects.
    pub(super) fn all(programs: &[Self]) -> Self {
        let total = programs.iter().map(|program| program.0.len()).sum();
        let mut all = Vec::with_capacity(total);
        for Self(program) in programs {
            let (begin, reject) = (all.len(), program.len() + 1);
            // The end of a program is the beginning of the next.
            let moved = |no| if no == reject { total + 1 } else { begin + no };
            all.extend(program.iter().map(|i| Instruction { no: moved(i.no), ..*i }));
        }
        Self(all)
    }

    /// Selects what one of these programs selects.
    pub(super) fn any(programs: &[Self]) -> Self {
        let Some((Self(last), before)) = programs.split_last() else {
            return Self::never();
        };
        let total = before.iter().map(|program| program.0.len() + 1).sum::<usize>() + last.len();
        let mut any = Vec::with_capacity(total);
        for Self(program) in before {
            let (begin, end) = (any.len(), program.len());
            // What rejects goes behind the jump that is added here: to the next program.
            let moved = |no| if no == end { total } else { begin + no };
            any.extend(program.iter().map(|i| Instruction { no: moved(i.no), ..*i }));
            any.push(Instruction { test: None, no: total });
        }
        let begin = any.len();
        any.extend(last.iter().map(|i| Instruction { no: begin + i.no, ..*i }));
        Self(any)
    }

    /// Selects what this program does not.
    pub(super) fn not(mut self) -> Self {
        let end = self.0.len();
        for instruction in self.0.iter_mut().filter(|instruction| instruction.no == end) {
            instruction.no = end + 2;
        }
        // What rejects goes behind this jump, which is the new end.
        self.0.push(Instruction { test: None, no: end + 2 });
        self
    }

    /// Runs the program, given what each test says; `None` if the end depends on a test that says
    /// nothing.
    #[cfg(feature = "monitor")]
    pub(super) fn run(&self, test: impl Fn(Test) -> Option<bool>) -> Option<bool> {
        let end = self.0.len();
        let mut at = 0;
        while at < end {
            let Instruction { test: asked, no } = self.0[at];
            at = match asked.map_or(Some(false), &test) {
                Some(true) => at + 1,
                Some(false) => no,
                None => return self.run_both_ways(test),
            };
        }
        Some(at == end)
    }

    /// The same from the end to the beginning, through each instruction once.
    #[cfg(feature = "monitor")]
    fn run_both_ways(&self, test: impl Fn(Test) -> Option<bool>) -> Option<bool> {
        let end = self.0.len();
        let mut ends = vec![None; end + 2];
        (ends[end], ends[end + 1]) = (Some(true), Some(false));
        for (at, Instruction { test: asked, no }) in self.0.iter().enumerate().rev() {
            ends[at] = match asked.map_or(Some(false), &test) {
                Some(true) => ends[at + 1],
                Some(false) => ends[*no],
                None if ends[at + 1] == ends[*no] => ends[*no],
                None => None,
            };
        }
        ends[0]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = Test> {
        self.0.iter().filter_map(|instruction| instruction.test)
    }

    /// Bytes of the encoded program.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|instruction| instruction.len()).sum()
    }

    /// The program's bytes. `None` if they are more than [`MAX_LEN`].
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut end = 0;
        let mut places = Vec::with_capacity(self.0.len() + 2);
        for instruction in &self.0 {
            places.push(end);
            end += instruction.len();
        }
        places.extend([end, end + 4]);
        if end > MAX_LEN {
            return None;
        }
        let mut bytes = Vec::with_capacity(end);
        for (instruction, place) in self.0.iter().zip(&places) {
            let jump = u16::try_from(places[instruction.no] - place).expect("at most MAX_LEN + 4");
            instruction.encode(jump, &mut bytes);
        }
        Some(bytes)
    }
}

impl Instruction {
    const HEAD: usize = 4;

    fn len(&self) -> usize {
        Self::HEAD
            + match self.test {
                None => 0,
                Some(Test::PortAtLeast(..) | Test::PortAtMost(..) | Test::Interface(_)) => 4,
                Some(Test::Mark { .. } | Test::Cgroup(_)) => 8,
                Some(Test::Address(_, prefix)) => 8 + if prefix.ip().is_ipv4() { 4 } else { 16 },
            }
    }

    /// Appends the bytes. If the test is false, the next instruction is `no` bytes further on.
    fn encode(&self, no: u16, bytes: &mut Vec<u8>) {
        let code = match self.test {
            None => INET_DIAG_BC_JMP,
            Some(Test::PortAtLeast(End::Local, _)) => INET_DIAG_BC_S_GE,
            Some(Test::PortAtLeast(End::Peer, _)) => INET_DIAG_BC_D_GE,
            Some(Test::PortAtMost(End::Local, _)) => INET_DIAG_BC_S_LE,
            Some(Test::PortAtMost(End::Peer, _)) => INET_DIAG_BC_D_LE,
            Some(Test::Address(End::Local, _)) => INET_DIAG_BC_S_COND,
            Some(Test::Address(End::Peer, _)) => INET_DIAG_BC_D_COND,
            Some(Test::Interface(_)) => INET_DIAG_BC_DEV_COND,
            Some(Test::Mark { .. }) => INET_DIAG_BC_MARK_COND,
            Some(Test::Cgroup(_)) => INET_DIAG_BC_CGROUP_COND,
        };
        let yes = u8::try_from(self.len()).expect("at most 28 bytes");
        bytes.extend([code, yes]);
        bytes.extend(no.to_ne_bytes());
        match self.test {
            None => {}
            // A second `inet_diag_bc_op` whose `no` is the port.
            Some(Test::PortAtLeast(_, port) | Test::PortAtMost(_, port)) => {
                bytes.extend([0, 0]);
                bytes.extend(port.to_ne_bytes());
            }
            Some(Test::Interface(index)) => bytes.extend(index.to_ne_bytes()),
            Some(Test::Mark { mark, mask }) => {
                bytes.extend([mark, mask].map(u32::to_ne_bytes).as_flattened());
            }
            Some(Test::Cgroup(id)) => bytes.extend(id.to_ne_bytes()),
            // `struct inet_diag_hostcond`.
            Some(Test::Address(_, prefix)) => {
                const ANY_PORT: i32 = -1;
                let family = if prefix.ip().is_ipv4() { AF_INET } else { AF_INET6 };
                bytes.extend([family, prefix.len(), 0, 0]);
                bytes.extend(ANY_PORT.to_ne_bytes());
                match prefix.ip() {
                    IpAddr::V4(ip) => bytes.extend(ip.octets()),
                    IpAddr::V6(ip) => bytes.extend(ip.octets()),
                }
            }
        }
    }
}
