//! What is secret stands in settings by reference only: in a variable of the environment, or in a file.

use std::path::PathBuf;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In this variable of the host's environment.
    Env(String),
    /// In this file.
    File(PathBuf),
}

/// Why there is no secret where there should be one. Says nothing of what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSecret {
    /// The variable is not set, or empty.
    #[error(
        "the environment of the host has no variable {0}: set it and start the host again, or use a file"
    )]
    Env(String),
    /// The file can't be read, or is empty.
    #[error("the file {} has no secret: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl Reference {
    /// The reference in `value`; `None` where it is none.
    pub(super) fn parse(value: &toml::Value) -> Option<Self> {
        let table = value.as_table().filter(|table| table.len() == 1)?;
        let text = |name: &str| table.get(name).and_then(toml::Value::as_str);
        let env = text("env").map(|name| Self::Env(name.to_owned()));
        env.or_else(|| text("file").map(|path| Self::File(path.into())))
    }

    /// The secret, without space around it. It is read anew each time, so that it can be changed in its place.
    pub(super) fn read(&self) -> Result<String, NoSecret> {
        match self {
            Self::Env(name) => {
                let text = std::env::var(name).unwrap_or_default();
                Some(text.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| NoSecret::Env(name.clone()))
            }
            Self::File(path) => {
                let none = |cause: String| NoSecret::File {
                    path: path.clone(),
                    cause,
                };
                let text = std::fs::read_to_string(path).map_err(|cause| none(cause.to_string()))?;
                let text = text.trim().to_owned();
                if text.is_empty() {
                    return Err(none("it is empty".into()));
                }
                Ok(text)
            }
        }
    }
}
