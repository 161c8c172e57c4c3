//! `dyrelu bench`.

use super::*;

#[test]
fn bench_writes_a_trace_with_a_row_per_stream() {
    let f = Fixture::new();
    let (model, trace) = (f.path("colours.safetensors"), f.path("trace.json"));
    let mut command = dyrelu(&["bench", "--streams", "2", "--runs", "2", "--size", "8"]);
    command.arg(&model).arg("--trace").arg(&trace).assert().code(0);
    let text = std::fs::read_to_string(&trace).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let interval = |event: &serde_json::Value| {
        let (start, duration) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        (start, start + duration)
    };
    for stream in 0..2 {
        let row: Vec<_> = events.iter().filter(|event| event["tid"] == stream).collect();
        assert_eq!((&row[0]["ph"], &row[0]["name"]), (&"M".into(), &"thread_name".into()));
        let (runs, steps): (Vec<_>, Vec<_>) = row[1..].iter().partition(|e| e["name"] == "run");
        assert_eq!(runs.len(), 5);
        assert!(steps.len() >= 10 && steps.len() % 5 == 0, "{} steps", steps.len());
        for step in steps {
            let (start, end) = interval(step);
            let is_within = |run: &serde_json::Value| {
                let (first, last) = interval(run);
                first <= start && end <= last + 1e-3
            };
            assert!(runs.iter().any(|run| is_within(run)), "{step}");
            assert!(step["args"]["kernel"].is_string() && step["ph"] == "X", "{step}");
        }
    }
}

#[test]
fn bench_measures_streams_and_compares() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let bench = |arguments: &[&str]| {
        let mut command = dyrelu(&["bench", "--seconds", "0.1"]);
        command.arg(&model).args(arguments).assert()
    };
    let old = stdout(&bench(&["--format", "json", "--size", "8", "--threads", "1"]).code(0));
    let old = f.file("old.json", old.as_bytes());
    let compare = ["--compare", old.to_str().unwrap(), "--threads", "1", "--shape"];
    let text = stdout(&bench(&[&compare[..], &["x=1x3x8x8"]].concat()).code(0));
    assert!(text.contains("p = "), "{text}");
    let errors = stderr(&bench(&[&compare[..], &["x=1x3x9x8"]].concat()).code(2));
    assert!(errors.contains("the old measurement is of inputs [[1, 3, 8, 8]]"), "{errors}");
    let errors = stderr(&bench(&["--shape", "y=1x3x8x8"]).code(2));
    assert!(errors.contains("no input \"y\"; the network has [\"x\"]"), "{errors}");
    for rate in [&[][..], &["--rate", "100"]] {
        let errors = stderr(&bench(&[&["--shape", "x=0x3x8x8"], rate].concat()).code(2));
        assert!(errors.contains("no image in an input of shape [0, 3, 8, 8]"), "{errors}");
    }
    let mut command = dyrelu(&["bench", "--streams", "3", "--runs", "4", "--warmup", "0"]);
    let run = command.args(["--size", "8", "--format", "json"]).arg(&model).assert().code(0);
    let m: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    assert_eq!((&m["streams"], &m["runs"]), (&3.into(), &12.into()), "{m}");
    let chart = f.path("sweep.svg");
    let sweep = ["--sweep", "--threads", "2", "--size", "8", "--chart", chart.to_str().unwrap()];
    let text = stdout(&bench(&sweep).code(0));
    assert_eq!((text.lines().count(), text.matches('*').count()), (10, 1), "{text}");
    let chart = fs::read_to_string(chart).unwrap();
    assert_eq!(chart.matches("<rect").count(), 9, "{chart}");
    assert!(chart.contains(">2 threads, batch 16, 1 stream<"), "{chart}");
    let not_json = f.file("x.json", b"{}");
    let errors = stderr(&bench(&["--compare", not_json.to_str().unwrap()]).code(2));
    assert!(errors.contains("no measurement of dyrelu bench --format json"), "{errors}");
    let mut g = Graph::new("fixed");
    let dims = vec![1.into(), 3.into(), 16.into(), 16.into()];
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    let y = g.apply("y", Op::GlobalPool(PoolKind::Average), &[x]);
    g.set_outputs(vec![y]);
    let fixed = f.path("fixed.safetensors");
    write(&g, None, &fixed, WeightStorage::F32).unwrap();
    let mut command = dyrelu(&["bench", "--seconds", "0.1", "--size"]);
    let errors = stderr(&command.arg("8").arg(&fixed).assert().code(2));
    assert!(errors.contains("--size 8 has no effect"), "{errors}");
    dyrelu(&["bench", "--seconds", "0.1", "--size", "16"]).arg(&fixed).assert().code(0);
}

#[test]
fn durations_are_at_most_a_day() {
    for seconds in ["86401", "1e300", "inf", "-1"] {
        let run = dyrelu(&["bench", &format!("--seconds={seconds}")]).assert().code(2);
        assert!(stderr(&run).contains("must be at"), "{seconds}: {}", stderr(&run));
    }
}

#[test]
fn bench_measures_latencies_at_a_rate_of_requests() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let bench = |arguments: &[&str]| {
        let mut command = dyrelu(&["bench", "--size", "8", "--threads", "1", "--rate"]);
        command.args(arguments).arg(&model).assert().code(0)
    };
    let run = bench(&["100", "--seconds", "0.5", "--streams", "2", "--format", "json"]);
    let load: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    let requests = load["requests"].as_u64().unwrap();
    assert!((25..=75).contains(&requests), "{load}");
    assert_eq!(load["latencies_ms"].as_array().unwrap().len() as u64, requests);
    for quantile in ["min", "mean", "p50", "p99", "max"] {
        let time = |part: &str| load[part][quantile].as_f64().unwrap();
        assert!(time("latency_ms") >= time("run_ms") && time("run_ms") > 0.0, "{load}");
    }
    // More requests than any machine answers wait for those before.
    let run = bench(&["1000000", "--seconds", "0.01"]);
    assert!(stdout(&run).contains("at 1000000.0 per second"), "{}", stdout(&run));
    assert!(stderr(&run).contains("the rate is too high for this machine"), "{}", stderr(&run));
    for arguments in [["--rate", "0"], ["--rate", "x"]] {
        dyrelu(&["bench"]).args(arguments).arg(&model).assert().code(2);
    }
}

#[test]
fn bench_measures_on_request() {
    let f = Fixture::new();
    let (x, y) = (f.path("x.npy"), f.path("y.npy"));
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 1, 1), }";
    let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    array.extend(format!("{header:117}\n").bytes());
    array.extend([0f32, 0.5, 1.0, 1.5, 2.0, 2.5].map(f32::to_le_bytes).as_flattened());
    fs::write(&x, array).unwrap();
    let serve = |commands: &'static str| {
        let mut command = dyrelu(&["bench", "--threads", "1", "--input"]);
        command.arg(&x).arg("--serve").arg(&y).arg(f.path("colours.safetensors"));
        command.write_stdin(commands).assert()
    };
    let answers = stdout(&serve("run 2\nrun 1\nquit\nrun 1\n").code(0));
    let lines: Vec<&str> = answers.lines().collect();
    let times = |line: &str| line.split(' ').map(|s| s.parse::<f64>().unwrap()).collect::<Vec<_>>();
    assert_eq!((lines[0], lines.len()), ("ready", 3), "{answers}");
    assert_eq!((times(lines[1]).len(), times(lines[2]).len()), (2, 1), "{answers}");
    let scores = [0f32, 5.0, 10.0, 15.0, 20.0, 25.0].map(f32::to_le_bytes);
    assert!(fs::read(&y).unwrap().ends_with(scores.as_flattened()));
    let refused = stderr(&serve("run few\n").code(2));
    assert!(refused.contains("found \"run few\""), "{refused}");
}

#[test]
fn bench_measures_photos_from_files_to_classes() {
    let f = Fixture::new();
    fs::create_dir(f.path("photos")).unwrap();
    for (name, colour) in [("a.png", [250, 0, 0]), ("b.png", [0, 250, 0]), ("d.bmp", [9, 9, 9])] {
        f.photo(&format!("photos/{name}"), colour);
    }
    f.file("photos/c.jpg", b"this is no photo");
    let bench = |arguments: &[&str]| {
        let mut command = dyrelu(&["bench", "--threads", "2", "--batch", "3", "--photos"]);
        command.arg(f.path("photos")).arg(f.path("colours.safetensors")).args(arguments).assert()
    };
    let run = bench(&["--runs", "4", "--format", "json"]).code(1);
    assert_eq!(stderr(&run).matches("error:").count(), 1, "{}", stderr(&run));
    assert!(stderr(&run).contains("c.jpg"), "{}", stderr(&run));
    let m: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    assert_eq!((&m["schema"], &m["photos"]["count"]), (&1.into(), &4.into()), "{m}");
    assert_eq!(m["photos"]["preprocess"]["resize"]["exact"], serde_json::json!([16, 16]));
    assert_eq!(m["shapes"], serde_json::json!([[3, 3, 16, 16]]));
    // Ten of each thread and image of a batch.
    assert_eq!((&m["photos_per_run"], &m["failed_per_run"]), (&60.into(), &15.into()), "{m}");
    assert_eq!((&m["runs"], &m["threads"], &m["batch"]), (&4.into(), &2.into(), &3.into()));
    let samples: Vec<f64> = m["samples_ms"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(samples.len(), 4);
    let (rate, seconds) = (number(&m["images_per_s"]), number(&m["usage"]["wall_s"]));
    assert!((rate * seconds - 4.0 * 45.0).abs() < 1e-6, "{m}");
    // The runs follow each other without a gap.
    let ratio = samples.iter().sum::<f64>() * 45.0 / 1e3 / seconds;
    assert!((0.5..2.0).contains(&ratio), "{m}");
    let stages = m["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["reading", "decoding", "resizing", "network"]);
    let sum = |key: &str| stages.iter().map(|stage| number(&stage[key])).sum::<f64>();
    assert!((sum("share") - 1.0).abs() < 1e-6 && sum("ms") > 0.0, "{m}");
    assert!(stages.iter().all(|stage| number(&stage["ms"]) > 0.0), "{m}");

    let old = f.file("old.json", stdout(&run).as_bytes());
    let compare = ["--runs", "4", "--compare", old.to_str().unwrap()];
    let text = stdout(&bench(&compare).code(1));
    assert!(text.contains("p = ") && text.contains("4 runs of 60 photos"), "{text}");
    assert!(text.contains("15 of the 60 photos of a run failed"), "{text}");
    fs::remove_file(f.path("photos/c.jpg")).unwrap();
    let errors = stderr(&bench(&compare).code(2));
    assert!(errors.contains("the old measurement is not of the same photos"), "{errors}");
    let text = stdout(&bench(&["--seconds", "0.1", "--warmup", "0"]).code(0));
    assert!(text.contains("images/s from files to classes") && !text.contains("failed"), "{text}");
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn bench_refuses_photos_that_it_cannot_measure() {
    let f = Fixture::new();
    let (model, broken) = (f.path("colours.safetensors"), f.file("broken.jpg", b"no photo"));
    let photo = f.photo("a.png", [250, 0, 0]);
    fs::create_dir(f.path("empty")).unwrap();
    let bench = |model: &Path, photos: &Path, arguments: &[&str]| {
        let mut command = dyrelu(&["bench", "--runs", "1", "--photos"]);
        stderr(&command.arg(photos).arg(model).args(arguments).assert().code(2))
    };
    let mut g = Graph::new("map");
    let dims = vec![Dim::symbol("N"), 3.into(), 8.into(), 8.into()];
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    let y = g.apply("y", Op::Softmax(Softmax { axis: 1, flatten: false }), &[x]);
    g.set_outputs(vec![y]);
    let map = f.path("map.safetensors");
    write(&g, None, &map, WeightStorage::F32).unwrap();
    for (errors, expected) in [
        (bench(&model, &broken, &[]), "no photo could be classified"),
        (bench(&model, Path::new("-"), &[]), "each run reads the photos again"),
        (bench(&model, &f.path("empty"), &[]), "empty"),
        (bench(&model, &f.path("nowhere"), &[]), "nowhere"),
        (bench(&map, &photo, &["--preprocess", "imagenet"]), "the network is no classifier"),
        (bench(&model, &photo, &["--batch", &usize::MAX.to_string()]), "is too large"),
        (bench(&model, &photo, &["--size", "8"]), "cannot be used with"),
        (bench(&model, &photo, &["--streams", "2"]), "cannot be used with"),
    ] {
        assert!(errors.contains(expected), "expected {expected:?}: {errors}");
    }
    dyrelu(&["bench", "--preprocess", "imagenet"]).arg(&model).assert().code(2);
}

#[test]
fn bench_refuses_more_threads_than_a_session_can_have() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let most = usize::MAX.to_string();
    for arguments in [
        ["--streams", "100000"].as_slice(),
        &["--streams", &most, "--threads", "2"],
        &["--streams", "2", "--rate", "10", "--threads", "513"],
        &["--sweep", "--threads", "1025"],
    ] {
        let mut command = dyrelu(&["bench", "--size", "8"]);
        let errors = stderr(&command.args(arguments).arg(&model).assert().code(2));
        assert!(errors.contains(": at most 1024 threads in all"), "{arguments:?}: {errors}");
    }
}
