//! The command line: one command per file. The only place that prints.

mod api;
mod bench;
mod compile_component;
mod completions;
mod config;
mod dead;
mod demo;
mod dev;
mod doctor;
mod events;
mod exit;
mod explain;
mod given;
mod init;
mod log;
mod man;
mod map;
mod openapi;
mod output;
mod plugin;
mod publish;
mod run;
mod schema;
mod token;
mod top;
mod trace;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};

pub use exit::Exit;
use output::{Output, Printer};

use crate::plugin::compiler::child::COMMAND as COMPILE;

/// An event-processing runtime: a durable event log, and sandboxed plugins that reload while everything runs.
#[derive(Parser)]
#[command(name = "nerve", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where a host is that was told nothing else.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7117";

/// What every command takes.
#[derive(Args)]
struct Global {
    /// How to print: for people, or as JSON for programs
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    /// The host to talk to
    #[arg(
        long,
        global = true,
        env = "NERVE_SERVER",
        value_parser = given::server,
        default_value = DEFAULT_SERVER
    )]
    server: String,
    /// A file with the token to show to the host; `NERVE_TOKEN` may hold the token itself
    #[arg(long, global = true, env = "NERVE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file of certificates: the host is one whose own they signed [default: those that the public trusts]
    #[arg(long, global = true, env = "NERVE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The configuration file [default: nerve.toml, where there is one]
    #[arg(long, global = true, env = "NERVE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make the folders of a new host
    Init(init::Init),
    /// Run a host
    Run(run::Run),
    /// Run a host, build plugins when their source changes, swap them in, and show what they do
    Dev(dev::Dev),
    /// Publish an event, and say when it is durable
    Publish(publish::Publish),
    /// List events, or follow them
    Events(events::Events),
    /// Show the way of an event through all plugins
    Trace(trace::Trace),
    /// Show who emits and who consumes what, as declared and as seen, and what is odd about it
    Map(map::Map),
    /// Watch how plugins fare, live; without a terminal, or with --output json, print it
    Top(top::Top),
    /// Look for the symptoms of a distributed monolith: in a log, or in the traces of services that are not on nerve
    Doctor(doctor::Doctor),
    /// Tell the story of a shop on a host of its own, checking every claim
    Demo(demo::Demo),
    /// Measure this machine
    Bench(bench::Bench),
    /// Make, build and manage plugins
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Send events to a service that is no plugin
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// See to dead letters
    #[command(subcommand)]
    Dead(dead::Dead),
    /// See to the schemas of event types
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Look at a log
    #[command(subcommand)]
    Log(log::Log),
    /// Make, list and revoke the tokens with which a host may be used
    Token(token::Token),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Say what the code of a failure means, and what to do about it
    Explain(explain::Explain),
    /// Write man pages, one for each command
    Man(man::Man),
    /// Print the `OpenAPI` document of the HTTP API
    Openapi,
    /// Print completions for a shell
    Completions(completions::Completions),
    #[command(name = COMPILE, hide = true)]
    CompileComponent(compile_component::CompileComponent),
}

/// What a command's end means.
type Done = anyhow::Result<()>;

/// Parse the command line, run the command and say how it ended.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(Ok(cli)) => cli,
        Ok(Err(usage)) => return output::usage(&usage),
        Err(cause) => {
            let exit = Exit::of(&cause);
            Printer::wanted().failure(&cause, exit);
            return exit.into();
        }
    };
    let printer = Printer::new(cli.global.output);
    let api = api::Api::new(
        &cli.global.server,
        cli.global.token_file.as_deref(),
        cli.global.ca_file.as_deref(),
    );
    let done = match cli.command {
        Command::Init(command) => command.run(&printer),
        Command::Run(command) => command.run(&printer),
        Command::Dev(command) => command.run(&api, &printer),
        Command::Publish(command) => command.run(&api, &printer),
        Command::Events(command) => command.run(&api, &printer),
        Command::Trace(command) => command.run(&api, &printer),
        Command::Map(command) => command.run(&api, &printer),
        Command::Top(command) => command.run(&api, &printer),
        Command::Doctor(command) => command.run(&api, &printer),
        Command::Demo(command) => command.run(&printer),
        Command::Bench(command) => command.run(&printer),
        Command::Plugin(command) => command.run(&api, &printer),
        Command::Webhook(command) => command.run(&printer),
        Command::Dead(command) => command.run(&api, &printer),
        Command::Schema(command) => command.run(&api, &printer),
        Command::Log(command) => command.run(&api, &printer),
        Command::Openapi => openapi::run(&printer),
        Command::Token(command) => command.run(&printer),
        Command::Config(command) => command.run(cli.global.config.as_deref(), &printer),
        Command::Explain(command) => command.run(&printer),
        Command::Man(command) => command.run(&printer),
        Command::CompileComponent(command) => command.run(),
        Command::Completions(command) => {
            command.run(&printer);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            let exit = Exit::of(&cause);
            printer.failure(&cause, exit);
            exit.into()
        }
    }
}

/// The command line, and behind it what the configuration file says.
fn parse() -> anyhow::Result<Result<Cli, clap::Error>> {
    let matches = match config::command().try_get_matches() {
        Ok(matches) => matches,
        Err(usage) => return Ok(Err(usage)),
    };
    let cli = match read(&matches) {
        Ok(cli) => cli,
        Err(usage) => return Ok(Err(usage)),
    };
    // These look at the file themselves, or at nothing.
    if matches!(cli.command, Command::Config(_) | Command::CompileComponent(_)) {
        return Ok(Ok(cli));
    }
    let Some(settings) = config::Settings::find(cli.global.config.as_deref(), &config::command())? else {
        return Ok(Ok(cli));
    };
    let matches = settings.apply(config::command()).try_get_matches();
    Ok(matches.and_then(|matches| read(&matches)))
}

fn read(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    // A token in the environment stands before a file that is named there or in the configuration.
    if std::env::var_os(api::TOKEN).is_some()
        && matches.value_source("token_file") != Some(ValueSource::CommandLine)
    {
        cli.global.token_file = None;
    }
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
