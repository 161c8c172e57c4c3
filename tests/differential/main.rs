//! Compares the engine with the reference executor on random networks: on single images and batches,
//! on one thread and three, from memory and from files, on every instruction set of this processor.
//!
//! A longer search is started by hand, for example of half a million networks:
//!
//!     DYRELU_DIFFERENTIAL_GRAPHS=500000 DYRELU_DIFFERENTIAL_SEED=1 \
//!         cargo test --release --test differential -- --ignored
//!
//! A network on which they differ is printed with its seed, followed by the smallest part of it on
//! which they still differ.
#![cfg(feature = "write")]

mod compare;
mod found;
mod graphs;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dyrelu::simd::Isa;

/// The number of networks per instruction set in a test run.
const NETWORKS: u64 = 300;

/// A network that takes longer than this counts as a hang.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The network of a seed.
fn network(seed: u64) -> graphs::Case {
    // Enough bytes for a dozen nodes.
    let mut bytes = [0; 1 << 10];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    graphs::from_bytes(&bytes)
}

/// Compares `count` networks whose seeds start at `first`. Returns the number that differ.
fn run(first: u64, count: u64) -> u64 {
    static CURRENT: AtomicU64 = AtomicU64::new(0);
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::spawn(|| {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let current = CURRENT.load(Ordering::Relaxed);
            if current != last {
                (last, since) = (current, Instant::now());
            } else if since.elapsed() > TIMEOUT {
                eprintln!("network {current} does not end");
                std::process::abort();
            }
        }
    });
    let isa = Isa::get().name();
    let mut different = 0;
    for seed in first..first + count {
        CURRENT.store(seed, Ordering::Relaxed);
        if seed > first && (seed - first).is_multiple_of(1_000) {
            println!("{isa}: {} networks, {different} differ", seed - first);
        }
        let case = network(seed);
        let Some(difference) = compare::difference(&case) else { continue };
        different += 1;
        println!("network {seed} on {isa} {difference}");
        let part = compare::shrink(&case);
        let difference = compare::difference(&part).unwrap_or_default();
        println!("the smallest part of it that differs {difference}\n{part}");
    }
    println!("{isa}: {count} networks from seed {first}, {different} differ");
    different
}

/// Runs one process per instruction set, because a process chooses its instruction set once.
fn run_on_every_instruction_set(first: u64, count: u64) {
    let mut processes = Vec::new();
    for isa in Isa::available() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_instruction_set", "--ignored", "--nocapture"])
            .env("DYRELU_ISA", isa.name())
            .env("DYRELU_DIFFERENTIAL_GRAPHS", count.to_string())
            .env("DYRELU_DIFFERENTIAL_SEED", first.to_string())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        processes.push((isa.name(), child));
    }
    let mut failed = Vec::new();
    for (isa, child) in processes {
        let output = child.wait_with_output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            failed.push(isa);
        }
    }
    assert!(failed.is_empty(), "the engine differs from the reference on {failed:?}");
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

#[test]
fn random_networks() {
    let first = from_environment("DYRELU_DIFFERENTIAL_SEED").unwrap_or(0);
    run_on_every_instruction_set(first, NETWORKS);
}

/// Started by [`run_on_every_instruction_set`], or by hand for a longer search.
#[test]
#[ignore = "started by hand for a longer search"]
fn one_instruction_set() {
    let first = from_environment("DYRELU_DIFFERENTIAL_SEED").unwrap_or(1 << 32);
    let count = from_environment("DYRELU_DIFFERENTIAL_GRAPHS").unwrap_or(10_000);
    assert_eq!(run(first, count), 0);
}
