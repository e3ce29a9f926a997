//! A server that plugins call and webhooks send to: it does what a test says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The header `Idempotency-Key`.
    pub key: String,
    /// The body.
    pub body: String,
    /// Its headers, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Over which connection it was asked, from 0.
    pub connection: usize,
}

impl Asked {
    /// A header; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// It answers with this status and body.
    Answer(u16, String),
    /// The same, and the connection stays open for the next request.
    Keep(u16, String),
    /// It answers nothing, and keeps the connection.
    Hold,
    /// It writes these bytes, whatever they are.
    Raw(Vec<u8>),
    /// It writes these bytes, and then others for as long as somebody takes them.
    Flood(Vec<u8>),
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server on loopback.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Arc<Script>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// A server that does what `script` says.
    pub fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    /// The same, at an address.
    pub fn start_at(address: &str, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
            stop: Arc::default(),
        };
        let (seen, script, stop) = (server.seen.clone(), server.script.clone(), server.stop.clone());
        std::thread::spawn(move || {
            let held = Arc::new(Mutex::new(Vec::new()));
            for (connection, stream) in listener.incoming().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, script, held) = (seen.clone(), script.clone(), held.clone());
                let stream = stream.unwrap();
                std::thread::spawn(move || while serve(&stream, connection, &seen, &script, &held) {});
            }
        });
        server
    }

    /// Do something else from now on.
    pub fn set(&self, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

/// One request of one connection, and whether there may be another; a client that goes away is nothing to speak of.
fn serve(
    mut stream: &TcpStream,
    connection: usize,
    seen: &Mutex<Vec<Asked>>,
    script: &Mutex<Arc<Script>>,
    held: &Mutex<Vec<TcpStream>>,
) -> bool {
    let Some(asked) = read(stream, connection) else {
        return false;
    };
    seen.lock().unwrap().push(asked.clone());
    let script = script.lock().unwrap().clone();
    match script(&asked) {
        Reply::Keep(status, body) => {
            let answer = format!(
                "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            return stream.write_all(answer.as_bytes()).is_ok();
        }
        Reply::Hold => held.lock().unwrap().extend(stream.try_clone()),
        Reply::Answer(status, body) => {
            let length = body.len();
            let first =
                format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((first + &body).as_bytes()).ok();
        }
        Reply::Raw(bytes) => {
            stream.write_all(&bytes).ok();
        }
        Reply::Flood(bytes) => {
            let more = [b'x'; 1 << 12];
            let mut written = stream.write_all(&bytes);
            while written.is_ok() {
                written = stream.write_all(&more);
            }
        }
    }
    false
}

fn read(stream: &TcpStream, connection: usize) -> Option<Asked> {
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    lines.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let length = header("content-length").parse().unwrap_or_default();
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Asked {
        path,
        key: header("idempotency-key"),
        body,
        headers,
        connection,
    })
}
