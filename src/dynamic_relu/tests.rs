//! The operation against its definition in f64, in every form and layout.

use super::*;

fn wave(len: usize, frequency: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * frequency).sin()).collect()
}

/// The sizes and the weights of a test case.
struct Case {
    channels: usize,
    pixels: usize,
    pieces: usize,
    form: Form,
    w1: Vec<f32>,
    c1: Vec<f32>,
    w2: Vec<f32>,
    c2: Vec<f32>,
    attention: Vec<f32>,
}

impl Case {
    fn new(channels: usize, pixels: usize, hidden: usize, pieces: usize, form: Form) -> Self {
        let outputs = 2 * pieces * if form == Form::A { 1 } else { channels };
        let (w1, c1) = (wave(hidden * channels, 1.1), wave(hidden, 0.4));
        let (w2, c2) = (wave(outputs * hidden, 0.9), wave(outputs, 1.7));
        let attention = wave(channels, 0.3);
        Case { channels, pixels, pieces, form, w1, c1, w2, c2, attention }
    }

    fn init(&self) -> Vec<f32> {
        let mut init = vec![0.0; 2 * self.pieces];
        init[0] = 1.0;
        init
    }

    fn operation(&self) -> DynamicRelu {
        let fc1 = Linear { weight: &self.w1, bias: &self.c1 };
        let fc2 = Linear { weight: &self.w2, bias: &self.c2 };
        let lambda = [vec![1.0; self.pieces], vec![0.5; self.pieces]].concat();
        let (init, squash) = (self.init(), Squash::Sigmoid);
        let relu =
            DynamicRelu::with_pieces(self.channels, fc1, fc2, &init, &lambda, squash).unwrap();
        match self.form {
            Form::C => relu.with_attention(&self.attention, 0.2, 1.5).unwrap(),
            _ => relu,
        }
    }

    /// Returns the result for one image in NCHW, computed in f64 by the definition.
    fn definition(&self, x: &[f32]) -> Vec<f32> {
        let (channels, k) = (self.channels, self.pieces);
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let dot = |row: &[f32], x: &[f64]| -> f64 {
            row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
        };
        let mean: Vec<f64> = x
            .chunks(self.pixels)
            .map(|plane| plane.iter().sum::<f64>() / self.pixels as f64)
            .collect();
        let hidden: Vec<f64> = self
            .w1
            .chunks(channels)
            .zip(&self.c1)
            .map(|(row, &c)| (dot(row, &mean) + f64::from(c)).max(0.0))
            .collect();
        let per_row = self.c2.len() / (2 * k);
        let coefficient = |row: usize, channel: usize| {
            let o = row * per_row + channel % per_row;
            let z = dot(&self.w2[o * hidden.len()..][..hidden.len()], &hidden);
            let z = z + f64::from(self.c2[o]);
            let lambda = if row < k { 1.0 } else { 0.5 };
            f64::from(self.init()[row]) + lambda * (z / 2.0).tanh()
        };
        let logit = |p: usize| {
            let terms = self.attention.iter().enumerate();
            (0.2 + terms.map(|(c, &w)| f64::from(w) * x[c * self.pixels + p]).sum::<f64>()) / 1.5
        };
        let sum: f64 = (0..self.pixels).map(|p| logit(p).exp()).sum();
        let pi = |p: usize| match self.form {
            Form::C => (self.pixels as f64 / 3.0 * logit(p).exp() / sum).min(1.0),
            _ => 1.0,
        };
        let value = |i: usize| {
            let (channel, p) = (i / self.pixels, i % self.pixels);
            let pieces =
                (0..k).map(|j| coefficient(j, channel) * x[i] + coefficient(k + j, channel));
            (pi(p) * pieces.fold(f64::NEG_INFINITY, f64::max)) as f32
        };
        (0..x.len()).map(value).collect()
    }
}

fn forms_and_layouts_agree_with_the_definition(isa: Isa) {
    const IMAGES: usize = 2;
    for (channels, pixels, hidden, pieces) in
        [(1, 1, 1, 1), (3, 35, 4, 2), (17, 7, 5, 3), (40, 49, 8, 2), (96, 33, 12, 8)]
    {
        for form in [Form::A, Form::B, Form::C] {
            let case = Case::new(channels, pixels, hidden, pieces, form);
            let x = wave(IMAGES * channels * pixels, 0.7);
            let images = || x.chunks_exact(channels * pixels);
            let want: Vec<f32> = images().flat_map(|x| case.definition(x)).collect();
            let nhwc = |x: &[f32]| -> Vec<f32> {
                let image = |x: &[f32]| -> Vec<f32> {
                    let at = |i: usize| x[i % channels * pixels + i / channels];
                    (0..x.len()).map(at).collect()
                };
                x.chunks_exact(channels * pixels).flat_map(image).collect()
            };
            let mut relu = DynamicRelu { isa, ..case.operation() };
            // With one channel, forms A and B have the same sizes.
            assert!(relu.form() == form || channels == 1);
            let check = |got: &[f32], want: &[f32], how: &str| {
                for (got, want) in got.iter().zip(want) {
                    let close = (got - want).abs() <= 2e-5 * want.abs().max(1.0);
                    let name = isa.name();
                    assert!(
                        close,
                        "expected {want}, found {got}: {how}, {name}, {form:?} {channels}x{pixels}"
                    );
                }
            };
            let mut y = vec![f32::NAN; x.len()];
            relu.apply_into(&x, &mut y, IMAGES, Layout::Nchw).unwrap();
            check(&y, &want, "NCHW");
            relu.apply_into(&nhwc(&x), &mut y, IMAGES, Layout::Nhwc).unwrap();
            check(&y, &nhwc(&want), "NHWC");
            y.copy_from_slice(&x);
            relu.apply(&mut y, IMAGES, Layout::Nchw).unwrap();
            check(&y, &want, "NCHW in place");
            y.copy_from_slice(&nhwc(&x));
            relu.apply(&mut y, IMAGES, Layout::Nhwc).unwrap();
            check(&y, &nhwc(&want), "NHWC in place");
        }
    }
}

/// [`forms_and_layouts_agree_with_the_definition`] on each instruction set.
mod forms_and_layouts_agree_with_the_definition {
    crate::simd::testing::isa_tests!(super::forms_and_layouts_agree_with_the_definition);
}

#[test]
fn wrong_lengths_are_errors() {
    let mut relu = Case::new(4, 1, 2, 2, Form::B).operation();
    assert!(relu.apply(&mut [0.0; 7], 1, Layout::Nchw).is_err());
    assert!(relu.apply(&mut [0.0; 8], 3, Layout::Nchw).is_err());
    assert!(relu.apply(&mut [0.0; 8], 0, Layout::Nchw).is_err());
    assert!(relu.apply(&mut [], 0, Layout::Nhwc).is_ok());
    assert!(relu.apply(&mut [], 3, Layout::Nhwc).is_ok());
    assert!(relu.apply_into(&[0.0; 8], &mut [0.0; 4], 1, Layout::Nhwc).is_err());
    assert!(relu.clone().with_attention(&[0.0; 3], 0.0, 1.0).is_err());
    assert!(relu.with_attention(&[0.0; 4], 0.0, 0.0).is_err());
    let linear = |outputs: usize, inputs: usize| (vec![0.0; outputs * inputs], vec![0.0; outputs]);
    let ((w1, c1), (w2, c2)) = (linear(2, 4), linear(7, 2));
    let fc1 = Linear { weight: &w1, bias: &c1 };
    assert!(DynamicRelu::new(4, fc1, Linear { weight: &w2, bias: &c2 }).is_err());
    assert!(DynamicRelu::new(0, fc1, Linear { weight: &w2, bias: &c2 }).is_err());
    let none = Linear { weight: &[], bias: &[] };
    let pieces = DynamicRelu::with_pieces(4, fc1, none, &[], &[], Squash::None);
    assert!(pieces.is_err());
}
