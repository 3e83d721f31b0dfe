//! What `read()` costs beside the system call: the bare call, `read()`, decoding alone, and what a
//! program gets that transmutes the reply to bindgen's struct.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use criterion::{Criterion, criterion_group, criterion_main};
use tcpinfo::{Kernel, TcpInfo};

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

criterion_group!(benches, read);
criterion_main!(benches);
