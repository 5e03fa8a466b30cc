//! `sandbox`: the embedded server on its own.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Ending;
use crate::sandbox::{Config, Faults, Personality, Procedural, Sandbox, Seed};

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
    restore_secs: u64,
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
        restore_secs: script.restore_secs,
        procedural: read_procedural(&serve.procedural)?,
        keep_oplog: false,
        ..Config::default()
    };
    if let Some(path) = &serve.seed {
        let job = load(path)?;
        let spec = job.sandbox.clone().unwrap_or_default();
        config.seeds.push(seed(&job, &spec, true));
        config.faults = faults(&spec);
    }
    for name in serve.bucket {
        check_bucket_name(&name)?;
        // One that is filled is there already.
        if config.seeds.iter().all(|seed| seed.bucket != name) {
            config.seeds.push(Seed { bucket: name, ..Seed::default() });
        }
    }
    if let Some(faults) = script.faults {
        config.faults = faults;
    }
    check_names(&config)?;
    let failed = |error: std::io::Error| Ending::LocalIo(format!("the sandbox: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let sandbox = Sandbox::start(config)
        .await
        .map_err(|error| Ending::LocalIo(format!("the sandbox cannot start on {}: {error}", serve.listen)))?;
    let endpoint = sandbox.endpoint();
    print(&format!("endpoint={endpoint}\n"))?;
    if let Some(file) = &serve.ready_file {
        write_whole(file, &format!("endpoint={endpoint}\n"))
            .map_err(|error| Ending::LocalIo(format!("{}: {error}", file.display())))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let stats = sandbox.stats();
    sandbox.shutdown().await;
    if let Some(file) = &serve.stats {
        write_whole(file, &format!("{stats}\n"))
            .map_err(|error| Ending::LocalIo(format!("{}: {error}", file.display())))?;
    }
    Ok(Ending::Done)
}

/// Reads the files that describe procedural buckets; the problems of all of them are told at once.
fn read_procedural(paths: &[PathBuf]) -> Result<Vec<Procedural>, Ending> {
    let (mut specs, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let read = fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| serde_json::from_str::<Procedural>(&text).map_err(|error| error.to_string()));
        match read {
            Ok(spec) => {
                let told = spec.problems();
                problems.extend(told.iter().map(|problem| format!("{}: {problem}", path.display())));
                specs.push(spec);
            }
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(Ending::Usage(problems.join("\n"))) }
}

fn read_script(path: &Path) -> Result<Script, Ending> {
    let refused = |why: String| Ending::Usage(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
}

/// What AWS takes for a name, so that whatever works here works there.
fn check_bucket_name(name: &str) -> Result<(), Ending> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = name.as_bytes();
    let fits = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| is_inner(*byte))
        && is_end(bytes.first())
        && is_end(bytes.last());
    if fits {
        return Ok(());
    }
    Err(Ending::Usage(format!(
        "--bucket {name:?} is no name of a bucket: 3 to 63 lower-case letters, digits, dots and dashes, the first \
         and the last a letter or digit"
    )))
}

/// Nothing else may fill a bucket that is procedural.
fn check_names(config: &Config) -> Result<(), Ending> {
    let seeded = config.seeds.iter().map(|seed| &seed.bucket);
    let mut names: Vec<&String> = seeded.collect();
    for procedural in &config.procedural {
        if names.contains(&&procedural.bucket) {
            let name = &procedural.bucket;
            return Err(Ending::Usage(format!("the procedural bucket {name} is described or filled twice")));
        }
        names.push(&procedural.bucket);
    }
    Ok(())
}

/// Whoever waits for the file finds it whole.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".tmp");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_are_those_of_aws() {
        for name in ["abc", "my-bucket", "a.b.c", "1st"] {
            assert_eq!(check_bucket_name(name), Ok(()), "{name}");
        }
        for name in ["ab", "My-bucket", "-abc", "abc-", "a_b", "a/b", "", &"a".repeat(64)] {
            assert!(matches!(check_bucket_name(name), Err(Ending::Usage(_))), "{name}");
        }
    }
}
