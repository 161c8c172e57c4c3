//! The options for work on many photos, shared by commands that classify them.

use std::sync::Arc;

use super::messages;
use super::values::{positive, threads};
use dyrelu::plan::MOST_THREADS;
use dyrelu::simd::Isa;
use dyrelu::vision::{Classifier, DecodeOptions, Labels, Preprocess};
use dyrelu::{Error, Model, Result, Session};

#[derive(clap::Args)]
pub struct Work {
    /// Number of threads; by default all that this process may use.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Largest number of photos per run of the network. Each thread runs the network by itself, so that
    /// more than one is faster only if the network has many more weights than multiply-adds, and takes
    /// more memory.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    batch: usize,
    /// Accept photos whose file is truncated or damaged, with grey or black for the missing part.
    /// A truncated WebP file is an error nevertheless.
    #[arg(long)]
    allow_truncated: bool,
    /// Largest number of pixels of a photo; a larger photo is refused before it is decoded.
    /// Decoding takes up to 16 bytes per pixel on each thread.
    #[arg(long, value_name = "N", default_value_t = DecodeOptions::DEFAULT_MAX_PIXELS)]
    max_pixels: u64,
}

impl Work {
    /// The options of a command that has `--threads` and `--batch` alone.
    pub fn of_arguments(threads: Option<usize>, batch: usize) -> Self {
        let max_pixels = DecodeOptions::DEFAULT_MAX_PIXELS;
        Work { threads, batch, allow_truncated: false, max_pixels }
    }

    /// The number of threads.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if there are more than sessions can have.
    pub fn threads(&self) -> Result<usize> {
        let threads = threads(self.threads);
        if threads > MOST_THREADS {
            let message = format!("--threads {threads}: at most {MOST_THREADS} threads");
            return Err(Error::input(message));
        }
        Ok(threads)
    }

    /// The most photos per run of the network, where `photos` photos are known.
    pub fn batch(&self, photos: usize) -> usize {
        if photos < threads(self.threads) { 1 } else { self.batch }
    }

    /// A classifier per worker. If there are fewer photos than threads, a worker has several threads.
    pub fn classifiers(
        &self,
        model: &Arc<Model>,
        preprocess: &Preprocess,
        labels: &Labels,
        photos: usize,
    ) -> Result<Vec<Classifier>> {
        let threads = self.threads()?;
        messages::detail(format_args!("preparation {}", preprocess.to_json()?));
        messages::detail(format_args!("instruction set {}, {threads} threads", Isa::get().name()));
        let workers = photos.clamp(1, threads);
        let classifiers = (0..workers).map(|worker| {
            let share = threads / workers + usize::from(worker < threads % workers);
            let session = Session::with_threads(model, share)?;
            Classifier::with_parts(session, preprocess.clone(), labels.clone())
        });
        classifiers.collect()
    }

    /// The options for decoding, and the most bytes that a file may have.
    pub fn decode_options(&self) -> (DecodeOptions, u64) {
        let options = DecodeOptions::default()
            .max_pixels(self.max_pixels)
            .allow_truncated(self.allow_truncated);
        // The limit of memory grows with the limit of pixels.
        let pixels = self.max_pixels.max(DecodeOptions::DEFAULT_MAX_PIXELS);
        let memory = pixels.saturating_mul(16);
        (options.max_memory(memory), memory)
    }
}
