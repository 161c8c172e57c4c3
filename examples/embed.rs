//! A classifier inside another program: one model, which threads share, and a session per thread.
//!
//!     cargo run --release --example embed -- photo.jpg...

use std::sync::Arc;
use std::thread;

use dyrelu::vision::{self, Classifier};
use dyrelu::{Model, Result, Session};

const MODEL: &str = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";
const THREADS: usize = 2;

fn main() -> Result<()> {
    let model = Model::open(MODEL)?;
    let photos: Vec<String> = std::env::args().skip(1).collect();
    let parts = photos.chunks(photos.len().div_ceil(THREADS).max(1));
    thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| classify(&model, part))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

fn classify(model: &Arc<Model>, photos: &[String]) -> Result<()> {
    let mut classifier = Classifier::new(Session::new(model))?;
    for path in photos {
        let best = &classifier.classify(&vision::load(path)?, 1)?[0];
        println!("{path}: {} ({:.1}%)", best.label, 100.0 * best.score);
    }
    Ok(())
}
