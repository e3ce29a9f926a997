//! `nerve webhook`: send events to a service that is no plugin.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::Done;
use super::exit::{Exit, fail};
use super::output::Printer;
use crate::plugin::name::PluginName;
use crate::plugin::settings::Settings;
use crate::plugin::webhook::{ENDING, Key};

/// Send events to a service that is no plugin
#[derive(Subcommand)]
pub(super) enum Webhook {
    /// Write the file of a webhook, and a secret that signs what it sends
    New(New),
}

/// Write the file of a webhook, and a secret that signs what it sends
#[derive(clap::Args)]
pub(super) struct New {
    /// Its name, among those of plugins: a-z, 0-9 and -, a letter first
    name: String,
    /// Where its events go
    #[arg(long)]
    url: String,
    /// A type or pattern of the events that it gets; may be given several times
    #[arg(long = "type", value_name = "PATTERN", required = true)]
    types: Vec<String>,
    /// Begin with the first event of the log, and not with those to come
    #[arg(long)]
    from_beginning: bool,
    /// The plugin folder of the host
    #[arg(long, default_value = "plugins")]
    dir: PathBuf,
    /// The file of the secret: made where it is not there, and used where it is [default: secrets/NAME]
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
}

impl Webhook {
    pub(super) fn run(self, printer: &Printer) -> Done {
        match self {
            Self::New(command) => command.run(printer),
        }
    }
}

impl New {
    fn run(&self, printer: &Printer) -> Done {
        let name = PluginName::parse(&self.name).map_err(|bad| fail(Exit::Usage, bad.to_string()))?;
        let secret = self.secret.clone();
        let secret = secret.unwrap_or_else(|| Path::new("secrets").join(name.as_str()));
        let secret = std::path::absolute(&secret).context("the folder where this runs has no name")?;
        let text = self.text(&secret);
        Settings::parse(&text).map_err(|bad| fail(Exit::Usage, bad.to_string()))?;
        let file = self.dir.join(format!("{name}{ENDING}"));
        let component = self.dir.join(format!("{name}.wasm"));
        if let Some(taken) = [&file, &component].into_iter().find(|path| path.exists()) {
            let message = format!(
                "{} is there already: choose another name, or remove it first",
                taken.display()
            );
            return Err(fail(Exit::Conflict, message));
        }
        let is_made = make_secret(&secret).with_context(|| format!("{} can't be made", secret.display()))?;
        place(&self.dir, &file, &text).with_context(|| format!("{} can't be made", file.display()))?;
        let value = json!({
            "name": name.as_str(), "file": file, "secret": secret, "secret_made": is_made,
        });
        printer.print(&value, || {
            let was = if is_made { "made" } else { "there already" };
            format!(
                "{name} sends {} to {}; a host that watches {} begins at once\n\
                 its settings: {}\n\
                 its secret:   {} ({was}): give it to the receiver, which verifies with it\n\
                 next: nerve plugin show {name}",
                self.types.join(", "),
                self.url,
                self.dir.display(),
                file.display(),
                secret.display(),
            )
        });
        Ok(())
    }

    fn text(&self, secret: &Path) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let types: Vec<String> = self.types.iter().map(|text| quoted(text)).collect();
        let start = if self.from_beginning {
            "start = \"beginning\"\n\n"
        } else {
            ""
        };
        format!(
            "{start}[webhook]\nurl = {}\nsubscriptions = [{}]\nsecrets = [{{ file = {} }}]\n",
            quoted(&self.url),
            types.join(", "),
            quoted(&secret.to_string_lossy()),
        )
    }
}

/// Make a secret that nobody else may read, where there is none; whether it was made.
fn make_secret(path: &Path) -> anyhow::Result<bool> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|cause| anyhow::anyhow!("there is no randomness: {cause}"))?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match file {
        Ok(mut file) => {
            writeln!(file, "{}", Key::secret(&bytes))?;
            Ok(true)
        }
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

/// Put the file in its place, whole at once.
fn place(folder: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(
        ".{}",
        file.file_name().unwrap_or_default().to_string_lossy()
    ));
    let mut new = File::create(&beside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    Ok(fs::rename(&beside, file)?)
}
