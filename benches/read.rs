//! What `read()` costs beside the system call: the bare call, `read()`, decoding alone, and what a
//! program gets that transmutes the reply to bindgen's struct. Beside it, what a verdict costs.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tcpinfo::{Kernel, TcpInfo, Verdict};

/// The system call and nothing else.
fn bare(stream: &TcpStream, room: &mut [u8; 512]) -> usize {
    let mut len = room.len() as libc::socklen_t;
    // SAFETY: `room` holds `len` bytes and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            room.as_mut_ptr().cast(),
            &mut len,
        )
    };
    assert_eq!(result, 0);
    len as usize
}

fn transmuted(stream: &TcpStream) -> linux_raw_sys::net::tcp_info {
    let mut info = MaybeUninit::<linux_raw_sys::net::tcp_info>::zeroed();
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` holds `len` bytes and outlives the call; every bit pattern is a `tcp_info`.
    let (result, info) = unsafe {
        let result = libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        );
        (result, info.assume_init())
    };
    assert_eq!(result, 0);
    info
}

fn read(criterion: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    let stream = TcpStream::connect(address).expect("the listener is there");
    let _peer = listener.accept().expect("a connection is waiting");
    let mut room = [0; 512];
    let len = bare(&stream, &mut room);
    let (reply, kernel) = (room, Kernel::running());

    let mut group = criterion.benchmark_group("read");
    group.bench_function("bare getsockopt", |b| b.iter(|| bare(black_box(&stream), &mut room)));
    group.bench_function("read()", |b| b.iter(|| tcpinfo::read(black_box(&stream))));
    group.bench_function("decode() alone", |b| {
        b.iter(|| TcpInfo::decode(black_box(&reply[..len]), kernel))
    });
    group.bench_function("transmute to linux-raw-sys", |b| {
        b.iter(|| transmuted(black_box(&stream)))
    });
    group.finish();
}

/// A connection that sends, at two moments: every rule is asked until the last ones.
fn verdict(criterion: &mut Criterion) {
    let reading = |bytes: u64| {
        let mut reply = [0; 280];
        (reply[0], reply[7]) = (1, 0);
        let mut put = |at: usize, value: u64, size: usize| {
            let bytes = value.to_ne_bytes();
            let from = if cfg!(target_endian = "big") { 8 - size } else { 0 };
            reply[at..at + size].copy_from_slice(&bytes[from..from + size]);
        };
        let fields = [
            ("unacked", 40),
            ("snd_cwnd", 40),
            ("rtt", 21_000),
            ("min_rtt", 20_000),
            ("segs_out", bytes / 1448),
            ("data_segs_out", bytes / 1448),
            ("delivered", bytes / 1448),
            ("bytes_sent", bytes),
            ("bytes_acked", bytes),
            ("busy_time", bytes),
        ];
        for (name, value) in fields {
            let field = tcpinfo::FIELDS.iter().find(|field| field.name == name);
            let field = field.expect("the table has it");
            put(field.offset, value, field.size);
        }
        TcpInfo::decode(&reply, &Kernel::from_release("6.18.0")).expect("it is not empty")
    };
    let (earlier, later) = (reading(1_000_000), reading(2_000_000));
    let second = Duration::from_secs(1);
    let verdict = Verdict::between(&earlier, &later, second);
    assert_eq!(verdict.cause, tcpinfo::Cause::Network, "{verdict}");
    criterion.bench_function("verdict/between()", |b| {
        b.iter(|| Verdict::between(black_box(&earlier), black_box(&later), second))
    });
    criterion.bench_function("verdict/between(), idle", |b| {
        b.iter(|| Verdict::between(black_box(&later), black_box(&later), second))
    });
}

criterion_group!(benches, read, verdict);
criterion_main!(benches);
