//! Numbers as programs in C print them.

/// `%g` of C: six significant digits.
pub fn g(number: f64) -> String {
    let digits = number.abs().max(f64::MIN_POSITIVE).log10().floor();
    let text = format!("{number:.*}", (5.0 - digits).clamp(0.0, 12.0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
