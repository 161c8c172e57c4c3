//! Photos in, named classes out.

use std::borrow::Cow;
use std::fmt;

use super::{Embedding, Frame, Labels, Prediction, Preprocess, probabilities, top_k};
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, TensorType};
use crate::model::Model;
use crate::session::Session;
use crate::tensor::{DType, Tensor};

/// A network that classifies photos, with what comes before it and after it.
///
/// # Examples
///
/// ```
/// use dyrelu::vision::{Classifier, Frame, PixelFormat};
/// use dyrelu::{Model, Session};
///
/// let model = Model::open("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")?;
/// let mut classifier = Classifier::new(Session::new(&model))?;
///
/// // A frame of a video, in memory of the program: red, green and blue of each pixel.
/// let memory = vec![128; 3 * 320 * 240];
/// let frame = Frame::new(PixelFormat::Rgb, 320, 240, &memory)?;
/// let best = &classifier.classify(frame, 1)?[0];
/// println!("{}: {:.1}%", best.label, 100.0 * best.score);
/// # Ok::<(), dyrelu::Error>(())
/// ```
pub struct Classifier {
    session: Session,
    preprocess: Preprocess,
    labels: Labels,
    /// Whether the network ends in a softmax: otherwise its scores are logits.
    gives_probabilities: bool,
    /// Whether the network takes one image at a time.
    takes_one: bool,
}

/// What a network says about a photo.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Classified {
    /// The most probable classes, the most probable first.
    pub predictions: Vec<Prediction>,
    /// The embedding, empty if none was asked for.
    pub embedding: Vec<f32>,
}

impl Classifier {
    /// Creates a classifier for which the model file states how photos are prepared and, optionally,
    /// what the classes are called.
    ///
    /// # Errors
    ///
    /// As [`with_parts`](Self::with_parts), [`Preprocess::from_model`] and [`Labels::from_model`].
    pub fn new(session: Session) -> Result<Self> {
        let preprocess = Preprocess::from_model(session.model())?;
        let labels = Labels::from_model(session.model())?;
        Self::with_parts(session, preprocess, labels)
    }

    /// Creates a classifier that prepares photos by `preprocess` and names classes by `labels`. Classes
    /// without a name are named by their number.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the network does not have one input, or `labels` has names
    /// for another number of classes.
    pub fn with_parts(session: Session, preprocess: Preprocess, labels: Labels) -> Result<Self> {
        let model = session.model();
        let [input] = model.inputs() else {
            let count = model.inputs().len();
            return Err(Error::input(format!("a classifier has one input, this has {count}")));
        };
        if !labels.is_empty() {
            labels.check(scores(model))?;
        }
        let batch = input.shape().and_then(|shape| shape.first().copied().flatten());
        let (takes_one, gives_probabilities) = (batch == Some(1), ends_in_softmax(model.graph()));
        Ok(Classifier { session, preprocess, labels, gives_probabilities, takes_one })
    }

    /// Returns how this classifier prepares photos.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Returns the `top` most probable classes of a [`Photo`](super::Photo) or a [`Frame`], the most probable
    /// first.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the photo cannot be prepared or the network gives no scores
    /// of classes, [`Shape`](crate::ErrorKind::Shape) if the network does not take photos of this size.
    pub fn classify<'a>(
        &mut self,
        photo: impl Into<Frame<'a>>,
        top: usize,
    ) -> Result<Vec<Prediction>> {
        let input = self.preprocess.apply(photo)?;
        let outputs = self.run(&[&input])?;
        Ok(self.predictions(&outputs[0], 1, top)?.swap_remove(0))
    }

    /// Returns the result of [`classify`](Self::classify) for each photo. A photo that cannot be
    /// classified does not stop the others.
    ///
    /// Neighbours of one size after preparation run through the network together, so memory grows with
    /// the number of photos.
    pub fn classify_batch<'a, P>(
        &mut self,
        photos: &'a [P],
        top: usize,
    ) -> Vec<Result<Vec<Prediction>>>
    where
        Frame<'a>: From<&'a P>,
    {
        let inputs = photos.iter().map(|photo| self.preprocess.apply(photo)).collect();
        self.classify_prepared(inputs, top)
    }

    /// Returns the result of [`classify`](Self::classify) for each photo that [`Preprocess::apply`] has
    /// prepared, for instance on several threads. An error stays in its place.
    pub fn classify_prepared(
        &mut self,
        inputs: Vec<Result<Tensor>>,
        top: usize,
    ) -> Vec<Result<Vec<Prediction>>> {
        let classified = self.classify_with(inputs, top, None);
        classified.into_iter().map(|result| result.map(|photo| photo.predictions)).collect()
    }

    /// Returns for each photo that [`Preprocess::apply`] has prepared the result of
    /// [`classify`](Self::classify), and its embedding if one is given.
    #[doc(hidden)]
    pub fn classify_with(
        &mut self,
        inputs: Vec<Result<Tensor>>,
        top: usize,
        embedding: Option<&Embedding>,
    ) -> Vec<Result<Classified>> {
        let prepared: Vec<&Tensor> = inputs.iter().flatten().collect();
        let takes_one = self.takes_one;
        let together = |a: &&Tensor, b: &&Tensor| !takes_one && a.shape() == b.shape();
        let mut results = Vec::with_capacity(prepared.len());
        for batch in prepared.chunk_by(together) {
            match self.classify_together(batch, top, embedding) {
                Ok(classified) => results.extend(classified),
                // What stops a batch stops each of its photos.
                Err(e) => results.extend(batch.iter().map(|_| Err(e.clone()))),
            }
        }
        let mut results = results.into_iter();
        let results = inputs.into_iter().map(|input| {
            input.and_then(|_| results.next().expect("each prepared photo has a result"))
        });
        results.collect()
    }

    /// Classifies photos of one shape, at least one.
    fn classify_together(
        &mut self,
        photos: &[&Tensor],
        top: usize,
        embedding: Option<&Embedding>,
    ) -> Result<Vec<Result<Classified>>> {
        let outputs = self.run(photos)?;
        let predictions = self.predictions_of_each(&outputs[0], photos.len(), top)?;
        let embeddings = match embedding {
            Some(embedding) => embedding.pooled(&outputs[embedding.output], photos.len())?,
            None => vec![Vec::new(); photos.len()],
        };
        let classified = predictions.into_iter().zip(embeddings);
        let classified = classified.map(|(predictions, embedding)| {
            predictions.map(|predictions| Classified { predictions, embedding })
        });
        Ok(classified.collect())
    }

    /// Runs photos of one shape, at least one.
    fn run(&mut self, photos: &[&Tensor]) -> Result<Vec<Tensor>> {
        // Networks of half and double precision take and give their own types.
        let declared = self.session.model().inputs()[0].dtype();
        let dtype = declared.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        match photos {
            [photo] if dtype == DType::F32 => self.session.run(std::slice::from_ref(*photo)),
            _ => {
                let mut shape = photos[0].shape().to_vec();
                shape[0] = photos.len();
                let mut batch = Vec::with_capacity(photos.len() * photos[0].len());
                for photo in photos {
                    batch.extend_from_slice(photo.as_f32()?);
                }
                self.session.run(&[Tensor::new(&shape, batch)?.cast(dtype)?])
            }
        }
    }

    /// Returns the `top` most probable classes of each photo in the first output of a run of the network on
    /// `photos` photos, for programs that prepare photos and run the network themselves.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if `scores` is not `[photos, classes]`, or the scores of a photo
    /// have no probabilities because one is NaN or infinite.
    pub fn predictions(
        &self,
        scores: &Tensor,
        photos: usize,
        top: usize,
    ) -> Result<Vec<Vec<Prediction>>> {
        self.predictions_of_each(scores, photos, top)?.into_iter().collect()
    }

    /// Returns the result of [`predictions`](Self::predictions) for each photo.
    fn predictions_of_each(
        &self,
        scores: &Tensor,
        photos: usize,
        top: usize,
    ) -> Result<Vec<Result<Vec<Prediction>>>> {
        let shape = scores.shape();
        let classes = class_count(shape, photos).ok_or_else(|| {
            Error::input(format!(
                "a classifier gives [{photos}, classes], the network gives {shape:?}"
            ))
        })?;
        let scores = scores.cast(DType::F32)?;
        let predictions = scores.as_f32()?.chunks_exact(classes).map(|scores| {
            let scores = match self.gives_probabilities {
                true => Cow::Borrowed(scores),
                false => Cow::Owned(probabilities(scores)),
            };
            // A single one makes all probabilities NaN.
            if scores.iter().all(|score| score.is_finite()) {
                Ok(top_k(&scores, top, &self.labels))
            } else {
                Err(Error::input(
                    "the network gives scores that are NaN or infinite; check its weights and the \
                     preparation of photos",
                ))
            }
        });
        Ok(predictions.collect())
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut classifier = f.debug_struct("Classifier");
        let parts =
            classifier.field("session", &self.session).field("preprocess", &self.preprocess);
        parts.finish_non_exhaustive()
    }
}

/// Whether the first output is a softmax, or one that is cast to another type.
fn ends_in_softmax(graph: &Graph) -> bool {
    let producer = |value| graph.nodes().iter().find(|node| node.outputs.contains(&Some(value)));
    let last = graph.outputs().first().and_then(|&value| producer(value));
    let last = last.and_then(|node| match node.op {
        Op::Cast { .. } => producer(node.input(0)?),
        _ => Some(node),
    });
    last.is_some_and(|node| matches!(node.op, Op::Softmax(_)))
}

fn scores(model: &Model) -> Option<&TensorType> {
    model.outputs().first()?.ty.as_ref()
}

impl Labels {
    /// Returns the class names that the model file holds, none if it holds none.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if there are names for another number of classes than the
    /// network has.
    pub fn from_model(model: &Model) -> Result<Self> {
        let Some(lines) = model.metadata("labels") else { return Ok(Labels::default()) };
        let labels = Labels::from_lines(lines);
        labels.check(scores(model))?;
        Ok(labels)
    }

    /// Checks that there is a name for each class of an output of type `scores`, if the type states how
    /// many there are.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if there are more or fewer.
    #[doc(hidden)]
    pub fn check(&self, scores: Option<&TensorType>) -> Result<()> {
        let Some(scores) = scores else { return Ok(()) };
        let shape: Vec<usize> = scores.dims.iter().map(|dim| dim.as_size().unwrap_or(1)).collect();
        match class_count(&shape, 1) {
            Some(classes) if classes != self.len() => Err(Error::input(format!(
                "there are {} class names, and the network has {classes} classes",
                self.len()
            ))),
            _ => Ok(()),
        }
    }
}

/// Returns the number of classes in scores of `images` images: `[images, classes]`, or `[classes]` of
/// one image, followed by any number of axes of size 1.
#[doc(hidden)]
pub fn class_count(shape: &[usize], images: usize) -> Option<usize> {
    let scores = match shape {
        [count, scores @ ..] if *count == images && !scores.is_empty() => scores,
        _ if images == 1 => shape,
        _ => return None,
    };
    let (&classes, others) = scores.split_first()?;
    (classes > 0 && others.iter().all(|&size| size == 1)).then_some(classes)
}

#[cfg(test)]
mod tests {
    use super::super::Photo;
    use super::*;
    use crate::compile::Options;
    use crate::graph::{Dim, PoolKind, Softmax};

    const PLAIN: Preprocess = Preprocess::new([0.0; 3], [1.0; 3]);

    /// A network whose scores are the mean red, green and blue.
    fn means(softmax: bool, batch: Dim) -> Session {
        let mut graph = Graph::new("means");
        let dims = vec![batch, 3.into(), Dim::symbol("H"), Dim::symbol("W")];
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
        let mut y = graph.apply("mean", Op::GlobalPool(PoolKind::Average), &[x]);
        y = graph.apply("flat", Op::Flatten { axis: 1 }, &[y]);
        if softmax {
            y = graph.apply("softmax", Op::Softmax(Softmax { axis: 1, flatten: false }), &[y]);
        }
        graph.set_outputs(vec![y]);
        Session::new(&Model::from_graph(graph, Options::default()).unwrap())
    }

    fn classifier(softmax: bool, batch: Dim) -> Classifier {
        let labels = Labels::from_lines("red\ngreen\nblue");
        Classifier::with_parts(means(softmax, batch), PLAIN, labels).unwrap()
    }

    fn plain(width: u32, height: u32, pixel: [u8; 3]) -> Photo {
        Photo::new(width, height, pixel.repeat((width * height) as usize)).unwrap()
    }

    #[test]
    fn logits_and_probabilities_give_the_same() {
        let photo = plain(4, 5, [0, 255, 51]);
        let found = classifier(false, Dim::symbol("N")).classify(&photo, 2).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.label.as_str()).collect();
        assert_eq!(names, ["green", "blue"]);
        let softmax = 1f32.exp() / (0f32.exp() + 1f32.exp() + 0.2f32.exp());
        assert!((found[0].score - softmax).abs() < 1e-6);
        let again = classifier(true, Dim::symbol("N")).classify(&photo, 2).unwrap();
        assert!((found[0].score - again[0].score).abs() < 1e-6);
    }

    #[test]
    fn scores_are_ranked_without_a_run() {
        let scores = Tensor::new(&[2, 3], vec![0.0, 2.0, 1.0, 3.0, 0.0, 0.0]).unwrap();
        let found = classifier(false, Dim::symbol("N")).predictions(&scores, 2, 1).unwrap();
        let names: Vec<_> = found.iter().map(|photo| photo[0].label.as_str()).collect();
        assert_eq!(names, ["green", "red"]);
        let refused = classifier(true, Dim::symbol("N")).predictions(&scores, 3, 1);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("gives [3, classes], the network gives [2, 3]"), "{message}");
    }

    #[test]
    fn scores_without_probabilities_are_an_error_of_their_photo() {
        let refused = "scores that are NaN or infinite";
        for softmax in [false, true] {
            let mut classifier = classifier(softmax, Dim::symbol("N"));
            let photo = |value: f32| Tensor::new(&[1, 3, 1, 1], vec![0.5, value, 0.0]);
            let values = [0.75, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            let found = classifier.classify_prepared(values.map(photo).into(), 1);
            assert_eq!(found[0].as_ref().unwrap()[0].label, "green");
            for wrong in &found[1..3] {
                let message = wrong.as_ref().unwrap_err().to_string();
                assert!(message.contains(refused), "{message}");
            }
            // A class that is ruled out has the probability 0.
            assert_eq!(found[3].as_ref().unwrap()[0].label, "red");
            let scores = Tensor::new(&[1, 3], vec![0.0, f32::NAN, 1.0]).unwrap();
            let message = classifier.predictions(&scores, 1, 1).unwrap_err().to_string();
            assert!(message.contains(refused), "{message}");
        }
    }

    #[test]
    fn photos_of_any_size_go_in_one_call() {
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 255, 0]];
        let sizes = [(4, 4), (4, 4), (3, 5), (4, 4)];
        let photos: Vec<_> = sizes.iter().zip(colours).map(|(&(w, h), c)| plain(w, h, c)).collect();
        for batch in [Dim::symbol("N"), 1.into()] {
            let found = classifier(false, batch).classify_batch(&photos, 1);
            let names: Vec<_> = found.into_iter().map(|p| p.unwrap()[0].label.clone()).collect();
            assert_eq!(names, ["red", "green", "blue", "green"]);
        }
    }

    #[test]
    fn an_error_stays_in_its_place() {
        let ready = |colour| PLAIN.apply(&plain(2, 2, colour));
        let inputs = vec![ready([9, 0, 0]), Err(Error::input("no photo")), ready([0, 0, 9])];
        let found = classifier(false, Dim::symbol("N")).classify_prepared(inputs, 1);
        assert_eq!(found[0].as_ref().unwrap()[0].label, "red");
        assert_eq!(found[1].as_ref().unwrap_err().message(), "no photo");
        assert_eq!(found[2].as_ref().unwrap()[0].label, "blue");
    }

    #[test]
    fn what_does_not_fit_the_network_is_refused() {
        let labels = Labels::from_lines("red\ngreen");
        let refused = Classifier::with_parts(means(false, Dim::symbol("N")), PLAIN, labels);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("2 class names, and the network has 3 classes"), "{message}");
        let message = Classifier::new(means(false, Dim::symbol("N"))).unwrap_err().to_string();
        assert!(message.contains("does not say how photos are prepared"), "{message}");
    }
}
