//! Numbers as text, without an allocation.

use std::io::Write;
use std::time::Duration;

use crate::info::FieldValue;

/// Appends the number of a metric: an integer with all its digits, a time in seconds.
#[inline]
pub(super) fn push_value(out: &mut Vec<u8>, value: FieldValue) {
    match value {
        FieldValue::Integer(integer) => push_integer(out, integer),
        FieldValue::Duration(time) => push_seconds(out, time),
        // No property is a metric.
        other => push_float(out, other.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Two digits for each number below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[inline]
pub(super) fn push_integer(out: &mut Vec<u8>, integer: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = integer;
    while rest >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    // What is left is one digit, or nothing if the last pair was all.
    if rest > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a time in seconds, exactly: `0.000038`, `1.5`, `7`.
#[inline]
pub(super) fn push_seconds(out: &mut Vec<u8>, time: Duration) {
    push_integer(out, time.as_secs());
    let mut nanos = time.subsec_nanos();
    if nanos == 0 {
        return;
    }
    let mut digits = *b".000000000";
    let mut end = 1;
    let mut at = 100_000_000;
    while nanos > 0 {
        digits[end] = b'0' + (nanos / at) as u8;
        nanos %= at;
        at /= 10;
        end += 1;
    }
    out.extend_from_slice(&digits[..end]);
}

/// Appends the shortest text that is read as the same number, as [`f64`] displays itself.
pub(super) fn push_float(out: &mut Vec<u8>, float: f64) {
    write!(out, "{float}").expect("a vector takes all bytes");
}

/// The form of a bound that OpenMetrics asks for: `0.005`, `1.0`, `5e-05`, `1e+06`.
pub(super) fn canonical(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').expect("it is of this form");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    if (-4..6).contains(&exponent) {
        return format!("{float:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("digits are text")
    }

    #[test]
    fn integers_have_all_their_digits() {
        let mut numbers = vec![0, u64::MAX, u64::MAX - 1, u64::from(u32::MAX)];
        for digits in 0..20 {
            let power = 10_u64.pow(digits);
            numbers.extend([power - 1, power, power + 1, 2 * (power / 2), power / 3]);
        }
        for number in numbers {
            assert_eq!(written(|out| push_integer(out, number)), number.to_string());
        }
    }

    #[test]
    fn times_are_exact_decimals() {
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (38, "0.000038"),
            (1_500, "0.0015"),
            (999_999, "0.999999"),
            (1_000_000, "1"),
            (1_100_000, "1.1"),
            (86_400_000_001, "86400.000001"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(written(|out| push_seconds(out, Duration::from_micros(micros))), text);
        }
        assert_eq!(written(|out| push_seconds(out, Duration::new(3, 1))), "3.000000001");
    }

    #[test]
    fn below_a_second_a_time_is_what_a_float_displays() {
        for micros in (0..1_000_000).step_by(7) {
            let time = Duration::from_micros(micros);
            let text = written(|out| push_seconds(out, time));
            assert_eq!(text, time.as_secs_f64().to_string());
        }
    }

    #[test]
    fn bounds_are_canonical() {
        for (float, text) in [
            (0.000_05, "5e-05"),
            (0.000_1, "0.0001"),
            (0.000_25, "0.00025"),
            (1.0, "1.0"),
            (14_400.0, "14400.0"),
            (250_000.0, "250000.0"),
            (1e6, "1e+06"),
            (2.5e8, "2.5e+08"),
            (1e10, "1e+10"),
        ] {
            assert_eq!(canonical(float), text);
        }
    }
}
