//! Times of runs: what they were, what disturbed them, and whether they differ from others.

use std::sync::Barrier;
use std::time::Instant;

use serde::Serialize;

use dyrelu::{Result, Session, Tensor};

/// How long to measure.
#[derive(Clone, Copy)]
pub enum Length {
    Seconds(f64),
    /// The number of runs of each session.
    Runs(usize),
}

/// Measured runs.
pub struct Runs {
    /// In seconds, in the order of each session.
    pub times: Vec<f64>,
    pub usage: Usage,
}

/// Measures runs of sessions at the same time.
pub fn measure_runs(
    sessions: &mut [Session],
    inputs: &[Tensor],
    warmup: usize,
    length: Length,
) -> Result<Runs> {
    let (begin, end) = (Barrier::new(sessions.len() + 1), Barrier::new(sessions.len() + 1));
    let measure = |session: &mut Session| {
        let warm = (0..warmup).try_for_each(|_| session.run(inputs).map(drop));
        begin.wait();
        let start = Instant::now();
        let mut times = Vec::new();
        let goes_on = |times: &Vec<f64>| match length {
            Length::Seconds(seconds) => start.elapsed().as_secs_f64() < seconds || times.len() < 10,
            Length::Runs(count) => times.len() < count,
        };
        let mut measured = warm;
        while measured.is_ok() && goes_on(&times) {
            let start = Instant::now();
            measured = session.run(inputs).map(drop);
            times.push(start.elapsed().as_secs_f64());
        }
        end.wait();
        // The system forgets the times of a thread that has ended.
        end.wait();
        measured.map(|()| times)
    };
    let (times, usage) = std::thread::scope(|scope| {
        let threads: Vec<_> =
            sessions.iter_mut().map(|session| scope.spawn(|| measure(session))).collect();
        begin.wait();
        let period = Period::begin();
        end.wait();
        let usage = period.end();
        end.wait();
        let times = threads.into_iter().map(|thread| match thread.join() {
            Ok(times) => times,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        (times.collect::<Result<Vec<_>>>(), usage)
    });
    Ok(Runs { times: times?.concat(), usage })
}

/// A summary of times, in milliseconds per image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Statistics {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    pub standard_deviation: f64,
}

impl Statistics {
    /// Summarises times, of which there is at least one.
    pub fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let squares = sorted.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
        Statistics {
            min: sorted[0],
            mean,
            p50: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
            p95: quantile(&sorted, 0.95),
            p99: quantile(&sorted, 0.99),
            max: sorted[sorted.len() - 1],
            standard_deviation: (squares / (count - 1.0).max(1.0)).sqrt(),
        }
    }

    /// What the line with the median does not say.
    pub fn as_text(&self) -> String {
        format!(
            "min {:.3}, mean {:.3}, p95 {:.3}, p99 {:.3}, max {:.3}, standard deviation {:.3} ms",
            self.min, self.mean, self.p95, self.p99, self.max, self.standard_deviation
        )
    }
}

/// The `q`-quantile of `values`, which are sorted.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// The time that the threads of this process have been running, and waiting for a processor that ran
/// something else, in seconds.
#[derive(Clone, Copy)]
struct Scheduled {
    running: f64,
    waiting: f64,
}

/// Returns `None` on systems other than Linux.
fn scheduled() -> Option<Scheduled> {
    let mut sum = Scheduled { running: 0.0, waiting: 0.0 };
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let mut nanoseconds = text.split_whitespace().map(|number| number.parse::<f64>().ok());
        sum.running += nanoseconds.next()?? / 1e9;
        sum.waiting += nanoseconds.next()?? / 1e9;
    }
    Some(sum)
}

/// A period in which runs are measured.
pub struct Period {
    start: Instant,
    scheduled: Option<Scheduled>,
}

/// What a period took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    pub wall_s: f64,
    /// Time on processors, of all threads together. Absent if the system does not report it.
    pub cpu_s: Option<f64>,
    /// Share of the time in which threads that could run waited for a processor. Absent if the system
    /// does not report it.
    pub disturbed_share: Option<f64>,
}

impl Period {
    /// Begins a period. All threads that count must exist at its end.
    pub fn begin() -> Self {
        Period { scheduled: scheduled(), start: Instant::now() }
    }

    pub fn end(self) -> Usage {
        let wall_s = self.start.elapsed().as_secs_f64();
        let difference = self.scheduled.zip(scheduled()).map(|(before, after)| Scheduled {
            running: (after.running - before.running).max(0.0),
            waiting: (after.waiting - before.waiting).max(0.0),
        });
        Usage {
            wall_s,
            cpu_s: difference.map(|time| time.running),
            disturbed_share: difference.map(|t| t.waiting / (t.running + t.waiting).max(1e-9)),
        }
    }
}

impl Usage {
    /// The largest share of waiting in which times are those of the network.
    const UNDISTURBED: f64 = 0.02;

    /// Says how many processors worked, if the system reports it.
    pub fn busy(&self) -> Option<String> {
        self.cpu_s.map(|cpu| format!("{:.2} processors busy", cpu / self.wall_s))
    }

    /// Says that the machine was busy, if it was.
    pub fn warning(&self) -> Option<String> {
        let share = self.disturbed_share.filter(|&share| share > Self::UNDISTURBED)?;
        Some(format!(
            "other work disturbed the measurement: threads waited for a processor in {:.0}% of \
             their time",
            100.0 * share
        ))
    }
}

/// How much slower or faster the second of two samples is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Difference {
    /// The median of the new times divided by that of the old.
    pub ratio: f64,
    /// The probability of ranks as different as these if both samples were of one distribution: the test of
    /// Mann, Whitney and Wilcoxon in its normal approximation.
    pub p: f64,
}

impl Difference {
    /// Compares times, of which there is at least one on each side.
    pub fn between(old: &[f64], new: &[f64]) -> Self {
        let median = |times: &[f64]| Statistics::of(times).p50;
        let mut all: Vec<(f64, bool)> = old.iter().map(|&time| (time, false)).collect();
        all.extend(new.iter().map(|&time| (time, true)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (n, m) = (old.len() as f64, new.len() as f64);
        let (mut ranks_of_new, mut ties, mut first) = (0.0, 0.0, 0);
        for equal in all.chunk_by(|a, b| a.0 == b.0) {
            let count = equal.len() as f64;
            // Equal times share the mean of their ranks.
            let rank = first as f64 + (count + 1.0) / 2.0;
            ranks_of_new += rank * equal.iter().filter(|(_, is_new)| *is_new).count() as f64;
            ties += count.powi(3) - count;
            first += equal.len();
        }
        let u = ranks_of_new - m * (m + 1.0) / 2.0;
        let total = n + m;
        let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
        let z = if variance > 0.0 { (u - n * m / 2.0) / variance.sqrt() } else { 0.0 };
        Difference { ratio: median(new) / median(old), p: two_sided(z) }
    }

    pub fn as_text(&self) -> String {
        match self.p {
            p if p >= 0.01 => format!("the same as before, as far as it shows (p = {p:.2})"),
            p => format!("{:.3} times the time of before (p = {p:.1e})", self.ratio),
        }
    }
}

/// The probability that a standard normal number is at least as far from zero as `z`, by the approximation
/// 7.1.26 of Abramowitz and Stegun, which is off by at most 1.5e-7.
fn two_sided(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients =
        [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = coefficients.iter().fold(0.0, |sum, c| (sum + c) * t);
    (polynomial * (-x * x).exp()).clamp(0.0, 1.0)
}

/// The moment `seconds` after 1970 began, as ISO 8601 in UTC.
pub fn date(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

/// A fingerprint of a file (FNV-1a with 64 bits), which shows that two measurements are of one network.
pub fn fingerprint(bytes: &[u8]) -> String {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("fnv1a-64:{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summarised() {
        let times: Vec<f64> = (1..=101).rev().map(f64::from).collect();
        let s = Statistics::of(&times);
        assert_eq!((s.min, s.mean, s.p50, s.p90, s.max), (1.0, 51.0, 51.0, 91.0, 101.0));
        assert_eq!((s.p95, s.p99), (96.0, 100.0));
        assert!((s.standard_deviation - 29.3).abs() < 0.01);
        assert_eq!(Statistics::of(&[2.0]).standard_deviation, 0.0);
    }

    /// The new times exceed the old in 33 of 36 pairs, which is 2.402 standard deviations above 18.
    #[test]
    fn differences_have_the_probability_of_the_rank_test() {
        let old = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let d = Difference::between(&old, &[4.5, 5.5, 6.5, 7.5, 8.5, 9.5]);
        assert!((d.p - 0.016_31).abs() < 1e-4, "{d:?}");
        let d = Difference::between(&old, &old);
        assert!((d.p - 1.0).abs() < 1e-6 && d.ratio == 1.0, "{d:?}");
        assert!(Difference::between(&[1.0; 5], &[1.0; 5]).p > 0.99);
        let far: Vec<f64> = (0..50).map(|i| 10.0 + f64::from(i)).collect();
        let d = Difference::between(&far, &far.iter().map(|x| x * 10.0).collect::<Vec<_>>());
        assert!(d.p < 1e-10 && d.ratio > 9.0, "{d:?}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        assert_eq!(fingerprint(b"a"), "fnv1a-64:af63dc4c8601ec8c");
    }
}
