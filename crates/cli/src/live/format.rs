//! Numbers as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `41216` as `41.2K`, `1_235_814_400` as `1.24B`.
pub(crate) fn count(number: u64) -> String {
    for (unit, size) in [("B", 1e9), ("M", 1e6), ("K", 1e4)] {
        if number as f64 >= size {
            let scaled = number as f64 / if unit == "K" { 1e3 } else { size };
            let digits = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
            return format!("{scaled:.digits$}{unit}");
        }
    }
    grouped(number)
}

/// A size in memory or on the disk.
pub(crate) fn bytes(number: u64) -> String {
    let mut scaled = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.5 {
            return if unit == "B" || scaled >= 99.95 {
                format!("{scaled:.0} {unit}")
            } else {
                format!("{scaled:.1} {unit}")
            };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// A rate: `12,345`, or `7.3` when it is small.
pub(crate) fn rate(number: f64) -> String {
    if !number.is_finite() {
        return "-".into();
    }
    if number < 99.95 { format!("{number:.1}") } else { grouped(number.round() as u64) }
}

/// A span of time in its two largest units: `42s`, `3m 07s`, `2h 05m`, `3d 04h`.
pub(crate) fn duration(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {:02}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// A loss.
pub(crate) fn loss(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value.abs() < 100.0 { format!("{value:.4}") } else { format!("{value:.2e}") }
}

/// A number of small and changing size, such as a learning rate.
pub(crate) fn scientific(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (41_216, "41,216"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn counts_keep_three_digits() {
        let cases = [
            (9_999, "9,999"),
            (10_000, "10.0K"),
            (41_216, "41.2K"),
            (999_499, "999K"),
            (1_000_000, "1.00M"),
            (12_345_678, "12.3M"),
            (1_235_814_400, "1.24B"),
        ];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn sizes_and_spans() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(212 << 20), "212 MiB");
        assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        let span = |secs| duration(Duration::from_secs(secs));
        assert_eq!([span(0), span(59), span(60), span(3599)], ["0s", "59s", "1m 00s", "59m 59s"]);
        assert_eq!([span(3600), span(86_399), span(90_000)], ["1h 00m", "23h 59m", "1d 01h"]);
    }

    #[test]
    fn rates_and_losses_survive_odd_values() {
        assert_eq!([rate(7.26), rate(12_345.4), rate(f64::INFINITY)], ["7.3", "12,345", "-"]);
        assert_eq!([loss(3.214_56), loss(12_345.0), loss(f64::NAN)], ["3.2146", "1.23e4", "NaN"]);
        assert_eq!([scientific(0.0), scientific(2e-4)], ["0", "2.00e-4"]);
    }
}
