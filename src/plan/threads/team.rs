//! The threads of a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::crew::{Crew, Leader};
use super::sync::relax;
use crate::error::{Error, ErrorKind, Result};

/// How long a thread of the session's own looks for the next step before it sleeps. Waking it takes
/// about 50 microseconds, a step without it rarely more than a few hundred.
const PATIENCE: Duration = Duration::from_micros(500);

/// The most threads of a team.
pub const MOST_THREADS: usize = 1024;

/// The threads that run a network: the calling one, which leads, and helpers from a pool.
///
/// Helpers are jobs of the pool. The leader invites as many as a step can use and goes on without
/// waiting for them to come, so that a pool that is busy with other jobs delays nothing.
pub struct Team {
    threads: usize,
    helpers: Option<Helpers>,
}

/// Where the helpers of a team come from.
struct Helpers {
    leader: Leader,
    pool: Arc<ThreadPool>,
    places: Arc<Places>,
    /// How long a helper looks for the next step before it gives its thread back to the pool.
    patience: Duration,
}

/// The places of helpers in a team.
struct Places {
    /// Helpers that were invited and have not left.
    invited: AtomicUsize,
    /// Whether each seat is taken. That of the leader is not among them.
    taken: Vec<AtomicBool>,
}

impl Team {
    /// The calling thread alone.
    pub fn alone() -> Self {
        Team { threads: 1, helpers: None }
    }

    /// The calling thread and `threads - 1` threads of the team's own. They look for work for half
    /// a millisecond after a step, and sleep otherwise.
    ///
    /// # Errors
    /// `Input` if `threads` is 0 or more than 1024, `Io` if the operating system
    /// refuses a thread.
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
                Ok(Self::new(Arc::new(pool), threads, PATIENCE))
            }
            _ => Err(Error::input(format!("a session runs on at most {MOST_THREADS} threads"))),
        }
    }

    /// The calling thread and the threads of a pool that may have other work, one thread fewer
    /// than the pool has. A helper gives its thread back after each step.
    pub fn in_pool(pool: Arc<ThreadPool>) -> Self {
        match pool.current_num_threads().min(MOST_THREADS) {
            1 => Team::alone(),
            threads => Self::new(pool, threads, Duration::ZERO),
        }
    }

    fn new(pool: Arc<ThreadPool>, threads: usize, patience: Duration) -> Self {
        let taken = (1..threads).map(|_| AtomicBool::new(false)).collect();
        let places = Arc::new(Places { invited: AtomicUsize::new(0), taken });
        Team { threads, helpers: Some(Helpers { leader: Leader::new(), pool, places, patience }) }
    }

    /// How many threads may work at a time.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` on the calling thread and on up to `members - 1` helpers, if they come in time.
    /// The argument is the seat of the thread, below [`threads`](Self::threads): 0 for the calling
    /// thread, and rarely another one for a helper than in the last step.
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
    /// Sees to it that `wanted` helpers are there or have been invited.
    fn invite(&self, wanted: usize) {
        // Only the leader adds to the number, so that it does not grow in between.
        for _ in self.places.invited.load(Ordering::Acquire)..wanted {
            self.places.invited.fetch_add(1, Ordering::Relaxed);
            let (crew, places) = (self.leader.crew().clone(), self.places.clone());
            let patience = self.patience;
            self.pool.spawn(move || help(&crew, &places, patience));
        }
    }
}

/// What an invited helper does, on a thread of the pool.
fn help(crew: &Crew, places: &Places, patience: Duration) {
    let _invitation = Invitation(places);
    let wish = rayon::current_thread_index().unwrap_or(0);
    let Some(seat) = places.sit_down(wish) else { return };
    let mut idle_since = None;
    crew.help(seat.number + 1, |looks| {
        relax(looks);
        if looks == 0 {
            idle_since = (!patience.is_zero()).then(Instant::now);
        }
        // Reading the clock takes about as long as a look.
        !looks.is_multiple_of(16) || idle_since.is_some_and(|since| since.elapsed() < patience)
    });
}

/// A helper that was invited, until it leaves.
struct Invitation<'a>(&'a Places);

impl Drop for Invitation<'_> {
    fn drop(&mut self) {
        self.0.invited.fetch_sub(1, Ordering::Release);
    }
}

/// A seat that is taken, until the helper leaves.
struct Seat<'a> {
    places: &'a Places,
    number: usize,
}

impl Places {
    /// The seat `wish`, or else the next one that is free. `None` if others took every seat just
    /// before it was looked at.
    fn sit_down(&self, wish: usize) -> Option<Seat<'_>> {
        let count = self.taken.len();
        let is_free = |&seat: &usize| !self.taken[seat].swap(true, Ordering::Acquire);
        let number = (wish..wish + count).map(|seat| seat % count).find(is_free)?;
        Some(Seat { places: self, number })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.places.taken[self.number].store(false, Ordering::Release);
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

    #[test]
    fn a_pool_that_is_busy_delays_nothing() {
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
        // The jobs of the pool end only after this, so that waiting for it would never end.
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
    fn threads_that_no_machine_has_are_refused() {
        assert!(Team::with_threads(0).is_err());
        assert!(Team::with_threads(MOST_THREADS + 1).is_err());
    }
}
