//! Photos through a probed network, and what is known afterwards.

use std::path::Path;
use std::sync::Arc;

use super::freeze;
use super::page;
use super::probe::Probe;
use super::statistics::{Histogram, Statistics, Summary};
use super::tables;
use crate::error::Result;
use crate::graph::Graph;
use crate::model::Model;
use crate::session::Session;
use crate::tensor::Tensor;

/// Runs a network on photos, and counts what its dynamic activations do with them.
pub struct Explainer {
    model: Arc<Model>,
    probe: Probe,
    session: Session,
    statistics: Statistics,
}

impl Explainer {
    /// Compiles the network with what goes in and out of its dynamic activations as its outputs.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the network has no dynamic activation, otherwise as
    /// [`Session::with_threads`].
    pub fn new(model: &Arc<Model>, threads: usize) -> Result<Self> {
        let (probed, probe) = Probe::new(model)?;
        let session = Session::with_threads(&probed, threads)?;
        let statistics = Statistics::of(&probe);
        Ok(Explainer { model: model.clone(), probe, session, statistics })
    }

    /// Adds a photo, of which `input` is the network's input. After an error, nothing is added.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn add(&mut self, name: &Path, input: &Tensor) -> Result<()> {
        let outputs = self.session.run(std::slice::from_ref(input))?;
        self.statistics.add(name, input, &self.probe.read(&outputs)?);
        Ok(())
    }

    /// Returns the number of photos.
    pub fn photos(&self) -> usize {
        self.statistics.photos
    }

    /// Returns the figures. An activation is static if no parameter deviates by more than `tolerance`.
    pub fn summary(&self, tolerance: f64) -> Summary {
        self.statistics.summary(tolerance)
    }

    /// Returns the histogram of each activation, in execution order. There are none before the first photo.
    pub fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        self.statistics.layers.iter().filter_map(|layer| layer.histogram.as_ref())
    }

    /// Returns the names and contents of the files that show `summary`: the page, which is about the network
    /// `name`, and the figures as CSV.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if a name cannot be written as CSV.
    pub fn files(&self, name: &str, summary: &Summary) -> Result<[(&'static str, String); 3]> {
        Ok([
            ("index.html", page::html(name, &self.statistics, summary)),
            ("activations.csv", tables::activations(summary)?),
            ("coefficients.csv", tables::coefficients(summary)?),
        ])
    }

    /// Returns the network with the mean parameters of every activation that is static in `summary`, and how
    /// many are.
    ///
    /// # Errors
    ///
    /// As [`Tensor::new`].
    pub fn freeze(&self, summary: &Summary) -> Result<(Graph, usize)> {
        freeze::freeze(self.model.graph().clone(), &self.probe, &self.statistics, summary)
    }
}
