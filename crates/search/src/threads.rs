//! Several cores: a range of devices is cut into stretches, and what they give is put together in their order, so that the
//! result does not depend on how many there were.

use std::ops::Range;
use std::thread;

/// Below so many keys a second thread costs more than it brings (some 50 us against 20 ns a key).
const KEYS_PER_THREAD_MIN: usize = 32 * 1024;

/// As many threads as the process may use cores.
pub fn threads_default() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Evaluates `f` over `0..keys` in up to `threads` stretches side by side; the results in the order of the stretches.
/// Stretches begin at multiples of `align`.
pub fn chunked<T: Send>(
    keys: usize,
    threads: usize,
    align: usize,
    f: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let count = threads.min(keys / KEYS_PER_THREAD_MIN).max(1);
    if count == 1 {
        return vec![f(0..keys)];
    }
    let stretch = keys.div_ceil(count).next_multiple_of(align.max(1));
    let ranges = (0..keys)
        .step_by(stretch)
        .map(|at| at..(at + stretch).min(keys));
    let f = &f;
    thread::scope(|scope| {
        let mut ranges = ranges.peekable();
        let mine = ranges.next();
        let others: Vec<_> = ranges.map(|range| scope.spawn(move || f(range))).collect();
        let mut results: Vec<T> = mine.into_iter().map(f).collect();
        results.extend(others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        results
    })
}
