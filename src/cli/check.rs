//! `check`: what can be known without changing anything.

use std::sync::Arc;

use crate::engine::{Ending, ending_of_s3, look_at_bucket};
use crate::job::{Endpoint, Job};
use crate::model::VersioningStatus;
use crate::rules::NullVersions;
use crate::s3::ListVersions;
use crate::telemetry::Metrics;

use super::args::{Check, Common, Output};
use super::client::{connect, load};
use super::{print, print_json};

pub(super) async fn check(common: &Common, check: &Check) -> Result<Ending, Ending> {
    let job = load(&check.job)?;
    let mut lines =
        vec![format!("{}: job {} is valid, {} rules", check.job.display(), job.name, job.rules.len())];
    lines.extend(job.warnings.iter().map(|warning| format!("warning: {warning}")));
    let found = if check.live { Some(live(&job).await?) } else { None };
    match common.output {
        Output::Text => {
            lines.extend(found.unwrap_or_default());
            print(&(lines.join("\n") + "\n"))?;
        }
        Output::Json => {
            let warnings: Vec<String> = job.warnings.iter().map(ToString::to_string).collect();
            print_json(
                &serde_json::json!({ "job": job.name, "valid": true, "warnings": warnings, "live": found }),
            )?;
        }
    }
    Ok(Ending::Done)
}

/// Looks at the bucket; the first failure ends the check with its exit code.
async fn live(job: &Job) -> Result<Vec<String>, Ending> {
    if job.bucket.endpoint == Endpoint::Sandbox {
        return Ok(vec!["an embedded sandbox needs no check".into()]);
    }
    let client = connect(job, None).await?;
    let metrics = Arc::new(Metrics::new(&job.name).map_err(|error| Ending::Bug(error.to_string()))?);
    let facts = look_at_bucket(Arc::clone(&client), metrics).await?;
    let mut lines = vec![format!("bucket {} answers, region {}", client.bucket(), facts.region)];
    lines.push(match (facts.versioning, job.null_versions) {
        (VersioningStatus::Suspended, NullVersions::Refuse) => {
            "versioning is suspended: `null` versions will be kept (`null_versions: allow` selects them)"
                .into()
        }
        (VersioningStatus::Suspended, NullVersions::Allow) => "versioning is suspended".into(),
        _ => "versioning is enabled".into(),
    });
    if facts.object_lock {
        lines.push("Object Lock is on: locked versions will be refused and reported as failed".into());
    }
    if facts.mfa_delete
        && job
            .actions
            .iter()
            .any(|action| action.delete_options().is_some_and(|options| options.mfa.is_none()))
    {
        lines.push("warning: MFA Delete is on, but an action of the job has no `mfa:`".into());
    }
    let prefix = job.scope.prefixes.first().map_or(&[][..], |prefix| prefix.as_bytes());
    let request = ListVersions { prefix, from: None, page_size: 1, wants_data: false };
    client.list_versions(&request).await.map_err(|error| ending_of_s3(&error))?;
    lines.push("versions can be listed; whether they may be deleted shows only when one is".into());
    Ok(lines)
}
