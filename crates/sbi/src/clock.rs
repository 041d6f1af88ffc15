//! Time at the edge: everything below takes it as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last ms of the year 9999, beyond which RFC 3339 has no text.
const LAST_MS: i64 = 253_402_300_799_999;

/// Unix time in ms.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Unix time in seconds.
pub fn unix_s() -> i64 {
    unix_ms() / 1000
}

/// Unix time in ms as DateTime (TS 29.571): RFC 3339, in UTC.
pub fn date_time(unix_ms: i64) -> String {
    let ms = u64::try_from(unix_ms.clamp(0, LAST_MS)).unwrap_or(0);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_have_no_text_are_told_as_the_nearest_that_has() {
        assert_eq!(date_time(1_795_896_000_250), "2026-11-28T20:00:00.250Z");
        assert_eq!(date_time(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
