//! Dates without a library: seconds since 1970 to and from text, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-25T02:05:53.123Z` as seconds since 1970.
pub(crate) fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let mut next = || date.next()?.ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let mut next = || time.next()?.ok();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    Some(days_since_1970(year, month, day) as f64 * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds)
}

/// Today as `2026-11-25`.
pub(crate) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| (time.as_secs() / 86_400) as i64);
    // The year may be off by one from the mean length of a year, the month from that of a month.
    let year = (1970 + days / 366..).find(|&year| days < days_since_1970(year + 1, 1, 1)).unwrap_or(1970);
    let month = (1..12).find(|&month| days < days_since_1970(year, month + 1, 1)).unwrap_or(12);
    format!("{year:04}-{month:02}-{:02}", days - days_since_1970(year, month, 1) + 1)
}

/// Days from 1970-01-01 in the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_days(year) > leap_days(year - 1);
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let months: i64 = before_month.get(usize::try_from(month - 1).unwrap_or(0)).copied().unwrap_or(0);
    let leap_day = i64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + months + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00.000Z"), Some(0.0));
        assert_eq!(unix_seconds("2000-03-01T00:00:01.500Z"), Some(951_868_801.5));
        assert_eq!(unix_seconds("2026-11-25T02:05:53.000Z"), Some(1_795_572_353.0));
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn today_is_the_inverse() {
        let today = today();
        let seconds = unix_seconds(&format!("{today}T00:00:00Z")).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((0.0..86_400.0 * 2.0).contains(&(now - seconds)), "{today}");
    }
}
