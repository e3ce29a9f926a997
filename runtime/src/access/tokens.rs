//! The file of tokens: who has one, what for and how long. It holds hashes, so that nobody who reads it can use one.
//!
//! It is written beside and renamed, by one at a time, and belongs to whom the folder belongs to.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

use super::{ANONYMOUS, Scope, Stamp, Token, TokenHash};

/// Its name in the data folder.
pub const FILE: &str = "tokens";

/// Bytes that it may have at most.
const LARGEST: u64 = 1 << 20;

/// Characters of the longest name.
const LONGEST_NAME: usize = 64;

const HEAD: &str = "# Who may use this host: hashes of tokens, written by `nerve token`. While this file is here, nobody is \
                    let in\n# without a token.\n\n";

/// A token, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who has it.
    pub name: String,
    /// Its hash.
    pub hash: TokenHash,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: Micros,
    /// From when on it is good for nothing.
    pub expires: Option<Micros>,
}

/// Why the tokens could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// There is no such folder.
    #[error("{0} is no folder of a host: name it with --data, or make one with `nerve init`")]
    NoFolder(String),
    /// The file can't be read or written.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Others may change it.
    #[error(
        "{0} may be written by others, who could let themselves in: look at what it says, and then `chmod 600 {0}`"
    )]
    Mode(String),
    /// What it says makes no sense.
    #[error("{path}: {what}; mend it, or remove the file to begin anew")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The name can't be that of a token.
    #[error("{0:?} can't be the name of a token: take 1 to 64 of a-z A-Z 0-9 . _ @ -, and not {ANONYMOUS:?}")]
    Name(String),
    /// There is a token of this name.
    #[error("there is a token called {0:?}: revoke it, or take another name")]
    Taken(String),
    /// There is none.
    #[error("there is no token called {0:?}: `nerve token list` lists them")]
    NotFound(String),
}

/// What the file says.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    hash: String,
    scopes: Vec<String>,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// The tokens of the host whose data is in `folder`; `None` where none was ever made.
pub fn read(folder: &Path) -> Result<Option<Vec<Arc<Grant>>>, TokensError> {
    check_folder(folder)?;
    let path = folder.join(FILE);
    match read_file(&path) {
        Ok((_, grants)) => Ok(Some(grants)),
        Err(TokensError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Make a token for `name`, which nobody has yet. A running host takes it from then on.
pub fn create(
    folder: &Path,
    name: &str,
    scopes: Vec<Scope>,
    created: Micros,
    expires: Option<Micros>,
) -> Result<Token, TokensError> {
    check_name(name)?;
    change(folder, |grants| {
        if grants.iter().any(|grant| grant.name == name) {
            return Err(TokensError::Taken(name.to_owned()));
        }
        let token = Token::random().map_err(|cause| io_error(folder, io::Error::other(cause.to_string())))?;
        grants.push(Arc::new(Grant {
            name: name.to_owned(),
            hash: Token::hash(token.text()),
            scopes,
            created,
            expires,
        }));
        Ok(token)
    })
}

/// Revoke the token of `name`. A running host takes it no longer; the file stays, also without any token.
pub fn revoke(folder: &Path, name: &str) -> Result<(), TokensError> {
    change(folder, |grants| {
        let before = grants.len();
        grants.retain(|grant| grant.name != name);
        let is_gone = grants.len() < before;
        is_gone
            .then_some(())
            .ok_or_else(|| TokensError::NotFound(name.to_owned()))
    })
}

/// Change the tokens, one after another. Blocks while somebody else changes them.
fn change<T>(
    folder: &Path,
    change: impl FnOnce(&mut Vec<Arc<Grant>>) -> Result<T, TokensError>,
) -> Result<T, TokensError> {
    check_folder(folder)?;
    let in_folder = |cause| io_error(folder, cause);
    let open = File::open(folder).map_err(in_folder)?;
    open.lock().map_err(in_folder)?;
    let mut grants = read(folder)?.unwrap_or_default();
    let done = change(&mut grants)?;
    write(folder, &open, &grants).map_err(|cause| io_error(&folder.join(FILE), cause))?;
    Ok(done)
}

/// Check that `name` can be that of a token.
fn check_name(name: &str) -> Result<(), TokensError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    let is_good =
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_allowed) && name != ANONYMOUS;
    is_good
        .then_some(())
        .ok_or_else(|| TokensError::Name(name.chars().take(LONGEST_NAME).collect()))
}

/// What the file at `path` says, and its stamp as it was then.
pub(super) fn read_file(path: &Path) -> Result<(Stamp, Vec<Arc<Grant>>), TokensError> {
    let failed = |cause| io_error(path, cause);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.mode() & 0o022 != 0 {
        return Err(TokensError::Mode(path.display().to_string()));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    let bad = |what: String| TokensError::Content {
        path: path.display().to_string(),
        what,
    };
    let content: Content = toml::from_str(&text).map_err(|cause| bad(cause.to_string().trim().to_owned()))?;
    let grants = content.token.iter().map(|entry| {
        let grant = entry.grant();
        grant
            .map(Arc::new)
            .map_err(|what| bad(format!("token {:?}: {what}", entry.name)))
    });
    Ok((Stamp::from(&about), grants.collect::<Result<_, _>>()?))
}

fn write(folder: &Path, open_folder: &File, grants: &[Arc<Grant>]) -> io::Result<()> {
    let content = Content {
        token: grants.iter().map(|grant| Entry::of(grant)).collect(),
    };
    let text = toml::to_string(&content).map_err(io::Error::other)?;
    let mut file = tempfile::Builder::new()
        .prefix(".tokens-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(HEAD.as_bytes())?;
    file.write_all(text.as_bytes())?;
    // An administrator makes tokens for a host that runs as somebody else.
    let (owner, own) = (open_folder.metadata()?, file.as_file().metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) && own.uid() == 0 {
        std::os::unix::fs::fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(folder.join(FILE)).map_err(|failed| failed.error)?;
    open_folder.sync_all()
}

fn check_folder(folder: &Path) -> Result<(), TokensError> {
    folder
        .is_dir()
        .then_some(())
        .ok_or_else(|| TokensError::NoFolder(folder.display().to_string()))
}

fn io_error(path: &Path, cause: io::Error) -> TokensError {
    TokensError::Io {
        path: path.display().to_string(),
        cause,
    }
}

impl Entry {
    fn of(grant: &Grant) -> Self {
        Self {
            name: grant.name.clone(),
            hash: grant.hash.to_string(),
            scopes: grant.scopes.iter().map(Scope::to_string).collect(),
            created: text(grant.created),
            expires: grant.expires.map(text),
        }
    }

    fn grant(&self) -> Result<Grant, String> {
        check_name(&self.name).map_err(|bad| bad.to_string())?;
        let scopes = self.scopes.iter().map(|scope| scope.parse());
        Ok(Grant {
            name: self.name.clone(),
            hash: self.hash.parse().map_err(|bad| format!("hash: {bad}"))?,
            scopes: scopes
                .collect::<Result<_, _>>()
                .map_err(|bad: super::BadScope| bad.to_string())?,
            created: micros(&self.created)?,
            expires: self.expires.as_deref().map(micros).transpose()?,
        })
    }
}

fn text(time: Micros) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

fn micros(text: &str) -> Result<Micros, String> {
    let time: Timestamp = text.parse().map_err(|bad: jiff::Error| bad.to_string())?;
    u64::try_from(time.as_microsecond())
        .map(Micros)
        .map_err(|_| format!("{text} lies before 1970"))
}
