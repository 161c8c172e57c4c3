//! Runs that end early, and sessions that go on with the same or another network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyrelu::graph::{Bindings, bind_inputs};
use dyrelu::plan::{Input, Runner, Team, Watch};
use dyrelu::simd::Isa;
use dyrelu::{CancelToken, DType, ErrorKind, Model, Options, RunOptions, Session, Tensor};

mod chain;

fn model(length: usize) -> Arc<Model> {
    Model::from_graph(chain::chain(length), Options::default()).unwrap()
}

fn image(side: usize) -> Tensor {
    let shape = [2, 4, side, side];
    let count: usize = shape.iter().product();
    Tensor::new(&shape, (0..count).map(|i| (i as f32 * 0.3).cos()).collect()).unwrap()
}

#[test]
fn a_run_ends_before_the_step_after_the_cancellation() {
    let (model, x) = (model(5), image(7));
    for threads in [1, 3] {
        let mut runner = Runner::new(Team::with_threads(threads).unwrap(), Isa::get());
        let inputs = [Input::Tensor(&x)];
        let mut steps_until_cancelled = |steps: usize| {
            let token = CancelToken::new();
            let options = RunOptions::default().cancel_token(&token);
            let mut count = 0;
            let mut note = |_| {
                count += 1;
                if count == steps {
                    token.cancel();
                }
            };
            let watch = &mut Watch::Times(&mut note);
            let outputs = runner.run(model.plan(), &inputs, &options, watch, |shapes| {
                let mut bindings = Bindings::new();
                let shapes = shapes.iter().map(|shape| (DType::F32, shape.as_slice()));
                bind_inputs(model.graph(), shapes, &mut bindings)?;
                Ok(bindings)
            });
            let kind = outputs.and_then(|outputs| outputs.tensor(0)).err().map(|e| e.kind());
            (count, kind)
        };
        let (all, kind) = steps_until_cancelled(usize::MAX);
        assert!(all > 10 && kind.is_none(), "{all} steps, {kind:?}");
        for steps in [1, 2, all / 2, all - 1] {
            assert_eq!(steps_until_cancelled(steps), (steps, Some(ErrorKind::Cancelled)));
        }
        assert_eq!(steps_until_cancelled(usize::MAX), (all, None));
    }
}

#[test]
fn a_token_cancels_from_another_thread() {
    let model = model(3);
    let token = CancelToken::new();
    let options = RunOptions::default().cancel_token(&token);
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let (mut session, x) = (Session::new(&model), [image(9)]);
            loop {
                if let Err(e) = session.run_with(&x, &options) {
                    return e.kind();
                }
            }
        });
        token.clone().cancel();
        assert_eq!(runs.join().unwrap(), ErrorKind::Cancelled);
    });
}

#[test]
fn a_session_goes_on_after_a_run_that_ended_early() {
    let (model, x) = (model(2), image(6));
    let expected = Session::new(&model).run(std::slice::from_ref(&x)).unwrap();
    let mut session = Session::new(&model);
    let past = RunOptions::default().deadline(Instant::now());
    let mut y = vec![7.0; x.len()];
    let e = session.run_into_with(&[(x.shape(), x.as_f32().unwrap())], &mut [&mut y], &past);
    assert_eq!(e.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(y.iter().all(|&y| y == 7.0), "an output was written");
    let later = RunOptions::default().deadline(Instant::now() + Duration::from_secs(3600));
    let found = session.run_with(std::slice::from_ref(&x), &later).unwrap();
    assert_eq!(found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
}

#[test]
fn a_session_takes_another_network() {
    let (first, second, x) = (model(2), model(6), [image(6)]);
    for threads in [1, 3] {
        let mut session = Session::with_threads(&first, threads).unwrap();
        for model in [&first, &second, &first] {
            session.set_model(model);
            let expected = Session::new(model).run(&x).unwrap();
            let found = session.run(&x).unwrap();
            assert_eq!(found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
        }
    }
}

#[test]
fn sizes_are_known_before_a_run() {
    let model = model(1);
    assert_eq!(model.output_shapes(&[vec![3, 4, 5, 6]]).unwrap(), [Some(vec![3, 4, 5, 6])]);
    let e = model.output_shapes(&[vec![3, 5, 5, 6]]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Input);
    assert_eq!((e.port(), e.found_shape()), (Some("x"), Some(&[3, 5, 5, 6][..])));
    assert_eq!(e.expected_shape(), Some(&[None, Some(4), None, None][..]));
    // Four by two weights and eight by four, the rows padded to eight channels, and biases.
    assert!(model.weight_bytes() > 4 * (4 * 2 + 16 * 2), "{}", model.weight_bytes());
    assert_eq!(model.metadata_keys().count(), 0);
}

#[test]
fn an_error_names_the_shapes_only_if_they_are_wrong() {
    let mut session = Session::new(&model(1));
    let integers = Tensor::new(&[1, 4, 2, 2], vec![0i64; 16]).unwrap();
    let e = session.run(&[integers]).unwrap_err();
    assert_eq!((e.port(), e.expected_shape(), e.found_shape()), (Some("x"), None, None));
    let (image, mut small) = ([0.0; 16], [0.0; 15]);
    let e = session.run_into(&[(&[1, 4, 2, 2], &image)], &mut [&mut small]).unwrap_err();
    assert_eq!((e.kind(), e.port().is_some()), (ErrorKind::Input, true));
}
