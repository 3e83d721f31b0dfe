//! Verdicts from steps beside those of whole replies: equal for any two of them.

use super::super::CAUSES;
use super::*;
use crate::info::TcpInfo;
use crate::kernel::Kernel;
use crate::wire::LEN;

/// The steps as a monitor takes them: modulo each counter's range.
fn steps(earlier: &CounterNumbers, later: &CounterNumbers) -> Steps {
    let mut steps = [0; CounterNumbers::LEN];
    for field in FIELDS.iter().filter(|it| it.kind == crate::info::FieldKind::Counter) {
        let step = later.values[field.rank].wrapping_sub(earlier.values[field.rank]);
        steps[field.rank] = step & u64::MAX >> (64 - 8 * field.size);
    }
    steps
}

/// Both ways to judge two replies of a kernel: from whole replies, and from steps. Also whether the
/// second is a short cut.
fn both(earlier: &[u8], later: &[u8], release: &str, elapsed: Duration) -> [(Verdict, bool); 2] {
    let kernel = Kernel::from_release(release);
    let info = |bytes: &[u8]| TcpInfo::decode(bytes, &kernel).expect("it is not empty");
    let whole = Verdict::between(&info(earlier), &info(later), elapsed);
    let filled = |bytes: &[u8]| {
        let mut filled = [0; LEN];
        let len = bytes.len().min(LEN);
        filled[..len].copy_from_slice(&bytes[..len]);
        filled
    };
    let (before, after) = (filled(earlier), filled(later));
    let before = Reply::new(&before, earlier.len(), &kernel);
    let after = Reply::new(&after, later.len(), &kernel);
    let (from, raw) = (CounterNumbers::of(&before), CounterNumbers::of(&after));
    let kept = Earlier::of(&before, from.present);
    let steps = steps(&from, &raw);
    let by_steps = Verdict::of_steps(&kept, &after, &raw, &steps, elapsed);
    [(whole, false), (by_steps, is_quiet(&after, &steps))]
}

fn agree(earlier: &[u8], later: &[u8], release: &str, elapsed: Duration) -> Verdict {
    let [(whole, _), (by_steps, is_quiet)] = both(earlier, later, release, elapsed);
    assert_eq!(whole, by_steps, "{whole}\n{by_steps}");
    if is_quiet {
        assert_eq!(whole.cause, Cause::TooLittle, "{whole}");
    }
    whole
}

const RELEASES: [&str; 7] = ["3.10.0", "4.4.0", "4.19.90", "5.10.0", "6.1.0", "6.18.0", "7.3.0"];

/// Replies of which most counters grow by little: each byte but the first of an integer mostly
/// stays.
fn grown(earlier: &[u8], by: &[u8], state: u8, widely: bool) -> Vec<u8> {
    let mut later = earlier.to_vec();
    for field in FIELDS {
        let at = field.offset..field.offset + field.size;
        if at.end > later.len() {
            continue;
        }
        let seed = u64::from(by[field.offset % by.len()]);
        let step = if widely { seed << (seed % 20) } else { seed * seed / 64 };
        let bytes = &mut later[at];
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        let value = u64::from_le_bytes(value).wrapping_add(step).to_le_bytes();
        let len = bytes.len();
        bytes.copy_from_slice(&value[..len]);
    }
    later[0] = state;
    later
}

/// Bytes that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = 1 + self.below(299);
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

#[test]
fn steps_judge_as_whole_replies_do() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut causes = [0; CAUSES];
    for _ in 0..20_000 {
        let release = RELEASES[random.below(RELEASES.len() as u64) as usize];
        let elapsed = Duration::from_millis(1_000 + random.below(100_000));
        let states = [random.below(14) as u8, random.below(14) as u8];
        let widely = random.below(2) == 0;
        let (mut earlier, mut by) = (random.bytes(), random.bytes());
        // Both replies are of one kernel.
        by.resize(earlier.len(), 7);
        earlier[0] = states[0];
        // Most numbers of most replies are small, without flags, timeouts and probes.
        let mut low: Vec<u8> =
            earlier.iter().step_by(4).flat_map(|byte| [*byte, 0, 0, 0]).collect();
        low.truncate(earlier.len());
        low.iter_mut().take(8).skip(1).for_each(|byte| *byte = 0);
        for (earlier, later) in [
            (&earlier, by.clone()),
            (&earlier, grown(&earlier, &by, states[1], widely)),
            (&earlier, grown(&earlier, &by, states[0], widely)),
            (&low, low.clone()),
            (&low, grown(&low, &by, states[0], widely)),
            (&low, grown(&low, &[0, 1, 2, 3], states[0], false)),
            (&low, grown(&low, &[0, 1, 2, 3], 7, false)),
        ] {
            causes[agree(earlier, &later, release, elapsed).cause as usize] += 1;
        }
    }
    for cause in Cause::ALL {
        assert!(causes[cause as usize] > 0, "never {cause}: {causes:?}");
    }
}

/// Replies of faults made for real, which `integration/verdicts.sh --save` kept.
#[test]
#[cfg(target_endian = "little")]
fn steps_judge_faults_of_the_past_as_whole_replies_do() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/data/verdicts.txt");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("SKIPPED: replies of faults: the package does not have them");
        return;
    };
    let reply = |words: &str| -> Vec<u8> {
        let words = words.split_terminator(',').map(|word| match word {
            "" => 0,
            word => u32::from_str_radix(word, 16).expect("hexadecimal digits"),
        });
        words.flat_map(u32::to_le_bytes).collect()
    };
    let mut judged = 0;
    for line in text.lines() {
        let [_, _, _, elapsed, cause, earlier, later] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("seven words: {line}")
        };
        let elapsed = Duration::from_millis(elapsed.parse().expect("milliseconds"));
        let (earlier, later) = (reply(earlier), reply(later));
        let verdict = agree(&earlier, &later, "6.18.0", elapsed);
        assert_eq!(verdict.cause.text(), cause, "{line}");
        // Its first reading against itself, as if nothing had happened since.
        agree(&earlier, &earlier, "6.18.0", elapsed);
        judged += 1;
    }
    assert!(judged >= 100, "{judged} replies");
}

#[test]
fn what_is_kept_of_a_reading_is_small() {
    assert!(size_of::<Earlier>() <= 7, "{}", size_of::<Earlier>());
}

#[test]
fn causes_are_at_the_places_of_their_numbers() {
    for (place, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, place);
    }
}
