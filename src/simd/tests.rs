use super::*;

/// Applies one operation to eight numbers on an instruction set.
struct Apply<'a> {
    what: &'a str,
    x: [f32; LANES],
    y: [f32; LANES],
}

impl Vectorised for Apply<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        // SAFETY: both arrays hold eight numbers.
        let (x, y) = unsafe { (s.load(self.x.as_ptr()), s.load(self.y.as_ptr())) };
        let z = match self.what {
            "max" => s.max(x, y),
            "at_least" => s.at_least(x, s.splat(0.5)),
            "at_most" => s.at_most(x, s.splat(0.5)),
            "exp" => exp(s, x),
            "sigmoid" => sigmoid(s, x),
            "tanh" => tanh(s, x),
            "sum" => s.splat(s.sum(x)),
            "mul_add" => s.mul_add(x, y, s.splat(2.0)),
            "f16" => {
                let halves = self.x.map(f16::from_f32);
                // SAFETY: the array holds eight numbers.
                unsafe { s.load_f16(halves.as_ptr()) }
            }
            other => panic!("no operation {other}"),
        };
        let mut out = [0.0; LANES];
        // SAFETY: the array holds eight numbers.
        unsafe { s.store(out.as_mut_ptr(), z) };
        out
    }
}

const X: [f32; LANES] = [-90.0, -3.5, -0.3, 0.0, 0.7, 2.5, 20.0, 80.0];
const Y: [f32; LANES] = [1.0, -4.0, 0.3, -0.0, 0.6, 3.0, -2.0, 0.0];

#[test]
fn every_instruction_set_agrees_with_scalar_code() {
    let total = ((X[0] + X[4]) + (X[2] + X[6])) + ((X[1] + X[5]) + (X[3] + X[7]));
    type Scalar<'a> = &'a dyn Fn(f32, f32) -> f32;
    let functions: [(&str, Scalar); 9] = [
        ("max", &|x, y| x.max(y)),
        ("at_least", &|x, _| x.max(0.5)),
        ("at_most", &|x, _| x.min(0.5)),
        ("exp", &|x, _| if x < -87.3 { 0.0 } else { f64::from(x).exp() as f32 }),
        ("sigmoid", &|x, _| (1.0 / (1.0 + f64::from(-x).exp())) as f32),
        ("tanh", &|x, _| f64::from(x).tanh() as f32),
        ("sum", &|_, _| total),
        ("mul_add", &|x, y| x * y + 2.0),
        ("f16", &|x, _| f16::from_f32(x).to_f32()),
    ];
    for isa in Isa::available() {
        for (what, scalar) in functions {
            let got = isa.run_narrow(Apply { what, x: X, y: Y });
            for i in 0..LANES {
                let want = scalar(X[i], Y[i]);
                let error = (got[i] - want).abs();
                assert!(
                    error <= 3e-7 * want.abs().max(1.0),
                    "{what}({}, {}) on {}: {} and not {want}",
                    X[i],
                    Y[i],
                    isa.name(),
                    got[i]
                );
            }
        }
    }
}

#[test]
fn nan_goes_through_on_either_side() {
    let mut x = X;
    let mut y = Y;
    x[1] = f32::NAN;
    y[2] = f32::NAN;
    for isa in Isa::available() {
        let max = isa.run_narrow(Apply { what: "max", x, y });
        assert!(max[1].is_nan() && max[2].is_nan() && !max[3].is_nan(), "{}", isa.name());
        for what in ["at_least", "at_most", "exp", "sigmoid", "tanh"] {
            assert!(isa.run_narrow(Apply { what, x, y })[1].is_nan(), "{what} on {}", isa.name());
        }
    }
}

#[test]
fn the_portable_level_is_always_there() {
    assert!(Isa::available().iter().any(|isa| isa.name() == "portable"));
    assert!(Isa::available().contains(&Isa::get()));
}
