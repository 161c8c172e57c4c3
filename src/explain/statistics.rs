//! What is counted over photos.

use std::path::{Path, PathBuf};

use super::probe::{Probe, Reading};
use crate::tensor::Tensor;

/// The side of a histogram.
pub const BINS: usize = 80;

/// The number of photos that are shown with their attention.
const SHOWN: usize = 3;

/// An intercept that is not close to zero, by the paper.
const SHIFTED: f32 = 0.05;

/// Sums over photos.
pub struct Statistics {
    pub photos: usize,
    pub layers: Vec<Layer>,
    /// The first photos: path and the network's input, of shape `[1, 3, height, width]`.
    pub shown: Vec<(PathBuf, Tensor)>,
}

/// Sums of one activation.
pub struct Layer {
    pub name: String,
    form: &'static str,
    k: usize,
    channels: usize,
    slopes: usize,
    intercepts: usize,
    pub parameters: Vec<String>,
    /// Per parameter and channel.
    values: Vec<Moments>,
    /// The distance of the first two slopes.
    apart: Moments,
    functions: u64,
    unusual_slopes: u64,
    shifted: u64,
    pub histogram: Option<Histogram>,
    /// Over positions and photos.
    attention: Moments,
    /// The attention for the photos that are shown, with its height and width.
    pub attentions: Vec<(Vec<f32>, [usize; 2])>,
    /// The coefficients for the photos that are shown, per parameter and channel.
    pub shown: Vec<Vec<f32>>,
}

/// How often each pair of an input and an output occurs.
pub struct Histogram {
    /// Inputs and outputs are from `-range` to `range`.
    pub range: f32,
    /// Row by row from the largest output down.
    pub counts: Vec<u32>,
    /// Pairs outside of the range.
    pub outside: u64,
}

/// Mean and deviation (Welford's sums), smallest and largest value.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    least: f64,
    most: f64,
}

/// The figures of all activations.
pub struct Summary {
    pub activations: Vec<Figures>,
    /// Of all functions of all activations.
    pub unusual_slopes: Option<f64>,
    pub intercepts: Option<f64>,
}

/// The figures of one activation.
pub struct Figures {
    pub name: String,
    pub form: &'static str,
    pub k: usize,
    pub channels: usize,
    /// The share of functions (one per photo and channel) with a slope below 0 or above 1.
    pub unusual_slopes: Option<f64>,
    /// The share of functions with an intercept beyond 0.05.
    pub intercepts: Option<f64>,
    /// Mean and deviation of the distance of the first two slopes.
    pub apart: Option<(f64, f64)>,
    /// The largest deviation between photos of a parameter, as a mean over channels. `None` for one photo.
    pub deviation: Option<f64>,
    /// Mean and deviation of the attention over positions and photos.
    pub attention: Option<(f64, f64)>,
    pub is_static: bool,
    pub parameters: Vec<Parameter>,
}

/// The figures of one parameter of an activation.
pub struct Parameter {
    pub name: String,
    /// Over photos and channels.
    pub mean: f64,
    pub deviation: f64,
    pub least: f64,
    pub most: f64,
    /// The deviation between photos, as a mean over channels.
    pub between_photos: f64,
    /// Per channel, over photos.
    pub channel_means: Vec<f64>,
    pub channel_deviations: Vec<f64>,
}

impl Statistics {
    pub fn of(probe: &Probe) -> Self {
        let layers = probe.activations.iter().map(|activation| Layer {
            name: activation.about.name.clone(),
            form: activation.about.form,
            k: activation.about.k,
            channels: activation.about.channels,
            slopes: activation.slopes,
            intercepts: activation.intercepts,
            parameters: activation.parameters.clone(),
            values: Vec::new(),
            apart: Moments::default(),
            functions: 0,
            unusual_slopes: 0,
            shifted: 0,
            histogram: None,
            attention: Moments::default(),
            attentions: Vec::new(),
            shown: Vec::new(),
        });
        Statistics { photos: 0, layers: layers.collect(), shown: Vec::new() }
    }

    /// Adds what each activation did with a photo.
    pub fn add(&mut self, path: &Path, input: &Tensor, readings: &[Reading]) {
        let is_shown = self.shown.len() < SHOWN;
        for (layer, reading) in self.layers.iter_mut().zip(readings) {
            layer.add(reading, is_shown);
        }
        if is_shown {
            self.shown.push((path.into(), input.clone()));
        }
        self.photos += 1;
    }

    /// Returns the figures. An activation is static if no parameter deviates by more than `tolerance`.
    pub fn summary(&self, tolerance: f64) -> Summary {
        let share = |count: fn(&Layer) -> Option<u64>| {
            let counted =
                self.layers.iter().filter_map(|layer| Some((count(layer)?, layer.functions)));
            let (part, whole) = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            (whole > 0).then(|| part as f64 / whole as f64)
        };
        Summary {
            activations: self
                .layers
                .iter()
                .map(|layer| layer.figures(self.photos, tolerance))
                .collect(),
            unusual_slopes: share(Layer::with_unusual_slopes),
            intercepts: share(Layer::with_intercepts),
        }
    }
}

impl Summary {
    /// States which shares of all functions have unusual slopes and intercepts.
    pub fn shares(&self) -> String {
        let slopes = |share: f64| {
            format!("{:.0}% of all functions have a slope below 0 or above 1", 100.0 * share)
        };
        let shifted = |share: f64| format!("{:.0}%", 100.0 * share);
        match (self.unusual_slopes.map(slopes), self.intercepts.map(shifted)) {
            (Some(slopes), Some(share)) => {
                format!("{slopes}, {share} an intercept beyond {SHIFTED}")
            }
            (Some(slopes), None) => format!("{slopes}, and there are no intercepts"),
            (None, Some(share)) => {
                format!("{share} of all functions have an intercept beyond {SHIFTED}")
            }
            (None, None) => "the functions have neither slopes nor intercepts".into(),
        }
    }
}

impl Layer {
    fn with_unusual_slopes(&self) -> Option<u64> {
        (self.slopes > 0).then_some(self.unusual_slopes)
    }

    fn with_intercepts(&self) -> Option<u64> {
        (self.intercepts > 0).then_some(self.shifted)
    }

    /// The mean over photos per parameter and channel.
    pub fn means(&self) -> Vec<f32> {
        self.values.iter().map(|moments| moments.mean as f32).collect()
    }

    /// The mean distance over channels between each parameter for a photo that is shown and its mean over
    /// photos.
    pub fn distances(&self, shown: usize) -> impl Iterator<Item = (&str, f64)> {
        let channels = (self.values.len() / self.parameters.len()).max(1);
        let values = self.shown[shown].chunks(channels).zip(self.values.chunks(channels));
        self.parameters.iter().zip(values).map(move |(name, (values, moments))| {
            let away = values.iter().zip(moments).map(|(&v, m)| (f64::from(v) - m.mean).abs());
            (name.as_str(), away.sum::<f64>() / channels as f64)
        })
    }

    fn add(&mut self, reading: &Reading, is_shown: bool) {
        if is_shown {
            self.shown.push(reading.parameters.to_vec());
        }
        let count = self.parameters.len();
        let channels = reading.parameters.len() / count;
        self.values.resize(reading.parameters.len(), Moments::default());
        for (moments, &value) in self.values.iter_mut().zip(reading.parameters) {
            moments.add(value);
        }
        for channel in 0..channels {
            let parameter = |j: usize| reading.parameters[j * channels + channel];
            let unusual = (0..self.slopes).any(|j| !(0.0..=1.0).contains(&parameter(j)));
            let mut intercepts = self.slopes..self.slopes + self.intercepts;
            let shifted = intercepts.any(|j| parameter(j).abs() > SHIFTED);
            self.functions += 1;
            self.unusual_slopes += u64::from(unusual);
            self.shifted += u64::from(shifted);
            if self.slopes >= 2 {
                self.apart.add((parameter(0) - parameter(1)).abs());
            }
        }
        if let Some((map, size)) = reading.attention {
            map.iter().for_each(|&value| self.attention.add(value));
            if is_shown {
                self.attentions.push((map.to_vec(), size));
            }
        }
        let histogram = self.histogram.get_or_insert_with(|| Histogram::for_values_like(reading));
        histogram.add(reading);
    }

    fn figures(&self, photos: usize, tolerance: f64) -> Figures {
        let channels = self.values.len() / self.parameters.len();
        let parameter = |(name, of_channels): (&String, &[Moments])| {
            let all = of_channels.iter().fold(Moments::default(), |sum, m| sum.merged(m));
            let deviations: Vec<f64> = of_channels.iter().map(Moments::deviation).collect();
            Parameter {
                name: name.clone(),
                mean: all.mean,
                deviation: all.deviation(),
                least: all.least,
                most: all.most,
                between_photos: deviations.iter().sum::<f64>() / channels as f64,
                channel_means: of_channels.iter().map(|moments| moments.mean).collect(),
                channel_deviations: deviations,
            }
        };
        let parts = self.parameters.iter().zip(self.values.chunks(channels.max(1)));
        let parameters: Vec<Parameter> = parts.map(parameter).collect();
        let largest = parameters.iter().map(|p| p.between_photos).fold(0.0, f64::max);
        let share = |count: Option<u64>| Some(count? as f64 / self.functions as f64);
        let attention = self.attention.pair();
        Figures {
            name: self.name.clone(),
            form: self.form,
            k: self.k,
            channels: self.channels,
            unusual_slopes: share(self.with_unusual_slopes()),
            intercepts: share(self.with_intercepts()),
            apart: self.apart.pair(),
            deviation: (photos > 1).then_some(largest),
            attention,
            is_static: photos > 1
                && largest <= tolerance
                && attention.is_none_or(|(_, deviation)| deviation <= tolerance),
            parameters,
        }
    }
}

impl Histogram {
    /// An empty histogram with the range of one photo's values, without their outermost thousandth.
    fn for_values_like(reading: &Reading) -> Self {
        let range = |values: &[f32]| {
            let mut sizes: Vec<f32> =
                values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).collect();
            sizes.sort_unstable_by(f32::total_cmp);
            let at = sizes.len().saturating_sub(1 + sizes.len() / 1000);
            sizes.get(at).copied().filter(|&size| size > 0.0).unwrap_or(1.0)
        };
        let range = range(reading.input).max(range(reading.output));
        Histogram { range, counts: vec![0; BINS * BINS], outside: 0 }
    }

    fn add(&mut self, reading: &Reading) {
        let bin = |value: f32| {
            let place = (value / self.range + 1.0) * 0.5 * BINS as f32;
            // A value at the end of the range belongs to the last bin.
            (0.0..=BINS as f32).contains(&place).then(|| (place as usize).min(BINS - 1))
        };
        for (&x, &y) in reading.input.iter().zip(reading.output) {
            match (bin(x), bin(y)) {
                (Some(column), Some(row)) => {
                    let count = &mut self.counts[(BINS - 1 - row) * BINS + column];
                    *count = count.saturating_add(1);
                }
                _ => self.outside += 1,
            }
        }
    }
}

impl Default for Moments {
    fn default() -> Self {
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        Moments { count: 0.0, mean: 0.0, squares: 0.0, least, most }
    }
}

impl Moments {
    fn add(&mut self, value: f32) {
        let value = f64::from(value);
        self.count += 1.0;
        let away = value - self.mean;
        self.mean += away / self.count;
        self.squares += away * (value - self.mean);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// The moments of the values of both.
    fn merged(self, other: &Moments) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let away = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + away * other.count / count,
            squares: self.squares + other.squares + away * away * self.count * other.count / count,
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    fn deviation(&self) -> f64 {
        if self.count > 0.0 { (self.squares / self.count).sqrt() } else { 0.0 }
    }

    fn pair(&self) -> Option<(f64, f64)> {
        (self.count > 0.0).then(|| (self.mean, self.deviation()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    #[test]
    fn merged_moments_are_those_of_all_values() {
        let (a, b) = ([1.0, 4.0, -2.0], [8.0, 0.5]);
        let merged = moments(&a).merged(&moments(&b));
        let all = moments(&[1.0, 4.0, -2.0, 8.0, 0.5]);
        assert!((merged.mean - all.mean).abs() < 1e-12 && (merged.mean - 2.3).abs() < 1e-6);
        assert!((merged.deviation() - all.deviation()).abs() < 1e-12);
        assert_eq!((merged.least, merged.most), (-2.0, 8.0));
    }

    #[test]
    fn pairs_are_counted_where_they_belong() {
        let (input, output) = ([-1.0, 0.99, 5.0, 1.0], [1.0, -0.99, 0.0, 1.0]);
        let reading = Reading { input: &input, output: &output, parameters: &[], attention: None };
        let mut histogram = Histogram { range: 1.0, counts: vec![0; BINS * BINS], outside: 0 };
        histogram.add(&reading);
        assert_eq!((histogram.counts[0], histogram.outside), (1, 1));
        assert_eq!(histogram.counts[BINS * BINS - 1], 1);
        assert_eq!(histogram.counts[BINS - 1], 1);
    }

    #[test]
    fn shares_are_stated_of_what_there_is() {
        let shares = |unusual_slopes, intercepts| {
            Summary { activations: Vec::new(), unusual_slopes, intercepts }.shares()
        };
        let slopes = "51% of all functions have a slope below 0 or above 1";
        assert_eq!(
            shares(Some(0.512), Some(0.37)),
            format!("{slopes}, 37% an intercept beyond 0.05")
        );
        assert_eq!(shares(Some(0.512), None), format!("{slopes}, and there are no intercepts"));
        assert_eq!(shares(None, Some(0.37)), "37% of all functions have an intercept beyond 0.05");
    }
}
