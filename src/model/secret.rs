//! Where a secret is, and the one way to read it.
//!
//! Job files, checkpoints, logs and errors hold the place and never the secret. Reading it is the only I/O of
//! the model: everybody who needs a secret imports the model, and nothing below could hold it.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Bytes that a secret may have. Far above any password, token, URL or key: a bound against files that were
/// named by mistake and against those that never end.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretPlace {
    /// In this variable of the environment.
    Environment(String),
    /// In this file.
    File(PathBuf),
}

/// The place, for messages: `the environment variable NAME`, `the file NAME`.
impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// Why a secret cannot be had. Its display names the place and shows nothing of the secret.
#[derive(Debug)]
pub struct SecretFault {
    place: SecretPlace,
    why: Why,
}

#[derive(Debug)]
enum Why {
    NotSet,
    Unreadable(io::Error),
    TooLarge,
    NotText,
    Empty,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.why {
            Why::NotSet => write!(f, "{place} is not set"),
            Why::Unreadable(error) => write!(f, "{place}: {error}"),
            Why::TooLarge => write!(f, "{place} has more than {} KiB", SECRET_BYTES_MAX >> 10),
            Why::NotText => write!(f, "{place} holds no UTF-8 text"),
            Why::Empty => write!(f, "{place} is empty"),
        }
    }
}

impl std::error::Error for SecretFault {}

impl SecretPlace {
    /// The secret as it is there, byte for byte.
    ///
    /// # Errors
    /// The variable is not set, the file cannot be read, or there is more than [`SECRET_BYTES_MAX`].
    pub fn read_bytes(&self) -> Result<Vec<u8>, SecretFault> {
        let read = match self {
            Self::Environment(name) => bytes_of(std::env::var_os(name)),
            Self::File(path) => File::open(path).map_err(Why::Unreadable).and_then(bytes_in),
        };
        read.map_err(|why| self.fault(why))
    }

    /// The secret as text. White space at its end does not count: editors and `echo` leave some.
    ///
    /// # Errors
    /// Those of [`SecretPlace::read_bytes`]; it is no UTF-8, or nothing is left of it.
    pub fn read_text(&self) -> Result<String, SecretFault> {
        text_of(self.read_bytes()?).map_err(|why| self.fault(why))
    }

    /// How the key of a job file ends that names such a place: `env` or `file`, as in `token_env`.
    pub const fn suffix(&self) -> &'static str {
        match self {
            Self::Environment(_) => "env",
            Self::File(_) => "file",
        }
    }

    fn fault(&self, why: Why) -> SecretFault {
        SecretFault { place: self.clone(), why }
    }
}

fn bytes_of(variable: Option<OsString>) -> Result<Vec<u8>, Why> {
    let bytes = variable.ok_or(Why::NotSet)?.into_vec();
    if bytes.len() > SECRET_BYTES_MAX { Err(Why::TooLarge) } else { Ok(bytes) }
}

fn bytes_in(file: File) -> Result<Vec<u8>, Why> {
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(Why::Unreadable)?;
    if bytes.len() > SECRET_BYTES_MAX { Err(Why::TooLarge) } else { Ok(bytes) }
}

fn text_of(bytes: Vec<u8>) -> Result<String, Why> {
    // The error would hold the bytes.
    let mut text = String::from_utf8(bytes).map_err(|_| Why::NotText)?;
    text.truncate(text.trim_end().len());
    if text.is_empty() { Err(Why::Empty) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, SecretPlace) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, bytes).unwrap();
        (folder, SecretPlace::File(path))
    }

    #[test]
    fn bytes_are_left_as_they_are_and_text_loses_the_white_space_at_its_end() {
        let (_folder, place) = file_of(b" canary \r\n\n");
        assert_eq!(place.read_bytes().unwrap(), b" canary \r\n\n");
        assert_eq!(place.read_text().unwrap(), " canary");
        let (_folder, place) = file_of(b"\xff\x00\n");
        assert_eq!(place.read_bytes().unwrap(), b"\xff\x00\n");
        // Set by whatever runs these tests.
        let set = SecretPlace::Environment("PATH".into());
        assert_eq!(set.read_text().unwrap(), std::env::var("PATH").unwrap());
        assert_eq!(bytes_of(Some("canary\n".into())).unwrap(), b"canary\n");
    }

    #[test]
    fn what_is_larger_than_a_secret_is_refused_and_not_cut() {
        let (_folder, place) = file_of(&vec![b'a'; SECRET_BYTES_MAX]);
        assert_eq!(place.read_bytes().unwrap().len(), SECRET_BYTES_MAX);
        assert_eq!(bytes_of(Some("a".repeat(SECRET_BYTES_MAX).into())).unwrap().len(), SECRET_BYTES_MAX);
        let (_folder, place) = file_of(&vec![b'a'; SECRET_BYTES_MAX + 1]);
        assert_eq!(place.read_text().unwrap_err().to_string(), format!("{place} has more than 64 KiB"));
        assert!(matches!(bytes_of(Some("a".repeat(SECRET_BYTES_MAX + 1).into())), Err(Why::TooLarge)));
        let endless = SecretPlace::File("/dev/zero".into());
        assert_eq!(endless.read_bytes().unwrap_err().to_string(), "the file /dev/zero has more than 64 KiB");
    }

    #[test]
    fn a_fault_names_the_place_and_nothing_of_the_secret() {
        let unset = SecretPlace::Environment("S3SWEEP_NO_SUCH_VARIABLE".into());
        assert_eq!(
            unset.read_text().unwrap_err().to_string(),
            "the environment variable S3SWEEP_NO_SUCH_VARIABLE is not set"
        );
        let absent = SecretPlace::File("/nonexistent/secret".into());
        let told = absent.read_text().unwrap_err().to_string();
        assert!(told.starts_with("the file /nonexistent/secret: No such file"), "{told}");
        for (bytes, why) in
            [(&b" \n"[..], "is empty"), (b"", "is empty"), (b"canary\xff", "holds no UTF-8 text")]
        {
            let (_folder, place) = file_of(bytes);
            let fault = place.read_text().unwrap_err();
            assert_eq!(fault.to_string(), format!("{place} {why}"));
            assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
        }
        let (folder, _place) = file_of(b"");
        assert!(SecretPlace::File(folder.path().into()).read_bytes().is_err(), "a directory holds no secret");
    }
}
