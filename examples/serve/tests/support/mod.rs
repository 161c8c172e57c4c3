//! A server in a process of its own, and a client that shows what it sends.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A running server. It is killed when it is dropped.
pub struct Server {
    process: Child,
    log: Option<JoinHandle<Vec<String>>>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
}

impl Server {
    /// Starts a server on free ports and waits until it is ready.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyrelu-serve"));
        command.args(["--http-port", "0", "--grpc-port", "0", "--log-format", "json"]);
        let mut process =
            command.args(arguments).arg(folder).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = log.next().expect("the server logs its ports").unwrap();
        let listening: Value = serde_json::from_str(&listening).unwrap();
        let port = |name: &str| listening[name].as_str().expect(name).parse().unwrap();
        let (http, grpc) = (port("http"), port("grpc"));
        let log = Some(std::thread::spawn(move || log.map(Result::unwrap).collect()));
        let server = Server { process, log, http, grpc };
        let started = Instant::now();
        while server.client().get("/v2/health/ready").status != 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// Returns a new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.http).unwrap()
    }

    /// Returns the value of a line of the metrics.
    pub fn metric(&self, line: &str) -> f64 {
        let text = String::from_utf8(self.client().get("/metrics").body).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
    }

    /// Asks the server to end.
    pub fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for the end of the server, which must be a success. Returns how many requests for a run it has
    /// received.
    pub fn wait(mut self) -> usize {
        assert!(self.process.wait().unwrap().success());
        let log = self.log.take().unwrap().join().unwrap();
        let last: Value = serde_json::from_str(log.last().unwrap()).unwrap();
        last["received"].as_u64().unwrap() as usize
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that is kept open between requests.
pub struct Client(BufReader<TcpStream>);

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Client {
    pub fn connect(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client(BufReader::new(stream)))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").unwrap()
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[], body).unwrap()
    }

    /// Sends a request and reads the answer. Fails if the connection ends before the first byte of it.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        head += &format!("Content-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.write(&[head.as_bytes(), b"\r\n", body].concat())?;
        self.answer()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Reads an answer. Fails if the connection ends before its first byte.
    pub fn answer(&mut self) -> std::io::Result<Answer> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the head of an answer is cut off");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_string());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the answer is whole");
        Ok(Answer { status, headers, body })
    }
}
