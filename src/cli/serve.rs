//! `sandbox`: the embedded server on its own.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Ending;
use crate::sandbox::{Config, Faults, Personality, Sandbox};

use super::args::Serve;
use super::client::load;
use super::embedded::{faults, seed};
use super::print;

/// What a script file may hold.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Script {
    faults: Option<Faults>,
    personality: Personality,
    seeds: Vec<crate::sandbox::Seed>,
}

pub(super) async fn serve(serve: Serve) -> Result<Ending, Ending> {
    let script = serve.script.as_deref().map_or_else(|| Ok(Script::default()), read_script)?;
    let mut config = Config {
        listen: serve.listen,
        access_key: serve.access_key,
        secret_key: serve.secret_key,
        region: serve.region,
        personality: script.personality,
        oplog_file: serve.oplog,
        seeds: script.seeds,
        keep_oplog: false,
        ..Config::default()
    };
    if let Some(path) = &serve.seed {
        let job = load(path)?;
        let spec = job.sandbox.clone().unwrap_or_default();
        config.seeds.push(seed(&job, &spec));
        config.faults = faults(&spec);
    }
    if let Some(faults) = script.faults {
        config.faults = faults;
    }
    let failed = |error: std::io::Error| Ending::LocalIo(format!("the sandbox: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let sandbox = Sandbox::start(config).await.map_err(|error| {
        Ending::LocalIo(format!("the sandbox cannot listen on {}: {error}", serve.listen))
    })?;
    let endpoint = sandbox.endpoint();
    print(&format!("endpoint={endpoint}\n"))?;
    if let Some(file) = &serve.ready_file {
        announce(file, &endpoint).map_err(|error| Ending::LocalIo(format!("{}: {error}", file.display())))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    sandbox.shutdown().await;
    Ok(Ending::Done)
}

fn read_script(path: &Path) -> Result<Script, Ending> {
    let refused = |why: String| Ending::Usage(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
}

/// Whoever waits for the file finds it whole.
fn announce(file: &Path, endpoint: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".tmp");
    fs::write(&beside, format!("endpoint={endpoint}\n"))?;
    fs::rename(&beside, file)
}
