//! When a request is repeated, and after how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Attempts without a byte arriving before it is given up.
pub(crate) const ATTEMPTS: u32 = 6;
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause that a server may ask for.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Statuses that may be gone the next time.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The pause after attempt `attempt`, from 1: doubling from `first` on, up to 30 s, each between half of it and all, so
/// that many clients do not come back at once.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    let whole = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST);
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    whole.mul_f64(0.5 + 0.5 * random)
}

/// `Retry-After`: seconds, or a date as in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(secs) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let parts: Vec<&str> = value.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| name == month)? as i64 + 1;
    let (day, year) = (day.parse::<i64>().ok()?, year.parse::<i64>().ok()?);
    let clock: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hour, minute, second] = clock.as_slice() else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || *hour > 23 || *minute > 59 || *second > 60 {
        return None;
    }
    // Days since 1970-01-01 with the year beginning in March, so that the leap day is its last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let at =
        UNIX_EPOCH + Duration::from_secs(days.try_into().unwrap_or(0u64) * 86_400 + hour * 3600 + minute * 60 + second);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let first = Duration::from_millis(500);
        for (attempt, most) in [(1, 500), (2, 1000), (5, 8000), (40, 30_000)] {
            let pause = pause(first, attempt).as_millis();
            assert!((most / 2..=most).contains(&pause), "{attempt}: {pause}");
        }
    }

    #[test]
    fn dates_and_seconds() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(5)));
        assert_eq!(retry_after("Sat, 06 Nov 1993 08:49:37 GMT", now), Some(Duration::ZERO));
        for bad in ["", "soon", "-1", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
