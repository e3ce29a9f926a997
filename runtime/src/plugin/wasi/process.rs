//! What a process finds around it: nothing, and a way to end.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::bindings::filesystem::preopens;

use crate::plugin::guest::Guest;

type Input = terminal_input::TerminalInput;
type Output = terminal_output::TerminalOutput;

impl environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.count_call()?;
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        self.count_call()?;
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        self.count_call()?;
        Ok(None)
    }
}

impl exit::Host for Guest {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        let how = if status.is_ok() { "success" } else { "failure" };
        Err(wasmtime::Error::msg(format!(
            "it called exit, with {how}: a handler returns"
        )))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg(format!(
            "it called exit, with code {code}: a handler returns"
        )))
    }
}

impl preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<preopens::Descriptor>, String)>> {
        self.count_call()?;
        Ok(Vec::new())
    }
}

impl terminal_input::Host for Guest {}

impl terminal_input::HostTerminalInput for Guest {
    fn drop(&mut self, _: Resource<Input>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl terminal_output::Host for Guest {}

impl terminal_output::HostTerminalOutput for Guest {
    fn drop(&mut self, _: Resource<Output>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl terminal_stdin::Host for Guest {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<Input>>> {
        self.count_call()?;
        Ok(None)
    }
}

impl terminal_stdout::Host for Guest {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<Output>>> {
        self.count_call()?;
        Ok(None)
    }
}

impl terminal_stderr::Host for Guest {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<Output>>> {
        self.count_call()?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugin::settings::Settings;

    #[test]
    fn there_is_nothing_around_a_guest_and_to_exit_is_to_fail() {
        let mut guest = Guest::new(Arc::new(Settings::default()), false, Arc::default());
        assert!(environment::Host::get_environment(&mut guest).unwrap().is_empty());
        assert!(environment::Host::get_arguments(&mut guest).unwrap().is_empty());
        assert!(preopens::Host::get_directories(&mut guest).unwrap().is_empty());
        for status in [Ok(()), Err(())] {
            let ended = exit::Host::exit(&mut guest, status).unwrap_err().to_string();
            assert!(ended.starts_with("it called exit"), "{ended}");
        }
    }
}
