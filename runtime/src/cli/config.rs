//! `nerve.toml`, and `nerve config`: what a host is configured with, and where each value comes from.
//!
//! A value is that of its flag; where there is none, of its environment variable; else of the file; else the default.
//! The file's keys are the flags of `nerve run`, with `_` for `-`, and those with which every command finds its host. What the file says becomes the default of
//! the flag, so that a value is read, checked and refused in one place, wherever it comes from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Subcommand};
use serde_json::{Value, json};

use super::Done;
use super::exit::{Exit, fail};
use super::output::{Printer, table};

/// The file that is read where none is named.
pub(super) const FILE: &str = "nerve.toml";

/// The command whose flags the file's keys are.
const RUN: &str = "run";

/// The command that looks where the host's data is.
const TOKEN: &str = "token";

/// The flags of every command that the file may set.
const EVERYWHERE: [&str; 3] = ["server", "token_file", "ca_file"];

/// How alike a key must be to be suggested.
const ALIKE: f64 = 0.8;

/// Look at the configuration
#[derive(Subcommand)]
pub(super) enum Config {
    /// Say whether a configuration file is right
    Check {
        /// The file
        #[arg(default_value = FILE)]
        file: PathBuf,
    },
    /// Show what `nerve run` would run with here
    Show {
        /// Say where each value comes from: a flag's variable, the file or the default
        #[arg(long)]
        origin: bool,
    },
}

impl Config {
    pub(super) fn run(self, named: Option<&Path>, printer: &Printer) -> Done {
        match self {
            Self::Check { file } => {
                let settings = Settings::read(&file, &command())?;
                let keys: Vec<&str> = settings.values.iter().map(|(key, _)| key.as_str()).collect();
                printer.print(&json!({ "file": file, "keys": keys }), || {
                    format!("{} is right: {}", file.display(), keys.join(", "))
                });
            }
            Self::Show { origin } => show(named, origin, printer)?,
        }
        Ok(())
    }
}

/// What a file says: by key, as on the command line.
#[derive(Debug)]
pub(super) struct Settings {
    values: Vec<(String, String)>,
}

/// The command line, with an environment variable for each flag of `nerve run`.
pub(super) fn command() -> clap::Command {
    <super::Cli as clap::CommandFactory>::command().mut_subcommand(RUN, |run| {
        run.mut_args(|arg| match (arg.get_long(), arg.get_env()) {
            (Some(long), None) => {
                let variable = format!("NERVE_{}", long.to_uppercase().replace('-', "_"));
                arg.env(kept(variable))
            }
            _ => arg,
        })
    })
}

impl Settings {
    /// What the file at `named` says, or, where none is named, `nerve.toml` in this folder, if there is one.
    pub(super) fn find(named: Option<&Path>, command: &clap::Command) -> anyhow::Result<Option<Self>> {
        match named {
            Some(path) => Self::read(path, command).map(Some),
            None if Path::new(FILE).is_file() => Self::read(Path::new(FILE), command).map(Some),
            None => Ok(None),
        }
    }

    fn read(path: &Path, command: &clap::Command) -> anyhow::Result<Self> {
        let refuse = |what: String| fail(Exit::Usage, format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|cause| {
            refuse(format!(
                "it can't be read: {cause}; `nerve init` makes one, and --config names another"
            ))
        })?;
        let file: toml::Table = text
            .parse()
            .map_err(|cause: toml::de::Error| refuse(cause.to_string().trim().to_owned()))?;
        let known = keys(command);
        let mut values = Vec::with_capacity(file.len());
        for (key, value) in file {
            let at = line_of(&text, &key);
            if !known.contains(&key) {
                return Err(refuse(format!(
                    "line {at}: {key:?} is no key; {}",
                    meant(&key, &known)
                )));
            }
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                    value.to_string()
                }
                _ => {
                    return Err(refuse(format!(
                        "line {at}: {key} is one value, a text or a number, as the flag --{} takes it",
                        flag(&key)
                    )));
                }
            };
            if let Some(what) = refusal(command, &key, &value) {
                return Err(refuse(format!("line {at}: {key}: {what}")));
            }
            values.push((key, value));
        }
        Ok(Self { values })
    }

    /// The command line, where what the file says is the default.
    pub(super) fn apply(&self, command: clap::Command) -> clap::Command {
        self.values.iter().fold(command, |command, (key, value)| {
            let says = |arg: Arg| arg.default_value(kept(value.clone()));
            if EVERYWHERE.contains(&&**key) {
                return command.mut_arg(key, says);
            }
            let command = if key == "data" {
                command.mut_subcommand(TOKEN, |token| token.mut_arg(key, says))
            } else {
                command
            };
            command.mut_subcommand(RUN, |run| run.mut_arg(key, says))
        })
    }
}

/// A file that says nothing, with every key, what it means and its default.
pub(super) fn template() -> String {
    let mut out = "# What `nerve run` runs with. Flags and environment variables stand before it; `nerve config show --origin`\n\
                   # says where each value comes from.\n"
        .to_owned();
    let command = command();
    for arg in arguments(&command) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg
            .get_default_values()
            .first()
            .map(|value| value.to_string_lossy());
        let value = match default.as_deref() {
            None => "…".to_owned(),
            Some(number) if number.parse::<u64>().is_ok() => number.to_owned(),
            Some(text) => format!("{text:?}"),
        };
        write!(out, "\n# {help}\n# {} = {value}\n", arg.get_id()).expect("a text takes any text");
    }
    out
}

fn show(named: Option<&Path>, origin: bool, printer: &Printer) -> Done {
    let command = command();
    let settings = Settings::find(named, &command)?;
    let file = named.map_or_else(|| FILE.to_owned(), |path| path.display().to_string());
    let with = match &settings {
        Some(settings) => settings.apply(command.clone()),
        None => command.clone(),
    };
    let matches = with
        .try_get_matches_from(["nerve", RUN])
        .map_err(|bad| fail(Exit::Usage, first_line(&bad)))?;
    let run = matches.subcommand_matches(RUN);
    let mut values = Vec::new();
    for arg in arguments(&command) {
        let key = arg.get_id().as_str();
        let within = if EVERYWHERE.contains(&key) {
            Some(&matches)
        } else {
            run
        };
        let value = within.and_then(|matches| raw(matches, key));
        let in_file = settings
            .as_ref()
            .is_some_and(|says| says.values.iter().any(|(own, _)| own == key));
        let from = match within.and_then(|matches| matches.value_source(key)) {
            Some(ValueSource::EnvVariable) => arg
                .get_env()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            _ if in_file => file.clone(),
            _ => "default".to_owned(),
        };
        values.push(json!({ "key": key, "value": value, "origin": from }));
    }
    let value = json!({ "file": settings.is_some().then_some(&file), "values": values });
    printer.print(&value, || {
        let text = |one: &Value, part: &str| one[part].as_str().unwrap_or("(none)").to_owned();
        let columns: &[&str] = if origin {
            &["key", "value", "origin"]
        } else {
            &["key", "value"]
        };
        let mut rows = vec![
            columns
                .iter()
                .map(|column| column.to_uppercase())
                .collect::<Vec<_>>(),
        ];
        rows.extend(
            values
                .iter()
                .map(|one| columns.iter().map(|part| text(one, part)).collect::<Vec<_>>()),
        );
        table(&rows)
    });
    Ok(())
}

fn raw(matches: &ArgMatches, key: &str) -> Option<String> {
    let mut values = matches.get_raw(key)?;
    values.next().map(|value| value.to_string_lossy().into_owned())
}

/// Why this can't be the value of the key.
fn refusal(command: &clap::Command, key: &str, value: &str) -> Option<String> {
    let args = ["nerve", RUN, &format!("--{}={value}", flag(key))];
    let refused = command.clone().try_get_matches_from(args).err()?;
    Some(first_line(&refused))
}

/// What clap says, without how to call the command.
fn first_line(refused: &clap::Error) -> String {
    let text = refused.to_string();
    let told: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .collect();
    let told = told.join(" ");
    let told = told.split("For more information").next().unwrap_or_default();
    told.trim_start_matches("error: ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The flags that a file may set.
fn arguments(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    let everywhere = command
        .get_arguments()
        .filter(|arg| EVERYWHERE.contains(&arg.get_id().as_str()));
    let run = command
        .find_subcommand(RUN)
        .into_iter()
        .flat_map(clap::Command::get_arguments);
    run.filter(|arg| arg.get_long().is_some()).chain(everywhere)
}

fn keys(command: &clap::Command) -> Vec<String> {
    arguments(command).map(|arg| arg.get_id().to_string()).collect()
}

fn flag(key: &str) -> String {
    key.replace('_', "-")
}

fn meant(key: &str, known: &[String]) -> String {
    let wanted = key.replace('-', "_");
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&wanted, known), known));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    match best.filter(|(likeness, _)| *likeness >= ALIKE) {
        Some((_, known)) => format!("did you mean {known:?}?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// The line on which `key` is set, from 1.
fn line_of(text: &str, key: &str) -> usize {
    let sets = |line: &str| {
        let behind = line
            .trim_start()
            .trim_start_matches(['[', '"', '\''])
            .strip_prefix(key);
        behind.is_some_and(|behind| {
            !behind.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '-')
        })
    };
    text.lines().position(sets).map_or(1, |at| at + 1)
}

/// The command line is made once in a process, and wants its names for good.
fn kept(text: String) -> &'static str {
    text.leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, text).unwrap();
        Settings::read(&path, &command())
            .map_err(|refused| refused.to_string().replace(&path.display().to_string(), FILE))
    }

    #[test]
    fn what_the_template_says_is_what_is_the_default() {
        let template = template();
        let lines = template.lines().filter_map(|line| line.strip_prefix("# "));
        let says: Vec<&str> = lines
            .filter(|line| line.contains(" = ") && !line.ends_with('…'))
            .collect();
        let text = says.join("\n");
        let settings = read(&text).unwrap();
        assert!(settings.values.len() > 8, "{settings:?}");
        let of = |command: clap::Command| {
            let matches = command.try_get_matches_from(["nerve", RUN]).unwrap();
            let run = matches.subcommand_matches(RUN).unwrap();
            settings
                .values
                .iter()
                .filter(|(key, _)| !EVERYWHERE.contains(&&**key))
                .map(|(key, _)| raw(run, key))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(settings.apply(command())), of(command()));
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_what_was_meant() {
        let said = |text| read(text).unwrap_err();
        assert_eq!(
            said("# a host\nhot_mb = 3\n"),
            "nerve.toml: line 2: \"hot_mb\" is no key; did you mean \"hot_mib\"?"
        );
        assert!(
            said("zebra = 1").contains("known are data, plugins,"),
            "{}",
            said("zebra = 1")
        );
        assert!(
            said("listen = \"nowhere\"").starts_with("nerve.toml: line 1: listen: invalid value 'nowhere'")
        );
        assert!(said("hot_mib = [1]").contains("hot_mib is one value"));
        assert!(said("data = ").contains("line 1"), "{}", said("data = "));
        assert!(read("source_rate = 9\nsource_burst = 5\nserver = \"http://[::1]:7\"").is_ok());
    }
}
