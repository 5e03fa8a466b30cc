//! SIGINT and SIGTERM: the first asks for an orderly end, the second for one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::engine::{Ending, Stop};

/// Signals are the process's, so this is too.
static CAME: AtomicBool = AtomicBool::new(false);

/// Whether somebody has asked this process to end, however it ended then.
pub(super) fn came() -> bool {
    CAME.load(Ordering::Acquire)
}

/// Returns at the next SIGINT or SIGTERM; never where they cannot be watched.
pub(super) async fn next() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Watches until the process ends.
///
/// # Errors
/// The handlers cannot be installed.
pub(super) fn watch(stop: Arc<Stop>) -> Result<JoinHandle<()>, Ending> {
    let failed = |error: std::io::Error| Ending::LocalIo(format!("signals cannot be watched: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(tokio::spawn(async move {
        for count in 0.. {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            CAME.store(true, Ordering::Release);
            if count == 0 {
                tracing::warn!("{name}: finishing what is in flight; once more to stop at once");
                stop.drain(Ending::by_signal(name));
            } else {
                tracing::warn!("{name} again: stopping at once");
                stop.abort(Ending::by_signal(name));
            }
        }
    }))
}
