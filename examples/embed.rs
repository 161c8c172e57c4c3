//! A classifier inside another program: one model, a session a thread.
//!
//!     cargo run --release --example embed -- photo.jpg...

use std::error::Error;
use std::sync::Arc;
use std::thread;

use dyrelu::vision::{self, Labels, Preprocess};
use dyrelu::{Model, Session};

const MODEL: &str = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::open(MODEL)?;
    let preprocess = Preprocess::from_json(model.metadata("preprocess").unwrap_or("{}"))?;
    let labels = Labels::from_lines(model.metadata("labels").unwrap_or_default());
    let photos: Vec<String> = std::env::args().skip(1).collect();

    thread::scope(|scope| {
        // The model is shared; each thread has a session, which is its scratch memory.
        let parts = photos.chunks(photos.len().div_ceil(2).max(1));
        let (model, preprocess, labels) = (&model, &preprocess, &labels);
        let threads: Vec<_> = parts
            .map(|part| scope.spawn(move || classify(model, preprocess, labels, part)))
            .collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a classifying thread panicked"))
    })?;
    Ok(())
}

fn classify(
    model: &Arc<Model>,
    preprocess: &Preprocess,
    labels: &Labels,
    photos: &[String],
) -> dyrelu::Result<()> {
    let mut session = Session::new(model)?;
    for path in photos {
        let input = preprocess.apply(&vision::load(path)?)?;
        let scores = session.run(&[input])?;
        let probabilities = vision::probabilities(scores[0].as_f32()?);
        let best = &vision::top_k(&probabilities, 1, labels)[0];
        println!("{path}: {} ({:.1}%)", best.label, 100.0 * best.score);
    }
    Ok(())
}
