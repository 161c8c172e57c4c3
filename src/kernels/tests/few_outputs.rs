//! Pointwise convolutions with so few outputs that a register tile has all of them.

use super::*;

fn products_of_few_outputs(isa: Isa) {
    for (rows, channels, outputs) in [
        (12, 16, 16),
        (25, 24, 24),
        (31, 40, 32),
        (13, 17, 5),
        (48, 33, 30),
        (29, 144, 24),
        (11, 96, 16),
        (26, 64, 9),
        (24, 48, 33),
    ] {
        let w = pointwise(rows);
        let width = padded(outputs);
        let x = wave(rows * channels, 0.37);
        let image = padded_rows(&x, channels);
        let (weight, bias) = (wave(outputs * channels, 0.61), wave(outputs, 1.7));
        let packed = ConvWeights::new(&weight, Some(&bias), outputs, channels);
        let (extras, inside) = (Extras::new(rows, outputs), Extras::new(rows, channels));
        let two_pieces = Epilogue {
            activation: Activation::MaxAffine { k: 2 },
            coefficients: &inside.coefficients[..4 * padded(channels)],
            ..Epilogue::NONE
        };
        let prologues = [
            None,
            Some(two_pieces),
            Some(Epilogue {
                attention: Some(&inside.attention),
                clamp: Some([-0.25, 0.5]),
                ..two_pieces
            }),
            Some(Epilogue {
                coefficients: &inside.shared[..4 * LANES],
                shared: true,
                ..two_pieces
            }),
            // These are applied in a pass of their own.
            Some(Epilogue { before: Some(&inside.before), ..two_pieces }),
            Some(Epilogue { activation: Activation::Tanh, ..Epilogue::NONE }),
        ];
        for (p, prologue) in prologues.iter().enumerate() {
            for (e, epilogue) in extras.epilogues().iter().enumerate().step_by(3) {
                let row_blocks = rows.min(1 + e % 3);
                let cut = Cut { images: 1, rows, width, row_blocks, column_blocks: 1, row_unit: 1 };
                let case = format!(
                    "{rows} rows, {channels} to {outputs}, prologue {p}, epilogue {e}, {}",
                    isa.name()
                );
                let mut y = Guarded::unwritten(rows * width);
                let mut sums = Guarded::unwritten(row_blocks * width);
                let len = packed.workspace(cut.most_rows(), prologue.is_some());
                let mut work = Guarded::unwritten(len);
                let data = Image { data: &image, layout: Layout::Nhwc };
                let blocks = Blocks::new(&mut y, cut).with_sums(&mut sums, width);
                while let Some(mut block) = blocks.next() {
                    let block = &mut block;
                    conv(isa, data, &packed, &w, prologue.as_ref(), epilogue, block, &mut work);
                }
                let activated = |row: usize, c: usize| {
                    let x = f64::from(x[row * channels + c]);
                    match prologue {
                        Some(prologue) => finished(prologue, x, row, c, padded(channels)),
                        None => x,
                    }
                };
                let want = |row: usize, o: usize| {
                    let weight = |c: usize| f64::from(weight[o * channels + c]);
                    let sum: f64 = (0..channels).map(|c| weight(c) * activated(row, c)).sum();
                    finished(epilogue, sum + f64::from(bias[o]), row, o, width)
                };
                let got = (y.written(&case), sums.written(&case));
                check(got, (rows, outputs, row_blocks), want, &case);
            }
        }
    }
}

/// [`products_of_few_outputs`] on each instruction set.
mod products_of_few_outputs {
    crate::simd::testing::isa_tests!(super::products_of_few_outputs);
}

/// A NaN in a row makes its results NaN and leaves those of the others.
#[test]
fn nan_stays_in_its_row() {
    let (rows, channels, outputs) = (24, 16, 16);
    let mut x = wave(rows * channels, 0.37);
    x[5 * channels + 3] = f32::NAN;
    let packed = ConvWeights::new(&wave(outputs * channels, 0.61), None, outputs, channels);
    let coefficients = wave(4 * channels, 0.53);
    let prologue = Epilogue {
        activation: Activation::MaxAffine { k: 2 },
        coefficients: &coefficients,
        ..Epilogue::NONE
    };
    let w = pointwise(rows);
    for isa in Isa::available() {
        for prologue in [None, Some(&prologue)] {
            let mut y = vec![0.0; rows * outputs];
            let mut work = vec![0.0; packed.workspace(rows, true)];
            let image = Image { data: &x, layout: Layout::Nhwc };
            let block = &mut Block::whole(&mut y, outputs);
            conv(isa, image, &packed, &w, prologue, &Epilogue::NONE, block, &mut work);
            for (row, y) in y.chunks_exact(outputs).enumerate() {
                assert!(y.iter().all(|y| y.is_nan() == (row == 5)), "row {row}, {}", isa.name());
            }
        }
    }
}
