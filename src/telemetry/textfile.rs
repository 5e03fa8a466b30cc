//! The textfile for node_exporter: what is left to read when the process has ended.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Metrics;

/// node_exporter is another user, and the file holds no secret: whatever the umask of this process says.
const MODE: u32 = 0o644;

/// Writes all series to `target`, at once or not at all: a scraper never sees half of them.
///
/// # Errors
/// Those of writing beside the target and of renaming.
pub(super) fn write(target: &Path, metrics: &Metrics) -> io::Result<()> {
    let text = metrics.render_to_keep();
    let mut beside = target.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, text)
        .and_then(|()| fs::set_permissions(&beside, Permissions::from_mode(MODE)))
        .and_then(|()| fs::rename(&beside, target));
    written.inspect_err(|_| {
        // That error is the one to tell.
        let _removed = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn replaces_the_former_one_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("s3sweep.prom");
        fs::write(&target, "old").unwrap();
        let mut beside = target.clone().into_os_string();
        beside.push(format!(".{}.tmp", std::process::id()));
        // As a process whose umask is 0077 makes it.
        fs::write(&beside, "").unwrap();
        fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
        write(&target, &Metrics::new("nightly", &[], Timestamp::default()).unwrap()).unwrap();
        assert!(fs::read_to_string(&target).unwrap().contains("s3sweep_run_exit_code"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE, "the exporter must be able to read it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(
            write(Path::new("/nonexistent/x.prom"), &Metrics::new("a", &[], Timestamp::default()).unwrap())
                .is_err()
        );
    }
}
