//! The textfile for node_exporter: what is left to read when the process has ended.

use std::fs;
use std::io;
use std::path::Path;

use super::Metrics;

/// Writes all series to `target`, at once or not at all: a scraper never sees half of them.
///
/// # Errors
/// Those of writing beside the target and of renaming.
pub(super) fn write(target: &Path, metrics: &Metrics) -> io::Result<()> {
    let text = metrics.render_to_keep();
    let mut beside = target.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, target)).inspect_err(|_| {
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
        write(&target, &Metrics::new("nightly", &[], Timestamp::default()).unwrap()).unwrap();
        assert!(fs::read_to_string(&target).unwrap().contains("s3sweep_run_exit_code"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(
            write(Path::new("/nonexistent/x.prom"), &Metrics::new("a", &[], Timestamp::default()).unwrap())
                .is_err()
        );
    }
}
