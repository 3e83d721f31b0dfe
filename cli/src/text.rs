//! Numbers for people: three digits and a unit.

use std::time::Duration;

/// Bytes with a decimal prefix: `0`, `999`, `1.2k`, `34M`.
pub(crate) fn bytes(number: f64) -> String {
    scaled(number, &["", "k", "M", "G", "T", "P", "E"])
}

/// The same each second.
pub(crate) fn rate(number: f64) -> String {
    scaled(number, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s", "EB/s"])
}

/// `0`, `38us`, `1.5ms`, `204ms`, `7.5s`, `3m20s`, `2h05m`.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs();
    match micros {
        0 => "0".into(),
        1..60_000_000 => scaled_by(micros as f64, 1000.0, &["us", "ms", "s"]),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 100 * 3600 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A part of one as percent: `0%`, `0.02%`, `1.5%`, `34%`.
pub(crate) fn share(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        _ if percent <= 0.0 => "0%".into(),
        _ if percent < 0.01 => "<0.01%".into(),
        _ if percent < 1.0 => format!("{percent:.2}%"),
        _ if percent < 9.95 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

fn scaled(number: f64, units: &[&str]) -> String {
    scaled_by(number, 1000.0, units)
}

/// Two digits below ten, else none behind the point.
fn scaled_by(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut at) = (number.max(0.0), 0);
    // 999.6 of one unit would be printed as 1000.
    while number >= step - 0.5 && at + 1 < units.len() {
        number /= step;
        at += 1;
    }
    if at > 0 && number < 9.95 {
        format!("{number:.1}{}", units[at])
    } else {
        format!("{number:.0}{}", units[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        for (number, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (999.6, "1.0k"),
            (1_000.0, "1.0k"),
            (9_960.0, "10k"),
            (999_499.0, "999k"),
            (999_600.0, "1.0M"),
            (34e6, "34M"),
            (1e20, "100E"),
            (-5.0, "0"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(rate(1.25e9), "1.2GB/s");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (micros, text) in [
            (0, "0"),
            (38, "38us"),
            (1_500, "1.5ms"),
            (204_000, "204ms"),
            (999_700, "1.0s"),
            (59_900_000, "60s"),
            (200_000_000, "3m20s"),
            (7_500_000_000, "2h05m"),
            (400_000_000_000, "4d15h"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn small_shares_are_not_zero() {
        for (part, text) in
            [(0.0, "0%"), (0.000_01, "<0.01%"), (0.002, "0.20%"), (0.015, "1.5%"), (0.34, "34%")]
        {
            assert_eq!(share(part), text);
        }
    }
}
