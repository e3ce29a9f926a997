//! Streams: an input at its end, and two outputs that become log lines. A handle carries all there is to know of it, so
//! that there is no table of them.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi_io::bindings::wasi::io::error;

use crate::log::record::Level;
use crate::plugin::guest::Guest;

/// The one thing to wait for: it is always ready.
pub(super) const POLLABLE: u32 = 0;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Bytes that an output takes at a time.
const MOST_BYTES: u64 = 64 << 10;

/// What was written and is not yet a line, of each output.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Guest {
    /// Bytes for an output: whole lines become log lines, and the rest waits for its end.
    fn output(&mut self, stream: u32, mut bytes: &[u8]) -> wasmtime::Result<()> {
        self.count_call()?;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.gather(stream, &bytes[..end]);
            self.end_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.gather(stream, bytes);
        Ok(())
    }

    /// Beyond what a line may have, only so much is kept as shows that it was longer.
    fn gather(&mut self, stream: u32, bytes: &[u8]) {
        let most = self.settings.limits.log_line_bytes.saturating_add(1);
        let line = self.unfinished(stream);
        let room = most.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, stream: u32) {
        let line = std::mem::take(self.unfinished(stream));
        let level = if stream == STDERR {
            Level::Error
        } else {
            Level::Info
        };
        self.log_line(level, String::from_utf8_lossy(&line).into_owned());
    }

    fn unfinished(&mut self, stream: u32) -> &mut Vec<u8> {
        if stream == STDERR {
            &mut self.output.stderr
        } else {
            &mut self.output.stdout
        }
    }

    /// What every operation on the input says.
    fn closed<T>(&mut self) -> StreamResult<T> {
        self.count_call().map_err(StreamError::Trap)?;
        Err(StreamError::Closed)
    }

    /// At the end of a delivery the last line of each output is at its end too.
    pub(in crate::plugin) fn end_output(&mut self) {
        for stream in [STDOUT, STDERR] {
            if !self.unfinished(stream).is_empty() {
                self.end_line(stream);
            }
        }
    }
}

impl stdin::Host for Guest {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        self.count_call()?;
        Ok(Resource::new_own(STDIN))
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.count_call()?;
        Ok(Resource::new_own(STDOUT))
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.count_call()?;
        Ok(Resource::new_own(STDERR))
    }
}

impl error::Host for Guest {}

/// No operation fails with an error, so that there is none to ask.
impl error::HostError for Guest {
    fn to_debug_string(&mut self, _: Resource<error::Error>) -> wasmtime::Result<String> {
        self.count_call()?;
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<error::Error>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl poll::Host for Guest {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.count_call()?;
        if pollables.is_empty() {
            return Err(wasmtime::Error::msg("it waits for nothing, which never ends"));
        }
        Ok((0..).take(pollables.len()).collect())
    }
}

impl poll::HostPollable for Guest {
    fn ready(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.count_call()?;
        Ok(true)
    }

    fn block(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.count_call()
    }

    fn drop(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl streams::Host for Guest {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::LastOperationFailed(cause) | StreamError::Trap(cause) => Err(cause),
        }
    }
}

impl streams::HostInputStream for Guest {
    fn read(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<Vec<u8>> {
        self.closed()
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read(stream, len)
    }

    fn skip(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        self.closed()
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.skip(stream, len)
    }

    fn subscribe(&mut self, _: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        self.count_call()?;
        Ok(Resource::new_own(POLLABLE))
    }

    fn drop(&mut self, _: Resource<DynInputStream>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl streams::HostOutputStream for Guest {
    fn check_write(&mut self, _: Resource<DynOutputStream>) -> StreamResult<u64> {
        self.count_call().map(|()| MOST_BYTES).map_err(StreamError::Trap)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.output(stream.rep(), &bytes).map_err(StreamError::Trap)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.write(stream, bytes)
    }

    fn flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        self.count_call().map_err(StreamError::Trap)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.flush(stream)
    }

    fn subscribe(&mut self, _: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        self.count_call()?;
        Ok(Resource::new_own(POLLABLE))
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        if len > MOST_BYTES {
            return Err(StreamError::trap("it writes more than an output takes at a time"));
        }
        let zeroes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.output(stream.rep(), &zeroes).map_err(StreamError::Trap)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.write_zeroes(stream, len)
    }

    /// The one input is at its end.
    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        self.closed()
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.splice(to, from, len)
    }

    fn drop(&mut self, _: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::streams::{HostInputStream as _, HostOutputStream as _};
    use super::*;
    use crate::plugin::settings::Settings;

    fn guest(limits: &str) -> Guest {
        let settings = Settings::parse(&format!("[limits]\n{limits}")).unwrap();
        Guest::new(Arc::new(settings), false, Arc::default())
    }

    fn lines(guest: &mut Guest) -> Vec<(Level, String)> {
        guest.end_output();
        let lines = std::mem::take(&mut guest.handled.lines);
        lines
            .into_iter()
            .map(|line| (line.level, line.text.into()))
            .collect()
    }

    #[test]
    fn output_is_split_into_lines_escaped_and_bounded() {
        let mut guest = guest("log_lines = 5\nlog_line_bytes = 8");
        for (stream, bytes) in [
            (STDOUT, &b"one\ntw"[..]),
            (STDERR, b"\x1b[31m\n"),
            (STDOUT, b"o\n"),
            (STDOUT, b"0123456"),
            (STDOUT, b"789\n"),
            (STDERR, b"\xff end"),
            (STDOUT, b"too\nmany\n"),
        ] {
            let own = Resource::new_own(stream);
            guest.write(own, bytes.to_vec()).map_err(drop).unwrap();
        }
        let expected = [
            (Level::Info, "one"),
            (Level::Error, "\\u{1b}[3"),
            (Level::Info, "two"),
            (Level::Info, "01234567"),
            (Level::Info, "too"),
        ]
        .map(|(level, text)| (level, text.to_owned()));
        assert_eq!(lines(&mut guest), expected);
        assert_eq!(guest.handled.lines_lost, 4, "two were cut, and two were dropped");
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_line_may_have() {
        let mut guest = guest("log_line_bytes = 100");
        for _ in 0..100 {
            let own = Resource::new_own(STDOUT);
            guest.write(own, vec![b'x'; 60_000]).map_err(drop).unwrap();
            assert!(guest.output.stdout.capacity() < 1000);
        }
        assert_eq!(lines(&mut guest)[0].1.len(), 100);
    }

    #[test]
    fn the_input_is_at_its_end_and_what_is_waited_for_has_come() {
        let mut guest = guest("");
        let read = guest.blocking_read(Resource::new_own(STDIN), 1000);
        assert!(matches!(read, Err(StreamError::Closed)));
        let waits = |count| (0..count).map(|_| Resource::new_own(POLLABLE)).collect();
        assert_eq!(poll::Host::poll(&mut guest, waits(3)).unwrap(), [0, 1, 2]);
        assert!(poll::Host::poll(&mut guest, waits(0)).is_err());
    }
}
