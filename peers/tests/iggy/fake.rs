//! A server as far as the pipeline speaks with it: Iggy's binary protocol over TCP, the log of each topic in memory, and
//! faults that it is told to have.
//!
//! A request is its length, its code and what belongs to it; an answer a status, a length and what belongs to it. All
//! numbers have their lowest byte first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Bytes before what a message holds.
const HEADER: usize = 64;

/// Statuses other than 0, which says that all is well.
const INVALID_COMMAND: u32 = 3;
const NOT_FOUND: u32 = 20;
const NOT_LOGGED_IN: u32 = 40;
const WRONG_PASSWORD: u32 = 42;

/// A stream and a topic in it.
type Name = (String, String);

/// What the connections share.
pub struct Server {
    user: String,
    password: String,
    fault: String,
    log: File,
    streams: BTreeSet<String>,
    topics: BTreeMap<Name, Vec<Vec<u8>>>,
    offsets: BTreeMap<Name, u64>,
}

/// What a connection gets for a request: what belongs to the answer, or a status; nothing where the server hangs up.
type Answer = Option<Result<Vec<u8>, u32>>;

impl Server {
    /// Serve as the environment says, until the process is ended.
    pub fn run(variable: impl Fn(&str) -> String) {
        let mut server = Self {
            user: variable("IGGY_ROOT_USERNAME"),
            password: variable("IGGY_ROOT_PASSWORD"),
            fault: variable("FAKE_FAULT"),
            log: OpenOptions::new()
                .append(true)
                .create(true)
                .open(variable("FAKE_LOG"))
                .unwrap(),
            streams: BTreeSet::new(),
            topics: BTreeMap::new(),
            offsets: BTreeMap::new(),
        };
        server.note(format!("process {}", std::process::id()));
        for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("IGGY_")) {
            server.note(format!("{name}={value}"));
        }
        let listener = TcpListener::bind(variable("IGGY_TCP_ADDRESS")).unwrap();
        println!(
            "Iggy TCP server has started on: {}",
            listener.local_addr().unwrap()
        );
        let server = Arc::new(Mutex::new(server));
        for connection in listener.incoming() {
            let (connection, server) = (connection.unwrap(), Arc::clone(&server));
            server.lock().unwrap().note("a connection");
            std::thread::spawn(move || converse(connection, &server).ok());
        }
    }

    fn note(&mut self, what: impl Display) {
        writeln!(self.log, "{what}").unwrap();
    }

    /// The answer to a request.
    fn answer(&mut self, code: u32, logged_in: &mut bool, mut request: Fields) -> Answer {
        if code == 38 {
            *logged_in = request.short_text() == self.user && request.short_text() == self.password;
            let refused = !*logged_in || self.fault == "refuses the login";
            return Some(if refused {
                Err(WRONG_PASSWORD)
            } else {
                Ok(1u32.to_le_bytes().into())
            });
        }
        if !*logged_in {
            return Some(Err(NOT_LOGGED_IN));
        }
        Some(match code {
            202 => Ok(self.create_stream(request.short_text())),
            302 => self.create_topic(&mut request),
            101 if self.fault == "hangs up" => return None,
            101 => self.send(&mut request),
            100 => self.poll(&mut request),
            121 => {
                self.store(&mut request);
                Ok(Vec::new())
            }
            120 => Ok(self.stored(&mut request)),
            _ => Err(INVALID_COMMAND),
        })
    }

    fn create_stream(&mut self, name: String) -> Vec<u8> {
        let answer = [&[0; 32][..], &short(&name)].concat();
        assert!(self.streams.insert(name), "a stream is made once");
        answer
    }

    fn create_topic(&mut self, request: &mut Fields) -> Result<Vec<u8>, u32> {
        let stream = request.identifier();
        let partitions = request.u32();
        // Compression, expiry and largest size are told as they came; then how often it is replicated.
        let kept = request.take(17);
        request.take(1);
        let name = request.short_text();
        if !self.streams.contains(&stream) || partitions != 1 {
            return Err(NOT_FOUND);
        }
        let (compression, rest) = kept.split_at(1);
        let (expiry, size) = rest.split_at(8);
        let topic = [
            &[0; 12],
            &partitions.to_le_bytes()[..],
            expiry,
            compression,
            size,
            &[1],
            &[0; 16],
            &short(&name),
        ];
        self.topics.insert((stream, name), Vec::new());
        Ok([&topic.concat()[..], &[0; 40]].concat())
    }

    fn send(&mut self, request: &mut Fields) -> Result<Vec<u8>, u32> {
        request.u32();
        let name = request.topic();
        assert_eq!(request.take(2), [2, 4], "to a partition");
        assert_eq!(request.u32(), 0, "the first one");
        let count = request.u32() as usize;
        request.take(16 * count);
        self.note(format!("{} {} messages", name.1, count));
        let log = self.topics.get_mut(&name).ok_or(NOT_FOUND)?;
        for number in 0..count {
            let mut message = request.take(HEADER).to_vec();
            let [headers, payload] = [48, 52].map(|at| number_at(&message, at));
            message.extend(request.take(payload + headers));
            let copies = match (&*self.fault, &*name.1, number) {
                ("loses an event", "in", 7) | ("loses what was emitted", "out", 7) => 0,
                ("has an event twice", "in", 7) | ("has an emitted one twice", "out", 7) => 2,
                _ => 1,
            };
            for _ in 0..copies {
                append(log, message.clone());
            }
        }
        assert!(request.0.is_empty(), "as many messages as were announced");
        Ok(Vec::new())
    }

    fn poll(&mut self, request: &mut Fields) -> Result<Vec<u8>, u32> {
        request.consumer();
        let name = request.topic();
        request.first_partition();
        assert_eq!(request.take(1), [1], "from an offset");
        let from = usize::try_from(request.u64()).unwrap();
        let count = request.u32() as usize;
        assert_eq!(request.take(1), [0], "nothing is committed by a poll");
        if self.fault == "has the last event twice" && name.1 == "out" && from == 0 {
            let log = self.topics.get_mut(&(name.0.clone(), "in".to_owned())).unwrap();
            let last = log.last().unwrap().clone();
            append(log, last);
        }
        let log = self.topics.get(&name).ok_or(NOT_FOUND)?;
        let messages: Vec<_> = log.iter().skip(from).take(count).map(Vec::as_slice).collect();
        let head = [
            &0u32.to_le_bytes()[..],
            &(log.len() as u64).saturating_sub(1).to_le_bytes(),
            &u32::try_from(messages.len()).unwrap().to_le_bytes(),
        ];
        Ok([head.concat(), messages.concat()].concat())
    }

    fn store(&mut self, request: &mut Fields) {
        request.consumer();
        let name = request.topic();
        request.first_partition();
        let offset = request.u64();
        let emitted = self.topics[&(name.0.clone(), "out".to_owned())].len() as u64;
        let early = offset >= emitted && self.fault.is_empty();
        assert!(!early, "offset {offset} is stored, and {emitted} are emitted");
        self.note(format!("stored {offset}"));
        if self.fault != "forgets offsets" {
            self.offsets.insert(name, offset);
        }
    }

    fn stored(&mut self, request: &mut Fields) -> Vec<u8> {
        request.consumer();
        let name = request.topic();
        request.first_partition();
        let offset = self.offsets.get(&name);
        let answer = offset.map(|offset| [&[0; 12], &offset.to_le_bytes()[..]].concat());
        answer.unwrap_or_default()
    }
}

/// Read requests and answer them.
fn converse(mut connection: TcpStream, server: &Mutex<Server>) -> io::Result<()> {
    let mut logged_in = false;
    loop {
        let mut head = [0; 8];
        connection.read_exact(&mut head)?;
        let [length, code] = [0, 4].map(|at| number_at(&head, at));
        let mut request = vec![0; length - 4];
        connection.read_exact(&mut request)?;
        let code = u32::try_from(code).unwrap();
        let answer = server
            .lock()
            .unwrap()
            .answer(code, &mut logged_in, Fields(&request));
        let Some(answer) = answer else { return Ok(()) };
        let (status, answer) = answer.map_or_else(|status| (status, Vec::new()), |answer| (0, answer));
        let length = u32::try_from(answer.len()).unwrap();
        let head = [status.to_le_bytes(), length.to_le_bytes()].concat();
        connection.write_all(&[head, answer].concat())?;
    }
}

/// Add a message, which gets the next offset.
fn append(log: &mut Vec<Vec<u8>>, mut message: Vec<u8>) {
    message[24..32].copy_from_slice(&(log.len() as u64).to_le_bytes());
    log.push(message);
}

/// A text of less than 256 bytes.
fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn number_at(bytes: &[u8], at: usize) -> usize {
    Fields(&bytes[at..]).u32() as usize
}

/// What is left of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn short_text(&mut self) -> String {
        let length = self.take(1)[0].into();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    /// What has a name is called by it, and not by a number.
    fn identifier(&mut self) -> String {
        assert_eq!(self.take(1), [2]);
        self.short_text()
    }

    fn topic(&mut self) -> Name {
        (self.identifier(), self.identifier())
    }

    /// One that is no group.
    fn consumer(&mut self) {
        assert_eq!(self.take(1), [1]);
        self.identifier();
    }

    fn first_partition(&mut self) {
        assert_eq!(self.take(5), [1, 0, 0, 0, 0]);
    }
}
