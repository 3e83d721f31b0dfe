//! Recordings: what is written is read again, and what is damaged does not hide the rest.

use std::env::temp_dir;

use super::ring::Limits;
use super::*;

/// A reply of so many bytes that change with `seed`, with a cookie.
fn reply(cookie: u64, seed: u8, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(3) ^ seed).collect();
    bytes[44..52].copy_from_slice(&cookie.to_le_bytes());
    bytes
}

fn frame(second: u64, replies: Vec<Vec<u8>>) -> Frame {
    let tables = Tables {
        processes: vec![(second as u32, 7, "a\"b".into())],
        units: vec![(1, "nginx.service".into())],
        hidden: 3,
        listening: vec![80, 443],
    };
    let at = Duration::from_secs(second);
    let wall = Duration::from_secs(1_795_000_000) + at;
    Frame { wall, at, took: Duration::from_micros(second * 7), tables, replies }
}

/// Sockets come, go and change their order; lengths differ.
fn frames() -> Vec<Frame> {
    let replies = |second: u64| -> Vec<Vec<u8>> {
        let cookies = (second / 3..second / 3 + 8).map(|cookie| cookie * 5 % 11);
        cookies.map(|cookie| reply(cookie, second as u8, 72 + cookie as usize * 20)).collect()
    };
    (0..10).map(|second| frame(second, replies(second))).collect()
}

/// A file with a key frame every `key` frames, and where each frame ends.
fn file(frames: &[Frame], key: usize) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Header::of_this_machine().encode();
    let mut ends = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let earlier = (at % key > 0).then(|| &frames[at - 1]);
        bytes.extend(frame.encode(earlier));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read(recording: &mut Recording) -> Vec<Frame> {
    (0..recording.len()).map(|at| recording.frame(at).expect("it is whole").clone()).collect()
}

#[test]
fn frames_are_read_as_they_were_written_in_any_order() {
    let frames = frames();
    for key in [1, 4, 100] {
        let mut recording = Recording::new(file(&frames, key).0).expect("a recording");
        assert_eq!(recording.damage(), None);
        assert_eq!(read(&mut recording), frames);
        for at in [9, 0, 5, 5, 4, 8] {
            assert_eq!(recording.frame(at), Ok(&frames[at]), "{at}");
            assert_eq!(recording.wall(at), frames[at].wall);
        }
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_has_the_samples_before() {
    let frames = frames();
    let (bytes, ends) = file(&frames, 4);
    for len in (ends[0]..bytes.len()).filter(|len| len % 7 == 0 || ends.contains(len)) {
        let mut recording = Recording::new(bytes[..len].to_vec()).expect("a recording");
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(read(&mut recording), frames[..whole], "{len}");
        let expected = (ends[whole - 1] < len).then(|| {
            let offset = ends[whole - 1];
            format!("it ends within a sample, at byte {offset}, after {whole} samples")
        });
        assert_eq!(recording.damage(), expected, "{len}");
    }
    for len in 0..ends[0] {
        assert!(Recording::new(bytes[..len].to_vec()).is_err(), "{len}");
    }
}

#[test]
fn a_damaged_byte_costs_samples_up_to_the_next_key_frame() {
    let frames = frames();
    let (bytes, ends) = file(&frames, 4);
    let begin = Header::of_this_machine().encode().len();
    // Each byte of every head, and some of what is inside.
    let heads = |at: &usize| ends.iter().any(|end| (*end..end + Head::LEN).contains(at));
    for at in (begin..bytes.len()).filter(|at| at % 11 == 0 || heads(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let hit = ends.iter().filter(|end| **end <= at).count();
        let next_key = (hit / 4 + 1) * 4;
        let expected: Vec<Frame> =
            frames.iter().take(hit).chain(frames.iter().skip(next_key)).cloned().collect();
        let mut recording = Recording::new(damaged).expect("a recording");
        assert_eq!(read(&mut recording), expected, "byte {at}");
        let said = recording.damage().expect("it is damaged");
        assert!(said.contains(&format!("after {hit} samples")), "byte {at}: {said}");
    }
}

#[test]
fn what_is_no_recording_is_said() {
    let error = |bytes: &[u8]| Recording::new(bytes.to_vec()).expect_err("no recording");
    assert_eq!(error(b""), "it is no recording of tcpinfo");
    assert_eq!(error(b"\x7fELF"), "it is no recording of tcpinfo");
    assert_eq!(error(b"tcpinfo recording 2\n"), "it was recorded by a later version of tcpinfo");
    assert_eq!(error(b"tcpinfo recording 1\n{}\n"), "its header is damaged");
    let (bytes, _) = file(&frames(), 4);
    let odd = String::from_utf8_lossy(&bytes[..120]).replace(BYTE_ORDER, "middle");
    let odd = odd.split_inclusive('\n').take(2).collect::<String>();
    assert_eq!(error(odd.as_bytes()), "its header is damaged");
    let header = Header::of_this_machine();
    assert_eq!(error(&header.encode()), "it has no sample that is whole");
    assert_eq!(Header::decode(&header.encode()).map(|(header, _)| header), Ok(header));
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let (bytes, _) = file(&frames(), 4);
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    for _ in 0..500 {
        let mut damaged = bytes.clone();
        for _ in 0..=next(8) {
            let at = next(damaged.len());
            damaged[at] = next(256) as u8;
        }
        damaged.truncate(damaged.len() - next(200));
        if let Ok(mut recording) = Recording::new(damaged) {
            for at in 0..recording.len() {
                let _ = recording.frame(at);
            }
        }
    }
}

#[test]
fn a_right_checksum_proves_nothing_about_what_is_inside() {
    let frames = frames();
    let bytes = frames[1].encode(Some(&frames[0]));
    let head = Head::decode(&bytes).expect("it is whole");
    let mut plain = Vec::new();
    let body = &bytes[Head::LEN..];
    flate2::read::ZlibDecoder::new(body).read_to_end(&mut plain).expect("it is whole");
    let parsed = |plain: &[u8]| Frame::parse(&head, plain, Some(&frames[0]));
    assert_eq!(parsed(&plain).as_ref(), Some(&frames[1]));
    assert_eq!(Frame::parse(&head, &plain, None), None, "a difference to nothing");
    for len in 0..plain.len() {
        assert_eq!(parsed(&plain[..len]), None, "{len}");
    }
    for at in 0..plain.len() {
        for bit in 0..8 {
            let mut odd = plain.clone();
            odd[at] ^= 1 << bit;
            let _ = parsed(&odd);
        }
    }
}

/// A folder of the test's own, removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = temp_dir().join(format!("tcpinfo-{test}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new name");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn limits(size: u64, time: u64, around: Option<u64>) -> Limits {
    let (time, around) = (Duration::from_secs(time), around.map(Duration::from_secs));
    Limits { size, time, around, key_every: if around.is_some() { 2 } else { 60 } }
}

#[test]
fn the_ring_keeps_what_is_around_a_moment() {
    let folder = Folder::new("around");
    let path = folder.0.join("incident.rec");
    let moments = [5, 50, 55, 150, 195];
    let mut ring = Ring::create(&path, limits(1 << 30, 1_000, Some(10)), false).expect("new");
    for second in 0..200 {
        ring.append(frame(second, vec![])).expect("room on the disk");
        if moments.contains(&second) {
            ring.keep(Duration::from_secs(second));
        }
        let recording = Recording::open(&path).expect("whole at any time");
        assert_eq!(recording.damage(), None);
        // A third more than what is needed, because what is kept is written once more.
        let useful = (0..=second).filter(|at| {
            let is_near = |moment: &u64| *moment <= second && at.abs_diff(*moment) <= 10 + 2;
            moments.iter().any(is_near) || *at + 10 + 2 >= second
        });
        let useful = useful.count();
        assert!(recording.len() <= useful + useful / 3 + 6, "{} at {second}", recording.len());
    }
    ring.finish().expect("room on the disk");
    let mut recording = Recording::open(&path).expect("a recording");
    let seconds: Vec<u64> = read(&mut recording).iter().map(|frame| frame.at.as_secs()).collect();
    // From key frame to key frame, which is every second one.
    let expected = [0..16, 40..66, 140..162, 184..200];
    let expected: Vec<u64> = expected.into_iter().flatten().collect();
    assert_eq!(seconds, expected);
    for (at, second) in seconds.iter().enumerate() {
        assert_eq!(recording.frame(at), Ok(&frame(*second, vec![])));
    }
}

#[test]
fn the_ring_keeps_what_is_newest_within_its_limits() {
    let folder = Folder::new("ring");
    let path = folder.0.join("incident.rec");
    let noise = |second: u64| -> Vec<Vec<u8>> {
        // Bytes that do not compress.
        let mut state = second + 1;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        vec![(0..1000).map(|_| byte()).collect()]
    };
    let limit = limits(40_000, 1_000_000, None);
    let mut ring = Ring::create(&path, limit, false).expect("a new file");
    for second in 0..200 {
        ring.append(frame(second, noise(second))).expect("room on the disk");
        let len = fs::metadata(&path).expect("it exists").len();
        assert_eq!(len, ring.len());
        assert!(len < 40_000 + 8_000, "{len}");
        if second % 7 > 0 {
            continue;
        }
        let mut recording = Recording::open(&path).expect("whole at any time");
        let frames = read(&mut recording);
        let first = second + 1 - frames.len() as u64;
        let expected: Vec<Frame> = (first..=second).map(|at| frame(at, noise(at))).collect();
        assert!(frames == expected, "samples {first} to {second}");
        assert!(frames.len() as u64 >= (second + 1).min(15), "{}", frames.len());
    }
    assert!(Ring::create(&path, limit, false).is_err(), "an incident is not overwritten");
    let limit = limits(1 << 30, 100, None);
    let mut ring = Ring::create(&path, limit, true).expect("it may be replaced");
    for second in 0..1000 {
        ring.append(frame(second, vec![])).expect("room on the disk");
        if second % 7 > 0 {
            continue;
        }
        let recording = Recording::open(&path).expect("whole at any time");
        let kept = recording.len() as u64;
        assert!(kept >= (second + 1).min(100) && kept <= 320, "{kept} at {second}");
    }
}
