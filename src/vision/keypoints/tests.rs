//! Decoders against their NumPy forms (`tools/dyrelu_tools/goldens_keypoints.py`), and what a detector does
//! with boxes and networks.

use safetensors::SafeTensors;

use super::maps::{Maps, Point};
use super::*;
use crate::compile::Options;
use crate::graph::{Dim, Graph, Op, Padding, Pool, PoolKind, TensorType, Unary};
use crate::model::Model;
use crate::session::Session;
use crate::tensor::DType;
use crate::vision::{Photo, Preprocess, Resize};

const GOLDENS: &[u8] = include_bytes!("../../../tests/keypoints/decoders.safetensors");

/// The key point of the other side, of the goldens.
const PARTNERS: [usize; 5] = [0, 2, 1, 4, 3];

fn golden(file: &SafeTensors, name: &str) -> Option<Maps> {
    let tensor = file.tensor(name).ok()?;
    let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    Some(Maps { shape: tensor.shape().to_vec(), values: values.collect() })
}

#[track_caller]
fn assert_close(found: &[Point], expected: &Maps, name: &str) {
    assert_eq!(found.len(), expected.shape[0], "{name}");
    for (k, point) in found.iter().enumerate() {
        for (found, &expected) in [point.x, point.y, point.score].iter().zip(expected.channel(k)) {
            assert!((found - expected).abs() < 1e-5, "{name}, {k}: {point:?}, {expected}");
        }
    }
}

#[test]
fn decoders_agree_with_numpy() {
    let file = SafeTensors::deserialize(GOLDENS).unwrap();
    for decoder in [
        KeypointDecoder::MoveNet,
        KeypointDecoder::Heatmaps,
        KeypointDecoder::Dark,
        KeypointDecoder::SimCc,
    ] {
        let name = decoder.name();
        let maps = (0..).map_while(|i| golden(&file, &format!("{name}.maps.{i}")));
        let mut maps: Vec<Maps> = maps.collect();
        let shapes: Vec<&[usize]> = maps.iter().map(|maps| maps.shape.as_slice()).collect();
        assert_eq!(decoder.keypoints(&shapes).unwrap(), PARTNERS.len(), "{name}");
        assert_close(
            &decoder.decode(&maps),
            &golden(&file, &format!("{name}.points")).unwrap(),
            name,
        );
        let mirrored = decoder.mirrored(&maps, &PARTNERS);
        maps.iter_mut().zip(&mirrored).for_each(|(maps, other)| maps.average_with(other));
        assert_close(
            &decoder.decode(&maps),
            &golden(&file, &format!("{name}.flipped")).unwrap(),
            name,
        );
    }
}

/// A network whose heat maps are the red, green and blue of its input, averaged over squares of 4 pixels.
fn colours() -> Session {
    network(&[])
}

/// The network of [`colours`], with functions of its heat maps after it.
fn network(functions: &[Unary]) -> Session {
    let mut graph = Graph::new("colours");
    let dims = vec![Dim::symbol("N"), 3.into(), 32.into(), 32.into()];
    let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
    let pool = Pool {
        kind: PoolKind::Average,
        kernel: vec![4, 4],
        strides: vec![4, 4],
        dilations: vec![],
        padding: Padding::Explicit(vec![]),
        ceil_mode: false,
        count_include_pad: false,
        column_major: false,
    };
    let mut y = graph.apply("y", Op::Pool(pool), &[x]);
    for &function in functions {
        y = graph.apply("function", Op::Unary(function), &[y]);
    }
    graph.set_outputs(vec![y]);
    Session::new(&Model::from_graph(graph, Options::default()).unwrap())
}

fn detector(scheme: KeypointScheme) -> crate::Result<KeypointDetector> {
    detector_with(colours(), scheme)
}

fn detector_with(session: Session, scheme: KeypointScheme) -> crate::Result<KeypointDetector> {
    let preprocess = Preprocess::new([0.0; 3], [1.0; 3]).resize(Resize::Exact([32, 32]));
    KeypointDetector::with_parts(session, preprocess, scheme)
}

#[test]
fn key_points_that_are_no_numbers_are_an_error() {
    let photo = Photo::new(32, 32, vec![0; 3 * 32 * 32]).unwrap();
    // The logarithm of black is minus infinity, and its square root NaN.
    for functions in [&[Unary::Log][..], &[Unary::Log, Unary::Sqrt]] {
        for decoder in [KeypointDecoder::Heatmaps, KeypointDecoder::Dark] {
            let mut detector =
                detector_with(network(functions), KeypointScheme::new(decoder)).unwrap();
            let error = detector.detect(&photo, &[Region::whole(&photo)]).unwrap_err().to_string();
            assert!(error.contains("key points that are NaN or infinite"), "{error}");
        }
    }
}

/// A black photo with a square of each colour: red, green, blue.
fn photo(squares: [(u32, u32); 3]) -> Photo {
    let (width, height) = (80, 60);
    let mut pixels = vec![0; 3 * width * height];
    for (channel, (left, top)) in squares.into_iter().enumerate() {
        for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
            pixels[3 * ((top as usize + y) * width + left as usize + x) + channel] = 255;
        }
    }
    Photo::new(width as u32, height as u32, pixels).unwrap()
}

#[test]
fn points_are_found_where_they_are_in_the_photo() {
    let squares = [(20, 30), (52, 24), (36, 40)];
    let photo = photo(squares);
    let scheme = KeypointScheme::new(KeypointDecoder::Heatmaps).scale(1.0);
    let names = ["red", "green", "blue"].map(String::from).to_vec();
    let skeleton = Skeleton::new(names, vec![[0, 1]], vec![]).unwrap();
    let boxes = [
        Region::whole(&photo),
        Region { x: 15.0, y: 20.0, width: 50.0, height: 35.0 },
        Region { x: -20.0, y: 10.0, width: 90.0, height: 45.0 },
    ];
    for flip in [false, true] {
        let mut detector = detector(scheme.clone().skeleton(skeleton.clone())).unwrap().flip(flip);
        let poses = detector.detect(&photo, &boxes).unwrap();
        for (pose, region) in poses.iter().zip(boxes) {
            assert_eq!(pose.region, region);
            let cell = region.width.max(region.height) / 8.0;
            for (point, (left, top)) in pose.keypoints.iter().zip(squares) {
                // Cell x of a map stands for its left side.
                let (x, y) = (point.x + cell / 2.0, point.y + cell / 2.0);
                let away = (x - left as f32 - 4.0).abs().max((y - top as f32 - 4.0).abs());
                assert!(away <= cell, "{point:?} for {left}, {top} in {region:?}");
            }
        }
        assert_eq!(detector.heat_maps(&photo, boxes[0]).unwrap().shape(), [3, 8, 8]);
    }
}

#[test]
fn more_boxes_than_a_batch_give_the_same_points() {
    let photo = photo([(20, 30), (52, 24), (36, 40)]);
    let boxes: Vec<Region> = (0..19)
        .map(|i| Region { x: i as f32, y: 3.0, width: 60.0 - i as f32, height: 50.0 })
        .collect();
    let mut detector = detector(KeypointScheme::new(KeypointDecoder::Dark)).unwrap().flip(true);
    let together = detector.detect(&photo, &boxes).unwrap();
    for (pose, region) in together.iter().zip(boxes) {
        assert_eq!(detector.detect(&photo, &[region]).unwrap()[0], *pose);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let photo = photo([(0, 0); 3]);
    let mut found = detector(KeypointScheme::new(KeypointDecoder::Heatmaps)).unwrap();
    for (region, words) in [
        (
            Region { x: 80.0, y: 0.0, width: 5.0, height: 5.0 },
            "outside of the photo, which has 80 x 60",
        ),
        (Region { x: 0.0, y: -9.0, width: 5.0, height: 9.0 }, "outside of the photo"),
        (Region { x: 0.0, y: 0.0, width: 0.0, height: 5.0 }, "is empty"),
        (Region { x: f32::NAN, y: 0.0, width: 5.0, height: 5.0 }, "is empty"),
    ] {
        let error = found.detect(&photo, &[region]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (decoder, words) in [
        (KeypointDecoder::MoveNet, "the network gives no key points: the decoder movenet expects"),
        (KeypointDecoder::SimCc, "[K, columns] and [K, rows] per image, found [[3, 8, 8]]"),
    ] {
        let error = detector(KeypointScheme::new(decoder)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = detector(KeypointScheme::new(KeypointDecoder::Heatmaps).skeleton(Skeleton::coco()));
    assert!(
        error.unwrap_err().to_string().contains("has 17 names, and the network has 3 key points")
    );
    let error = KeypointDetector::new(colours()).unwrap_err().to_string();
    assert!(error.contains("does not say how its outputs give key points of persons"), "{error}");
}

#[test]
fn schemes_that_contradict_themselves_are_refused() {
    for text in [
        "{}",
        r#"{"decoder": "unknown"}"#,
        r#"{"decoder": "dark", "scale": 0}"#,
        r#"{"decoder": "dark", "skeleton": {"names": ["a", "b"], "edges": [[0, 2]]}}"#,
        r#"{"decoder": "dark", "skeleton": {"names": ["a", "b"], "pairs": [[7, 1]]}}"#,
    ] {
        assert!(KeypointScheme::from_json(text).is_err(), "{text}");
    }
    let scheme = KeypointScheme::from_json(r#"{"decoder": "simcc"}"#).unwrap();
    assert_eq!(scheme, KeypointScheme::new(KeypointDecoder::SimCc));
}
