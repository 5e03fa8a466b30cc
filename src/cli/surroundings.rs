//! What a job names that this machine does not have, and without which a run goes on: tokens, receivers, the
//! Pushgateway's password, the textfile's directory.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::job::Job;
use crate::model::SecretPlace;
use crate::notice::{Address, Hook, Source};

use super::listener;

/// A line for each: where it stands in the job file, what is missing, and what a run on this machine would do
/// without. No line shows anything of a secret.
pub(super) fn missing_outputs(job: &Job) -> Vec<String> {
    let metrics = &job.metrics;
    let token = metrics.live.as_ref().and_then(|page| listener::token(page.token.as_ref()?).err());
    let password = metrics.pushgateway.as_ref().and_then(|gateway| gateway.password.as_ref());
    let textfile = metrics.textfile.as_deref().and_then(|path| textfile_trouble(path, &is_writable));
    let told = |what: Option<String>, without: &str| {
        what.map(|what| format!("{what}: a run on this machine goes on, {without}"))
    };
    [
        told(textfile.map(|why| format!("metrics.textfile: {why}")), "and writes no textfile"),
        told(
            password.and_then(|place| unreadable("metrics.pushgateway.password", place)),
            "and pushes nothing to the Pushgateway",
        ),
        told(token, "and nobody can steer it on the live page"),
    ]
    .into_iter()
    .flatten()
    .chain(job.notify.iter().enumerate().flat_map(|(at, hook)| {
        hook_troubles(at, hook).into_iter().filter_map(move |what| {
            told(Some(what), "and what this receiver should hear waits in the state directory")
        })
    }))
    .collect()
}

/// What is wrong with a secret's place, behind the key of the job file that names it.
fn unreadable(key: &str, place: &SecretPlace) -> Option<String> {
    place.read_text().err().map(|fault| format!("{key}_{}: {fault}", place.suffix()))
}

fn hook_troubles(at: usize, hook: &Hook) -> Vec<String> {
    let url = match &hook.url {
        // It was looked at with the job file.
        Source::Given(_) => None,
        Source::Kept(place) => {
            let key = format!("notify[{at}].url");
            match place.read_text() {
                Ok(url) => Address::parse(&url, hook.allow_http)
                    .err()
                    .map(|fault| format!("{key}_{}: {place} {fault}", place.suffix())),
                Err(_) => unreadable(&key, place),
            }
        }
    };
    let secret = hook.secret.as_ref().and_then(|place| unreadable(&format!("notify[{at}].secret"), place));
    url.into_iter().chain(secret).collect()
}

/// Why no textfile can be written there: it is made beside its place and then renamed. `is_writable` says of a
/// directory whether files can be made in it.
fn textfile_trouble(path: &Path, is_writable: &dyn Fn(&Path) -> io::Result<()>) -> Option<String> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let shown = dir.display();
    match fs::metadata(dir) {
        Err(error) => Some(format!("the directory {shown}: {error}")),
        Ok(found) if !found.is_dir() => Some(format!("{shown} is no directory")),
        Ok(_) if path.is_dir() => Some(format!("{} is a directory", path.display())),
        Ok(_) => {
            is_writable(dir).err().map(|error| format!("the directory {shown} cannot be written to: {error}"))
        }
    }
}

fn is_writable(dir: &Path) -> io::Result<()> {
    Ok(access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn told(sections: &str) -> Vec<String> {
        let text = format!(
            "version: 1\nname: n\nbucket: {{ name: src }}\nrules: [{{ name: r, match: {{ state: any }}, action: \
             delete }}]\n{sections}"
        );
        missing_outputs(&crate::job::load(&text, "job.yaml", &|_| None).unwrap())
    }

    #[test]
    fn each_thing_that_is_missing_is_a_line_with_its_place_and_what_follows() {
        let lines = told(
            "metrics:\n  listen: 127.0.0.1:1\n  textfile: /nonexistent/s3sweep.prom\n\
             \x20 live: { token_env: S3SWEEP_NO_TOKEN }\n\
             \x20 pushgateway: { url: \"https://p.example\", username: u, password_file: /nonexistent/p }\n\
             notify:\n  - { url: \"https://a.example/\" }\n\
             \x20 - { url_env: S3SWEEP_NO_URL, secret_file: /nonexistent/s }\n\
             \x20 - { url: \"https://b.example/\", secret_env: S3SWEEP_NO_SECRET }\n",
        );
        let absent = "No such file or directory (os error 2): a run on this machine goes on, and";
        let unset = "is not set: a run on this machine goes on, and";
        let waits = "what this receiver should hear waits in the state directory";
        assert_eq!(
            lines,
            [
                format!("metrics.textfile: the directory /nonexistent: {absent} writes no textfile"),
                format!(
                    "metrics.pushgateway.password_file: the file /nonexistent/p: {absent} pushes nothing to the \
                     Pushgateway"
                ),
                format!(
                    "metrics.live.token_env: the environment variable S3SWEEP_NO_TOKEN {unset} nobody can steer it \
                     on the live page"
                ),
                format!("notify[1].url_env: the environment variable S3SWEEP_NO_URL {unset} {waits}"),
                format!("notify[1].secret_file: the file /nonexistent/s: {absent} {waits}"),
                format!("notify[2].secret_env: the environment variable S3SWEEP_NO_SECRET {unset} {waits}"),
            ]
        );
    }

    #[test]
    fn what_is_there_is_told_only_where_it_cannot_serve_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let kept = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let job = |url: &str, token: &str| {
            let (url, token, secret) = (kept("url", url), kept("token", token), kept("secret", "canary\n"));
            let textfile = folder.path().join("s3sweep.prom");
            told(&format!(
                "metrics:\n  listen: 127.0.0.1:1\n  textfile: {}\n  live: {{ token_file: {token} }}\n\
                 \x20 pushgateway: {{ url: \"https://p.example\", username: u, password_file: {secret} }}\n\
                 notify: [{{ url_file: {url}, secret_file: {secret} }}]\n",
                textfile.display()
            ))
        };
        assert_eq!(job("https://h.example/canary\n", "canary-canary-canary\n"), [""; 0]);
        let lines = job("http://h.example/canary", "canary");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("metrics.live.token_file: the file "), "{lines:?}");
        assert!(lines[0].contains("/token holds no token: expected at least 16"), "{lines:?}");
        assert!(lines[1].starts_with("notify[0].url_file: the file "), "{lines:?}");
        assert!(lines[1].contains("/url would send notices unencrypted: a run"), "{lines:?}");
        assert!(!lines.join("\n").contains("canary"), "{lines:?}");
    }

    #[test]
    fn a_textfile_needs_a_directory_that_can_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let yes = |_: &Path| Ok(());
        let no = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(textfile_trouble(&dir.join("new.prom"), &yes), None);
        assert_eq!(
            textfile_trouble(Path::new("new.prom"), &yes),
            None,
            "beside where the program was started"
        );
        let why = textfile_trouble(&dir.join("new.prom"), &no).unwrap();
        assert_eq!(why, format!("the directory {} cannot be written to: permission denied", dir.display()));
        fs::write(dir.join("file"), "").unwrap();
        let why = textfile_trouble(&dir.join("file/new.prom"), &yes).unwrap();
        assert!(why.ends_with("file is no directory"), "{why}");
        fs::create_dir(dir.join("sub")).unwrap();
        let why = textfile_trouble(&dir.join("sub"), &yes).unwrap();
        assert!(why.ends_with("sub is a directory"), "{why}");
    }

    #[test]
    fn whether_a_directory_can_be_written_to_is_what_writing_finds() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o500, 0o600, 0o300, 0o700] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            // Who has all rights may write whatever the mode says.
            let writes = fs::write(folder.path().join(format!("{mode:o}")), "").is_ok();
            assert_eq!(is_writable(folder.path()).is_ok(), writes, "{mode:o}");
        }
        assert!(is_writable(&folder.path().join("absent")).is_err());
    }
}
