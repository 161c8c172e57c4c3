//! Jobs that wait, and the batches that workers take.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::job::Job;
use crate::failure::{Failure, Reason};

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The number of workers.
    pub workers: usize,
    /// The most rows of a batch of several requests.
    pub max_batch: usize,
    /// How long a request waits for others, at most, while a worker is idle.
    pub max_delay: Duration,
}

/// The jobs that no worker has taken, in the order of their arrival.
pub struct Queue {
    policy: Policy,
    state: Mutex<State>,
    changed: Condvar,
    length: IntGauge,
}

struct State {
    jobs: VecDeque<Job>,
    is_open: bool,
}

impl Queue {
    /// Creates an empty queue, which shows its length in `length`.
    pub fn new(policy: Policy, length: IntGauge) -> Self {
        let state = Mutex::new(State { jobs: VecDeque::new(), is_open: true });
        Queue { policy, state, changed: Condvar::new(), length }
    }

    /// Adds a job, unless the queue is closed.
    pub fn push(&self, job: Job) -> Result<(), Failure> {
        let mut state = self.lock();
        if !state.is_open {
            return Err(Failure::new(Reason::NotReady, "the server is shutting down"));
        }
        state.jobs.push_back(job);
        self.length.set(state.jobs.len() as i64);
        self.changed.notify_one();
        Ok(())
    }

    /// Lets workers end once all jobs are taken.
    pub fn close(&self) {
        self.lock().is_open = false;
        self.changed.notify_all();
    }

    /// Returns the next batch: the oldest job and others that can run with it. Blocks while there is none,
    /// or while the oldest may still wait for others. Returns `None` once the queue is closed and empty.
    pub fn next(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            state.drop_abandoned();
            let Some(oldest) = state.jobs.front() else {
                self.length.set(0);
                if !state.is_open {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let due = oldest.queued_at + self.policy.max_delay;
            let wait = due.saturating_duration_since(Instant::now());
            let is_due = wait.is_zero() || !state.is_open;
            if is_due || state.rows_of_next() >= self.policy.max_batch {
                let batch = state.take(self.policy);
                self.length.set(state.jobs.len() as i64);
                if !state.jobs.is_empty() {
                    self.changed.notify_one();
                }
                return Some(batch);
            }
            let waited = self.changed.wait_timeout(state, wait);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes the jobs whose client went away or no longer waits.
    fn drop_abandoned(&mut self) {
        self.jobs.retain(|job| !job.is_abandoned());
    }

    /// Returns the rows of the oldest job and of those that can run with it.
    fn rows_of_next(&self) -> usize {
        let oldest = &self.jobs[0];
        let together = self.jobs.iter().skip(1).filter(|job| job.request.joins(&oldest.request));
        oldest.request.rows() + together.map(|job| job.request.rows()).sum::<usize>()
    }

    /// Removes the oldest job and as many that can run with it as a batch takes. Of what waits, a worker
    /// takes its share only, so that others have work too and all finish at about the same time.
    fn take(&mut self, policy: Policy) -> Vec<Job> {
        let limit = policy.max_batch.min(self.rows_of_next().div_ceil(policy.workers));
        let mut batch: Vec<Job> = Vec::new();
        let mut rows = 0;
        let mut rest = VecDeque::with_capacity(self.jobs.len());
        for job in self.jobs.drain(..) {
            let joins = match batch.first() {
                None => true,
                Some(oldest) => {
                    rows + job.request.rows() <= limit && job.request.joins(&oldest.request)
                }
            };
            if joins {
                rows += job.request.rows();
                batch.push(job);
            } else {
                rest.push_back(job);
            }
        }
        self.jobs = rest;
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use dyrelu::{CancelToken, Tensor};
    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::dispatch::job::{Done, Request};
    use crate::models::Version;

    type Answer = oneshot::Receiver<Result<Done, Failure>>;

    fn model() -> Arc<Version> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialects");
        Arc::new(Version::open("m", 1, &folder.join("leaky-relu-script-free.onnx")).unwrap())
    }

    fn job(version: &Arc<Version>, rows: usize, deadline: Instant) -> (Job, Answer) {
        let input = Tensor::new(&[rows, 3, 13, 11], vec![0f32; rows * 3 * 13 * 11]).unwrap();
        let inputs = vec![("input".to_string(), input)];
        let request = Request::new(version.clone(), inputs, deadline, 100).unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (reply, answer) = oneshot::channel();
        let (cancel, queued_at) = (CancelToken::new(), Instant::now());
        (Job { request, cancel, queued_at, reply, _place: place }, answer)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn queue(workers: usize, max_delay: Duration) -> Queue {
        let length = IntGauge::new("length", "length").unwrap();
        Queue::new(Policy { workers, max_batch: 4, max_delay }, length)
    }

    /// Pushes jobs with these rows, and returns the rows of the batches that workers get.
    fn batches(workers: usize, jobs: &[(&Arc<Version>, usize)]) -> Vec<Vec<usize>> {
        let queue = queue(workers, Duration::ZERO);
        let (jobs, _answers): (Vec<_>, Vec<_>) =
            jobs.iter().map(|&(version, rows)| job(version, rows, later())).unzip();
        jobs.into_iter().for_each(|job| queue.push(job).unwrap());
        queue.close();
        let batches = std::iter::from_fn(|| queue.next());
        batches.map(|jobs| jobs.iter().map(|job| job.request.rows()).collect()).collect()
    }

    #[test]
    fn a_batch_is_full_or_a_share_of_what_waits() {
        let a = model();
        let six = [(&a, 1); 6];
        assert_eq!(batches(1, &six), [vec![1; 4], vec![1; 2]]);
        assert_eq!(batches(2, &six), [vec![1; 3], vec![1; 2], vec![1]]);
        assert_eq!(batches(8, &six), vec![vec![1]; 6]);
        assert_eq!(batches(1, &[(&a, 9), (&a, 1), (&a, 3)]), [vec![9], vec![1, 3]]);
        assert_eq!(batches(1, &[(&a, 3), (&a, 2), (&a, 1)]), [vec![3, 1], vec![2]]);
    }

    #[test]
    fn requests_for_other_models_are_not_joined() {
        let (a, b) = (model(), model());
        let found = batches(1, &[(&a, 1), (&b, 2), (&a, 3), (&b, 1)]);
        assert_eq!(found, [[1, 3], [2, 1]]);
    }

    #[test]
    fn the_oldest_waits_for_others_only_so_long() {
        let (queue, a) = (queue(1, Duration::from_millis(50)), model());
        let (oldest, _answer) = job(&a, 1, later());
        let queued_at = oldest.queued_at;
        queue.push(oldest).unwrap();
        assert_eq!(queue.next().unwrap().len(), 1);
        assert!(queued_at.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn jobs_that_nobody_waits_for_are_dropped() {
        let (queue, a) = (queue(1, Duration::ZERO), model());
        let (late, mut late_answer) = job(&a, 1, Instant::now());
        let (gone, gone_answer) = job(&a, 1, later());
        drop(gone_answer);
        let (wanted, _answer) = job(&a, 2, later());
        for job in [late, gone, wanted] {
            queue.push(job).unwrap();
        }
        queue.close();
        assert_eq!(queue.next().unwrap()[0].request.rows(), 2);
        assert!(queue.next().is_none());
        assert!(matches!(late_answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(queue.push(job(&a, 1, later()).0).is_err());
    }
}
