//! What the second run of a job tells about the first.

use crate::checkpoint::{Snapshot, StateDir};

use super::Ending;

/// The end of a run that found the state directory locked: who holds it, since when, and how far it is.
/// `holder` is what the other process wrote about itself.
pub(super) fn locked(dir: &StateDir, refusal: &str, holder: &str) -> Ending {
    match progress(dir, holder) {
        Some(progress) => Ending::Locked(format!("{refusal}; {progress}")),
        None => Ending::Locked(refusal.to_owned()),
    }
}

/// How far the run is that a holder names. Read by a connection that cannot write and waits for nobody;
/// nothing where there is no such run yet.
fn progress(dir: &StateDir, holder: &str) -> Option<String> {
    let run_id = holder.split_whitespace().find_map(|word| word.strip_prefix("run="))?;
    let files = dir.files(run_id).ok()?;
    let totals = Snapshot::glance(&files.checkpoint).and_then(|snapshot| snapshot.totals()).ok()?;
    Some(format!(
        "so far {} listed, {} planned, {} settled",
        totals.listed().versions,
        totals.planned().versions,
        totals.settled().versions
    ))
}
