//! Time at the edge: everything below takes it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in ms.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Unix time in seconds.
pub fn unix_s() -> i64 {
    unix_ms() / 1000
}
