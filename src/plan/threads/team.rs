//! The threads of a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::crew::{Crew, Leader};
use super::sync::relax;
use crate::error::{Error, ErrorKind, Result};

/// How long a thread of the team's own spins for the next step before it sleeps, by default. Waking it
/// takes about 50 microseconds, and a step that runs without it rarely more than a few hundred.
const SPIN_DURATION: Duration = Duration::from_micros(500);

/// The most threads of a team.
pub const MOST_THREADS: usize = 1024;

/// The threads of a session: the calling thread, which leads, and helpers from a thread pool.
///
/// Helpers are jobs of the pool. The leader invites as many as a step can use and starts without
/// waiting for them, so that a pool that is busy with other jobs does not delay the run.
pub struct Team {
    threads: usize,
    helpers: Option<Helpers>,
}

/// Where the helpers of a team come from.
struct Helpers {
    leader: Leader,
    pool: Arc<ThreadPool>,
    seats: Arc<Seats>,
}

/// The seats of the helpers of a team. A seat is a number that no two threads have at a time.
struct Seats {
    /// The nanoseconds for which a helper waits on its seat for the next step, before it returns its
    /// thread to the pool.
    patience: AtomicU64,
    /// The number of helpers that were invited and have not left.
    invited: AtomicUsize,
    /// For every helper's seat, whether it is taken. The leader's seat, number 0, is not included.
    taken: Vec<AtomicBool>,
}

impl Team {
    /// Creates a team of the calling thread alone.
    pub fn alone() -> Self {
        Team { threads: 1, helpers: None }
    }

    /// Creates a team of the calling thread and `threads - 1` threads of its own. By default
    /// those spin for half a millisecond after a step, and sleep otherwise.
    ///
    /// # Errors
    /// [`Input`](ErrorKind::Input) if `threads` is 0 or more than 1024, [`Io`](ErrorKind::Io) if the
    /// operating system cannot start them.
    pub fn with_threads(threads: usize) -> Result<Self> {
        match threads {
            0 => Err(Error::input("a session needs at least one thread")),
            1 => Ok(Team::alone()),
            2..=MOST_THREADS => {
                let pool = ThreadPoolBuilder::new()
                    .num_threads(threads - 1)
                    .thread_name(|i| format!("dyrelu-{}", i + 1))
                    .build()
                    .map_err(|e| {
                        let message = format!("cannot start {} threads: {e}", threads - 1);
                        Error::new(ErrorKind::Io, message).because(e)
                    })?;
                Ok(Self::new(Arc::new(pool), threads, SPIN_DURATION))
            }
            _ => Err(Error::input(format!("a session runs on at most {MOST_THREADS} threads"))),
        }
    }

    /// Creates a team of the calling thread and of threads of a pool that may have other work. It uses
    /// one thread fewer than the pool has, and returns each after every step.
    pub fn in_pool(pool: Arc<ThreadPool>) -> Self {
        match pool.current_num_threads().min(MOST_THREADS) {
            1 => Team::alone(),
            threads => Self::new(pool, threads, Duration::ZERO),
        }
    }

    fn new(pool: Arc<ThreadPool>, threads: usize, spin_duration: Duration) -> Self {
        let taken = (1..threads).map(|_| AtomicBool::new(false)).collect();
        let (patience, invited) = (AtomicU64::new(0), AtomicUsize::new(0));
        let seats = Arc::new(Seats { patience, invited, taken });
        seats.set_patience(spin_duration);
        Team { threads, helpers: Some(Helpers { leader: Leader::new(), pool, seats }) }
    }

    /// Sets how long a helper spins for the next step before it sleeps or returns to its pool. Helpers
    /// that are spinning end accordingly.
    pub fn set_spin_duration(&mut self, duration: Duration) {
        if let Some(helpers) = &self.helpers {
            helpers.seats.set_patience(duration);
        }
    }

    /// Returns the most threads that work at a time.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` on the calling thread, and on up to `members - 1` helpers if they come before the
    /// calling thread is done.
    ///
    /// The argument of `work` is the seat of the thread, which is less than
    /// [`threads`](Self::threads). The calling thread has seat 0. A helper mostly has the same seat as
    /// in the last step.
    ///
    /// # Panics
    /// Panics if `work` panics on any of the threads.
    pub fn share(&mut self, members: usize, work: &(dyn Fn(usize) + Sync)) {
        match &mut self.helpers {
            Some(helpers) if members > 1 => {
                helpers.invite(members.min(self.threads) - 1);
                helpers.leader.share(work);
            }
            _ => work(0),
        }
    }
}

impl Helpers {
    /// Invites helpers until `wanted` of them have been invited and have not left.
    fn invite(&self, wanted: usize) {
        // Only the leader increments the number, so that it does not grow in between.
        for _ in self.seats.invited.load(Ordering::Acquire)..wanted {
            self.seats.invited.fetch_add(1, Ordering::Relaxed);
            let (crew, seats) = (self.leader.crew().clone(), self.seats.clone());
            self.pool.spawn(move || help(&crew, &seats));
        }
    }
}

impl Drop for Helpers {
    /// Lets helpers go that are spinning. No step will come.
    fn drop(&mut self) {
        self.seats.set_patience(Duration::ZERO);
    }
}

/// Takes part in the steps of a crew as a helper, on a thread of the pool.
fn help(crew: &Crew, seats: &Seats) {
    let _invitation = Invitation(seats);
    let preferred = rayon::current_thread_index().unwrap_or(0);
    let Some(seat) = seats.take(preferred) else { return };
    let mut idle_since = None;
    crew.help(seat.number + 1, |looks| {
        relax(looks);
        // Reading the clock takes about as long as a check for the next step.
        if !looks.is_multiple_of(16) {
            return true;
        }
        let patience = seats.patience();
        if looks == 0 {
            idle_since = (!patience.is_zero()).then(Instant::now);
        }
        idle_since.is_some_and(|since| since.elapsed() < patience)
    });
}

/// The invitation of a helper, which ends when it is dropped.
struct Invitation<'a>(&'a Seats);

impl Drop for Invitation<'_> {
    fn drop(&mut self) {
        self.0.invited.fetch_sub(1, Ordering::Release);
    }
}

/// A seat that a helper has taken, which is free again when this is dropped.
struct Seat<'a> {
    seats: &'a Seats,
    number: usize,
}

impl Seats {
    fn patience(&self) -> Duration {
        Duration::from_nanos(self.patience.load(Ordering::Relaxed))
    }

    fn set_patience(&self, patience: Duration) {
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        self.patience.store(nanoseconds, Ordering::Relaxed);
    }

    /// Takes the seat `preferred`, or the next free one after it. Returns `None` if no seat was free
    /// at the moment at which it was checked.
    fn take(&self, preferred: usize) -> Option<Seat<'_>> {
        let count = self.taken.len();
        let was_free = |&seat: &usize| !self.taken[seat].swap(true, Ordering::Acquire);
        let number = (preferred..preferred + count).map(|seat| seat % count).find(was_free)?;
        Some(Seat { seats: self, number })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.taken[self.number].store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_thread_of_a_team_can_take_part() {
        let mut team = Team::with_threads(3).unwrap();
        let seen = Mutex::new(vec![0; 3]);
        let all_came = || seen.lock().unwrap().iter().all(|&count| count > 0);
        let end = Instant::now() + Duration::from_secs(10);
        while !all_came() && Instant::now() < end {
            team.share(3, &|seat| {
                seen.lock().unwrap()[seat] += 1;
                std::thread::sleep(Duration::from_millis(1));
            });
        }
        assert!(all_came(), "{:?}", seen.lock().unwrap());
    }

    /// Makes a helper of a team take part in a step, and returns the seats of the team.
    fn with_helper_inside(team: &mut Team) -> Arc<Seats> {
        let helped = AtomicBool::new(false);
        let end = Instant::now() + Duration::from_secs(10);
        // A helper that comes before its step is open, and does not spin, leaves again.
        while !helped.load(Ordering::Relaxed) && Instant::now() < end {
            team.share(2, &|seat| {
                helped.fetch_or(seat > 0, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            });
        }
        assert!(helped.load(Ordering::Relaxed), "no helper has come");
        team.helpers.as_ref().unwrap().seats.clone()
    }

    /// Returns whether all helpers leave their seats within ten seconds.
    fn all_leave(seats: &Seats) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while seats.invited.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            std::thread::yield_now();
        }
        seats.invited.load(Ordering::Relaxed) == 0
    }

    #[test]
    fn helpers_spin_as_long_as_they_are_told() {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        for mut team in [Team::with_threads(2).unwrap(), Team::in_pool(pool)] {
            assert!(all_leave(&with_helper_inside(&mut team)));
            team.set_spin_duration(Duration::MAX);
            let seats = with_helper_inside(&mut team);
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(seats.invited.load(Ordering::Relaxed), 1);
            team.set_spin_duration(Duration::ZERO);
            assert!(all_leave(&seats));
            team.set_spin_duration(Duration::MAX);
            with_helper_inside(&mut team);
            drop(team);
            assert!(all_leave(&seats), "a helper spins for a team that has ended");
        }
    }

    #[test]
    fn a_busy_pool_does_not_delay_a_run() {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        let release = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let release = release.clone();
            pool.spawn(move || {
                while !release.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            });
        }
        let mut team = Team::in_pool(pool);
        // The jobs of the pool end after this loop, so that a team that waited for them would hang.
        for _ in 0..10 {
            team.share(2, &|seat| assert_eq!(seat, 0));
        }
        release.store(true, Ordering::Relaxed);
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_caller_and_the_team_goes_on() {
        let mut team = Team::with_threads(2).unwrap();
        let helped = AtomicBool::new(false);
        let work = |seat: usize| {
            if seat > 0 {
                helped.store(true, Ordering::Relaxed);
                panic!("on purpose");
            }
            while !helped.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        };
        let run = std::panic::AssertUnwindSafe(|| team.share(2, &work));
        assert!(std::panic::catch_unwind(run).is_err());
        team.share(2, &|_| ());
    }

    #[test]
    fn impossible_numbers_of_threads_are_refused() {
        assert!(Team::with_threads(0).is_err());
        assert!(Team::with_threads(MOST_THREADS + 1).is_err());
    }
}
