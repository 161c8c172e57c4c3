//! The server as its clients see it: answers, refusals, and what it does to clients that misbehave.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dyrelu::{Model, Session, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

use support::{Answer, Client, Server, root};

const ROW: usize = 3 * 13 * 11;

/// Copies a network with inputs `[batch, 3, 13, 11]` and outputs `[batch, 5]`.
fn put(network: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let from = root().join("tests/dialects").join(network);
    // A file is replaced by a rename, so that nobody reads half of it.
    let copy = to.with_extension("copy");
    fs::copy(from, &copy).unwrap();
    fs::rename(copy, to).unwrap();
}

const FREE: &str = "leaky-relu-script-free.onnx";
const OTHER: &str = "prelu-script-free.onnx";

/// A folder with the model `small` in versions 1 and 3.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(OTHER, &folder.path().join("small/1/model.onnx"));
    put(FREE, &folder.path().join("small/3/model.onnx"));
    folder
}

/// Rows that differ from each other and from those of other seeds.
fn rows(count: usize, seed: usize) -> Vec<f32> {
    (0..count * ROW).map(|i| ((i * 31 + seed * 17) % 101) as f32 / 50.0 - 1.0).collect()
}

/// What the engine gives for rows.
fn expected(network: &str, rows: &[f32]) -> Vec<f32> {
    let model = Model::open(root().join("tests/dialects").join(network)).unwrap();
    let input = Tensor::new(&[rows.len() / ROW, 3, 13, 11], rows.to_vec()).unwrap();
    let outputs = Session::new(&model).run(&[input]).unwrap();
    outputs[0].as_f32().unwrap().to_vec()
}

fn request(rows: &[f32]) -> Value {
    let shape = [rows.len() / ROW, 3, 13, 11];
    json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": shape, "data": rows }] })
}

fn body(request: &Value) -> Vec<u8> {
    serde_json::to_vec(request).unwrap()
}

fn scores(answer: &Answer) -> Vec<f32> {
    assert_eq!(answer.status, 200, "{}", answer.json());
    serde_json::from_value(answer.json()["outputs"][0]["data"].clone()).unwrap()
}

#[test]
fn the_server_tells_what_it_is_and_has() {
    let folder = folder();
    fs::write(folder.path().join("broken.onnx"), b"no network").unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    assert_eq!(client.get("/v2/health/live").status, 200);
    assert_eq!(client.get("/v2").json()["name"], "dyrelu-serve");
    let metadata = client.get("/v2/models/small").json();
    assert_eq!(metadata["versions"], json!(["1", "3"]));
    let input = json!([{ "name": "input", "datatype": "FP32", "shape": [-1, 3, 13, 11] }]);
    assert_eq!(metadata["inputs"], input);
    assert_eq!(client.get("/v2/models/small/versions/3/ready").status, 200);
    assert_eq!(client.get("/v2/models/small/versions/2/ready").status, 404);

    let index = client.post("/v2/repository/index", b"").json();
    let states: Vec<_> =
        index.as_array().unwrap().iter().map(|m| (&m["name"], &m["state"])).collect();
    assert_eq!(format!("{states:?}").matches("String(\"READY\")").count(), 2, "{index}");
    assert!(index[0]["reason"].as_str().unwrap().contains("broken.onnx"), "{index}");
    assert_eq!(client.post("/v2/repository/models/broken/load", b"").status, 400);

    assert_eq!(client.post("/v2/repository/models/small/unload", b"").status, 200);
    let answer = client.get("/v2/models/small/ready");
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("not loaded: unloaded"));
    assert_eq!(client.post("/v2/repository/models/small/load", b"").status, 200);
    assert_eq!(client.get("/v2/models/small/ready").status, 200);
}

#[test]
fn json_and_binary_tensors_give_the_bits_of_the_engine() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    let rows = rows(2, 0);
    let answer = client.post("/v2/models/small/infer", &body(&request(&rows)));
    assert_eq!(scores(&answer), expected(FREE, &rows));
    assert_eq!(answer.json()["model_version"], "3");
    let answer = client.post("/v2/models/small/versions/1/infer", &body(&request(&rows)));
    assert_eq!(scores(&answer), expected(OTHER, &rows));

    let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    let head = body(&json!({
        "id": "7",
        "parameters": { "binary_data_output": true },
        "inputs": [{
            "name": "input", "datatype": "FP32", "shape": [2, 3, 13, 11],
            "parameters": { "binary_data_size": bytes.len() },
        }],
    }));
    let length = head.len().to_string();
    let headers = [("Inference-Header-Content-Length", &length[..])];
    let sent = client.send("POST", "/v2/models/small/infer", &headers, &[head, bytes].concat());
    let answer = sent.unwrap();
    assert_eq!(answer.status, 200);
    let split = answer.headers["inference-header-content-length"].parse().unwrap();
    let (head, binary) = answer.body.split_at(split);
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["id"], "7");
    assert_eq!(head["outputs"][0]["shape"], json!([2, 5]));
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], binary.len());
    let expected = expected(FREE, &rows).into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
    assert_eq!(binary, expected);
}

#[test]
fn binary_tensors_that_do_not_fit_get_a_sentence() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.client();
    let size = size_of_val(&rows(1, 0)[..]);
    let input = |name: &str, datatype: &str, shape: Value, size: usize| {
        let parameters = json!({ "binary_data_size": size });
        json!({ "name": name, "datatype": datatype, "shape": shape, "parameters": parameters })
    };
    let image = |datatype: &str, size: usize| input("input", datatype, json!([1, 3, 13, 11]), size);
    for (inputs, sent, message) in [
        (vec![image("FP32", size)], size + 1, "1 bytes of the body belong to no input"),
        (vec![image("FP32", size + 4)], size, "1720 bytes are stated, 1716 are left"),
        (vec![image("FP32", size - 1)], size - 1, "takes 1716 bytes, found 1715"),
        (vec![image("FP32", size + 4)], size + 4, "takes 1716 bytes, found 1720"),
        (vec![image("FP64", size)], size, "takes 3432 bytes, found 1716"),
        (vec![image("FP32", size), input("x", "FP32", json!([0]), 0)], size, "no input \"x\""),
    ] {
        let head = body(&json!({ "inputs": inputs }));
        let length = head.len().to_string();
        let headers = [("Inference-Header-Content-Length", &length[..])];
        let sent = [head, vec![0; sent]].concat();
        let answer = client.send("POST", "/v2/models/small/infer", &headers, &sent).unwrap();
        let found = answer.json()["error"].as_str().unwrap().to_string();
        assert_eq!(answer.status, 400, "{found}");
        assert!(found.contains(message), "{found} does not contain {message}");
    }
}

#[test]
fn requests_are_joined_and_each_gets_its_own_rows() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--workers", "1", "--max-delay", "2000000"]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        // Eight rows are a batch, which does not wait any longer.
        for (seed, count) in [1, 2, 4, 1].into_iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                let rows = rows(count, seed);
                let answer = server.client().post("/v2/models/small/infer", &body(&request(&rows)));
                assert_eq!(scores(&answer), expected(FREE, &rows));
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(2), "a full batch waited");
    assert_eq!(server.metric("dyrelu_batch_rows_sum"), 8.0);
    assert_eq!(server.metric("dyrelu_batch_rows_count"), 1.0);
    assert_eq!(server.metric("dyrelu_queue_length"), 0.0);
    assert_eq!(server.metric(r#"dyrelu_requests_total{model="small",outcome="ok"}"#), 4.0);
    assert_eq!(server.metric(r#"dyrelu_stage_seconds_count{stage="queue"}"#), 4.0);
}

#[test]
fn a_photo_is_classified() {
    let folder = tempfile::tempdir().unwrap();
    let name = "mobilenetv2-x0.35-dyrelu-b-imagenette.safetensors";
    fs::copy(root().join("models").join(name), folder.path().join("photos.safetensors")).unwrap();
    put(FREE, &folder.path().join("small.onnx"));
    let server = Server::start(folder.path(), &["--max-pixels", "1"]);
    let mut client = server.client();
    let photo = fs::read(root().join("examples/photos/church.jpg")).unwrap();
    let answer = client.post("/v2/models/photos/classify?top=2", &photo);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let predictions = &answer.json()["predictions"];
    assert_eq!(predictions.as_array().unwrap().len(), 2);
    assert_eq!(predictions[0]["label"], "church");

    for (model, photo, message) in [
        ("photos", &photo[..1000], "cut off"),
        ("photos", &b"no image"[..], "no image"),
        ("photos", b"", "empty"),
        ("small", &photo, "does not classify images"),
    ] {
        let answer = client.post(&format!("/v2/models/{model}/classify"), photo);
        let found = answer.json()["error"].as_str().unwrap().to_string();
        assert_eq!(answer.status, 400, "{found}");
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn wrong_requests_get_a_sentence() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--max-body", "1", "--max-rows", "4"]);
    let mut client = server.client();
    let good = request(&rows(1, 0));
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(pointer).unwrap() = value;
        body(&request)
    };
    let small = "/v2/models/small/infer";
    let twice = json!([good["inputs"][0], good["inputs"][0]]);
    for (path, body, status, message) in [
        ("/v2/models/large/infer", body(&good), 404, "there is no model \"large\""),
        ("/v2/models/small/versions/2/infer", body(&good), 404, "no version \"2\""),
        ("/v2/models/..%2Fsmall/infer", body(&good), 404, "there is no model"),
        ("/v2/modes", body(&good), 404, "there is no POST /v2/modes"),
        ("/v2/health/live", vec![], 404, "there is no POST /v2/health/live"),
        (small, b"{\"inputs\": [".to_vec(), 400, "the request cannot be read: EOF"),
        (small, vec![0xff; 100], 400, "the request cannot be read"),
        (small, body(&json!({ "inputs": [] })), 400, "the input \"input\" is missing"),
        (small, with("/inputs", twice), 400, "is given twice"),
        (
            small,
            with("/inputs/0/name", json!("x")),
            400,
            "no input \"x\", its inputs are \"input\"",
        ),
        (small, with("/inputs/0/datatype", json!("FP64")), 400, "takes FP32, found FP64"),
        (small, with("/inputs/0/datatype", json!("BYTES")), 400, "no datatype \"BYTES\""),
        (small, with("/inputs/0/shape", json!([1, 3, 13])), 400, "takes 39 elements, found 429"),
        (small, with("/inputs/0/shape", json!([1, 3, 11, 13])), 400, "13"),
        (small, with("/inputs/0/shape", json!([-1, 3, 13, 11])), 400, "below 0"),
        (small, with("/inputs/0/shape", json!([1u64 << 62, 3, 13, 11])), 400, "too many elements"),
        (small, with("/inputs/0/data", json!([["a"]])), 400, "expected an array of numbers"),
        (small, body(&request(&rows(5, 0))), 400, "may have 4 rows, this one has 5"),
        (small, vec![b' '; (1 << 20) + 1], 413, "may have 1048576 bytes"),
    ] {
        let answer = client.send("POST", path, &[], &body).unwrap();
        let found = answer.json()["error"].as_str().unwrap().to_string();
        assert_eq!(answer.status, status, "{found}");
        assert!(found.contains(message), "{found} does not contain {message}");
        if answer.headers.get("connection").is_some_and(|value| value == "close") {
            client = server.client();
        }
    }
    for (headers, status, message) in [
        (("Content-Encoding", "gzip"), 415, "the body is encoded as \"gzip\""),
        (("Inference-Header-Content-Length", "1000000"), 400, "and the body has"),
        (("Inference-Header-Content-Length", "x"), 400, "is no number"),
    ] {
        let answer = server.client().send("POST", small, &[headers], &body(&good)).unwrap();
        let found = answer.json()["error"].as_str().unwrap().to_string();
        assert_eq!(answer.status, status, "{found}");
        assert!(found.contains(message), "{found} does not contain {message}");
    }
    assert_eq!(server.metric(r#"dyrelu_errors_total{reason="too_large"}"#), 1.0);
    let answer = server.client().post(small, &body(&good));
    assert_eq!(scores(&answer), expected(FREE, &rows(1, 0)));
}

#[test]
fn a_full_queue_and_a_late_answer_are_told() {
    let folder = folder();
    let arguments = ["--queue", "2", "--workers", "1", "--max-delay", "700000"];
    let server = Server::start(folder.path(), &arguments);
    let good = body(&request(&rows(1, 0)));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| server.client().post("/v2/models/small/infer", &good)))
            .collect();
        while server.metric("dyrelu_requests_in_flight") < 2.0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let refused = server.client().post("/v2/models/small/infer", &good);
        assert_eq!((refused.status, &refused.headers["retry-after"][..]), (503, "1"));
        assert!(refused.json()["error"].as_str().unwrap().contains("2 requests are under way"));
        for answer in waiting {
            assert_eq!(answer.join().unwrap().status, 200);
        }
    });
    let mut late = request(&rows(1, 0));
    late["parameters"] = json!({ "timeout": 20_000 });
    let answer = server.client().post("/v2/models/small/infer", &body(&late));
    assert_eq!(answer.status, 504, "{}", answer.json());
    assert_eq!(server.metric(r#"dyrelu_errors_total{reason="deadline"}"#), 1.0);
}

#[test]
fn clients_that_misbehave_harm_nobody() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--read-timeout", "1", "--max-connections", "64"]);
    let head = "POST /v2/models/small/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n";
    // These stay, one with half a head, one with half a body, and one that speaks HTTP/1.1 to the port of gRPC.
    let mut half_head = server.client();
    half_head.write(&head.as_bytes()[..30]).unwrap();
    let mut half_body = server.client();
    half_body.write(head.as_bytes()).unwrap();
    half_body.write(b"{").unwrap();
    let mut wrong_port = Client::connect(server.grpc).unwrap();
    wrong_port.write(head.as_bytes()).unwrap();
    let silent: Vec<_> = (0..40).map(|_| server.client()).collect();
    for i in 0..100 {
        let mut client = server.client();
        let garbage: Vec<u8> = (0..500).map(|j| (i * 7 + j * 13) as u8).collect();
        client.write(if i % 2 == 0 { &garbage } else { head.as_bytes() }).unwrap();
    }
    let good = body(&request(&rows(1, 0)));
    for _ in 0..5 {
        let mut gone = server.client();
        let length = good.len();
        let head =
            format!("POST /v2/models/small/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}");
        gone.write(&[head.as_bytes(), b"\r\n\r\n", &good].concat()).unwrap();
    }
    let answer = server.client().post("/v2/models/small/infer", &good);
    assert_eq!(scores(&answer), expected(FREE, &rows(1, 0)));
    assert_eq!(half_body.answer().unwrap().status, 408);
    assert!(half_head.answer().is_err(), "a slow head is cut off");
    drop(silent);
    let answer = server.client().post("/v2/models/small/infer", &good);
    assert_eq!(answer.status, 200);
    while server.metric("dyrelu_requests_in_flight") > 0.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends requests on four connections until `stop` is set or the server closes them. Returns how many were
/// answered, and how many connections the server closed.
fn hammer(server: &Server, stop: &AtomicBool, check: impl Fn(Answer) + Sync) -> (usize, usize) {
    let (answered, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let good = body(&request(&rows(1, 0)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(server.http);
                while let Ok(client) = &mut client
                    && !stop.load(Ordering::Relaxed)
                {
                    // A server that ends closes connections between two requests only.
                    match client.send("POST", "/v2/models/small/infer", &[], &good) {
                        Ok(answer) => {
                            let is_last =
                                answer.headers.get("connection").is_some_and(|v| v == "close");
                            check(answer);
                            answered.fetch_add(1, Ordering::Relaxed);
                            if is_last {
                                break;
                            }
                        }
                        Err(_) => break,
                    }
                }
                closed.fetch_add(usize::from(!stop.load(Ordering::Relaxed)), Ordering::Relaxed);
            });
        }
    });
    (answered.into_inner(), closed.into_inner())
}

/// The head of a request whose body has `length` bytes.
fn head(length: usize) -> Vec<u8> {
    format!("POST /v2/models/small/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
        .into()
}

#[test]
fn clients_that_misbehave_under_load_harm_nobody() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--max-body", "1", "--read-timeout", "1"]);
    let (good, result) = (body(&request(&rows(1, 0))), expected(FREE, &rows(1, 0)));
    let stop = AtomicBool::new(false);
    let (answered, closed) = std::thread::scope(|scope| {
        let load =
            scope.spawn(|| hammer(&server, &stop, |answer| assert_eq!(scores(&answer), result)));
        let slow = scope.spawn(|| {
            let mut client = server.client();
            client.write(&head(good.len())).unwrap();
            // A byte at a time arrives within any time between two bytes, but not within that of a body.
            for byte in good.chunks(1).take(50) {
                if client.write(byte).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            client.answer().unwrap().status
        });
        for i in 0..50 {
            // One goes while its request waits or runs, one in the middle of its body.
            server.client().write(&[head(good.len()), good.clone()].concat()).unwrap();
            server.client().write(&[head(good.len()), good[..100].to_vec()].concat()).unwrap();
            let garbage: Vec<u8> = (0..500).map(|j| (i * 7 + j * 13) as u8).collect();
            server.client().write(&garbage).unwrap();
            let large = vec![b' '; (1 << 20) + 1];
            let answer = server.client().send("POST", "/v2/models/small/infer", &[], &large);
            assert_eq!(answer.unwrap().status, 413);
        }
        assert_eq!(slow.join().unwrap(), 408);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(answered > 0);
    assert_eq!(closed, 0, "a connection that did nothing wrong was closed");
    let ok = server.metric(r#"dyrelu_requests_total{model="small",outcome="ok"}"#);
    assert!(ok >= answered as f64, "{ok} of {answered}");
    assert_eq!(server.metric(r#"dyrelu_errors_total{reason="too_large"}"#), 50.0);
    while server.metric("dyrelu_requests_in_flight") > 0.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reload_under_load_loses_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.onnx");
    put(FREE, &path);
    let server = Server::start(folder.path(), &[]);
    let results = [expected(FREE, &rows(1, 0)), expected(OTHER, &rows(1, 0))];
    let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let stop = AtomicBool::new(false);
    let (answered, closed) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            hammer(&server, &stop, |answer| {
                let scores = scores(&answer);
                let found = results.iter().position(|result| *result == scores);
                seen[found.expect("it is one of both")].fetch_add(1, Ordering::Relaxed);
            })
        });
        let mut client = server.client();
        for i in 0..20 {
            put(if i % 2 == 0 { OTHER } else { FREE }, &path);
            assert_eq!(client.post("/v2/repository/models/small/load", b"").status, 200);
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert_eq!(closed, 0);
    let seen = seen.map(AtomicUsize::into_inner);
    assert_eq!(seen[0] + seen[1], answered);
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    assert_eq!(
        server.metric(r#"dyrelu_requests_total{model="small",outcome="ok"}"#),
        answered as f64
    );
}

#[test]
fn the_end_of_a_server_finishes_what_was_accepted() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--workers", "1", "--max-delay", "400000"]);
    let good = body(&request(&rows(1, 0)));
    let http = server.http;
    let mut half = server.client();
    let length = good.len();
    let head = format!(
        "POST /v2/models/small/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    half.write(head.as_bytes()).unwrap();
    assert_eq!(half.answer().unwrap().status, 100);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| server.client().post("/v2/models/small/infer", &good)))
            .collect();
        while server.metric("dyrelu_requests_in_flight") < 3.0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.terminate();
        for answer in waiting {
            assert_eq!(scores(&answer.join().unwrap()), expected(FREE, &rows(1, 0)));
        }
    });
    while Client::connect(http).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    half.write(&good).unwrap();
    assert_eq!(scores(&half.answer().unwrap()), expected(FREE, &rows(1, 0)));
    assert_eq!(server.wait(), 4);
}

#[test]
fn the_end_of_a_server_under_load_loses_no_request() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let stop = AtomicBool::new(false);
    let (answered, closed) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            hammer(&server, &stop, |answer| {
                scores(&answer);
            })
        });
        std::thread::sleep(Duration::from_millis(300));
        server.terminate();
        load.join().unwrap()
    });
    assert!(answered > 0);
    assert_eq!(closed, 4);
    assert_eq!(server.wait(), answered);
}
