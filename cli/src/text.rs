//! Numbers for people.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shares_are_not_zero() {
        for (part, text) in
            [(0.0, "0%"), (0.000_01, "<0.01%"), (0.002, "0.20%"), (0.015, "1.5%"), (0.34, "34%")]
        {
            assert_eq!(share(part), text);
        }
    }
}
