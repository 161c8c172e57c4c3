//! Random networks give what the reference gives: alone and in batches, on one thread and on
//! three, from memory and from files, on every instruction set of this processor.
//!
//! Runs by hand, for instance of a million networks on two processes:
//!
//!     DYRELU_DIFFERENTIAL_GRAPHS=500000 DYRELU_DIFFERENTIAL_SEED=1 \
//!         cargo test --release --test differential -- --ignored
//!
//! A network that differs is printed with its seed, and the smallest part of it that does.

mod compare;
mod found;
mod graphs;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dyrelu::simd::Isa;

/// Networks of every test run on each instruction set.
const NETWORKS: u64 = 300;

/// Longer than any network takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The network with this number.
fn network(seed: u64) -> graphs::Case {
    // Enough for a dozen of nodes.
    let mut bytes = [0; 1 << 10];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    graphs::of_bytes(&bytes)
}

/// The networks from `first` on; says how many differ.
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
            } else if since.elapsed() > PATIENCE {
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
        println!("its smallest part that differs {difference}\n{part}");
    }
    println!("{isa}: {count} networks from {first} on, {different} differ");
    different
}

/// Runs the networks in a process for each instruction set: it is chosen once a process.
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
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
fn random_networks() {
    let first = from_environment("DYRELU_DIFFERENTIAL_SEED").unwrap_or(0);
    run_on_every_instruction_set(first, NETWORKS);
}

/// Run by [`run_on_every_instruction_set`], or by hand for a long run.
#[test]
#[ignore = "a long run, by hand"]
fn one_instruction_set() {
    let first = from_environment("DYRELU_DIFFERENTIAL_SEED").unwrap_or(1 << 32);
    let count = from_environment("DYRELU_DIFFERENTIAL_GRAPHS").unwrap_or(10_000);
    assert_eq!(run(first, count), 0);
}
