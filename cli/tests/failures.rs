//! Whatever goes wrong has one sentence and its exit status.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use support::loopback::until;

use crate::program::{fails, tcpinfo};

#[test]
fn what_does_not_exist_is_said_in_a_sentence() {
    for (arguments, status, sentence) in [
        (&["list", "--pid", "4294967295"][..], 3, "no process 4294967295"),
        (
            &["list", "--fields", "rt"],
            2,
            "no field rt, there is rto, rtt, rttvar, rcv_rtt, min_rtt; `tcpinfo list --fields \
             help` lists all",
        ),
        (&["list", "--sort", "x.y"], 2, "no field x.y; `tcpinfo list --fields help` lists all"),
    ] {
        assert_eq!(fails(tcpinfo(arguments)), (status, sentence.to_owned()), "{arguments:?}");
    }
}

#[test]
fn wrong_arguments_have_the_status_of_a_usage_error() {
    for arguments in [
        &["list", "--port", "70000"][..],
        &["list", "--to", "10.0.0.0/33"],
        &["list", "--watch", "0"],
        &["list", "--reverse"],
        &["no-such-command"],
    ] {
        let output = tcpinfo(arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("error: "), "{arguments:?}: {text}");
    }
    let help = tcpinfo(&["--help"]).output().expect("the program starts");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("\nUsage"));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut command = tcpinfo(&["list", "--watch", "1ms"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("the program starts");
    let mut reader = BufReader::new(running.stdout.take().expect("it is piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("it prints lines");
    assert!(line.starts_with("state "), "{line}");
    drop(reader);
    until("the end of the program", || running.try_wait().expect("it is our child"));
    let output = running.wait_with_output().expect("it has ended");
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

/// A filter of system calls, in the language of classic BPF: `socket(AF_NETLINK)` fails.
const WITHOUT_NETLINK: &str = r"
import ctypes, os, struct, sys
errno = int(sys.argv[1])
number = {'x86_64': 41, 'aarch64': 198}[os.uname().machine]
def step(code, yes, no, k): return struct.pack('=HBBI', code, yes, no, k)
program = b''.join([
    step(0x20, 0, 0, 0),             # the number of the call
    step(0x15, 0, 3, number),        # socket?
    step(0x20, 0, 0, 16),            # its first argument
    step(0x15, 0, 1, 16),            # AF_NETLINK?
    step(0x06, 0, 0, 0x50000 | errno),
    step(0x06, 0, 0, 0x7fff0000),
])
buffer = ctypes.create_string_buffer(program)
head = ctypes.create_string_buffer(struct.pack('HL', len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
#[ignore = "needs Debian's python3: integration/test.sh"]
fn a_system_without_netlink_is_said_in_a_sentence() {
    for (errno, part) in [("93", "gVisor"), ("1", "policy"), ("13", "policy"), ("24", "ulimit")] {
        for arguments in [&["list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-c", WITHOUT_NETLINK, errno, env!("CARGO_BIN_EXE_tcpinfo")]);
            command.args(arguments);
            let (status, sentence) = fails(command);
            assert_eq!(status, 4, "{sentence}");
            assert!(sentence.contains(part), "{errno}: {sentence}");
        }
    }
}
