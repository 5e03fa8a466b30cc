//! From errors of the lower floors to the end of a run.

use crate::checkpoint::CheckpointError;
use crate::model::Class;
use crate::s3::{S3Error, StopKind};

use super::Ending;

/// What an error of the checkpoint means for the run.
pub fn ending_of_checkpoint(error: &CheckpointError) -> Ending {
    let text = error.to_string();
    match error {
        CheckpointError::Corrupt { .. } | CheckpointError::Foreign { .. } => Ending::Checkpoint(format!(
            "{text}. `s3sweep run JOB --restart` begins anew beside it: the plan and the figures of that run are \
             lost, nothing in a bucket is"
        )),
        CheckpointError::Newer { .. } => Ending::Checkpoint(text),
        CheckpointError::Bug { .. } => Ending::Bug(text),
        _ => Ending::LocalIo(text),
    }
}

/// What an error that ends a run means for it.
pub fn ending_of_s3(error: &S3Error) -> Ending {
    let text = error.to_string();
    match error.stop {
        Some(StopKind::Credentials) => Ending::Credentials(text),
        Some(StopKind::Tripwire(_)) => Ending::Tripwire(text),
        Some(StopKind::Config | StopKind::Target | StopKind::NotS3 | StopKind::Certificate) => {
            Ending::Usage(text)
        }
        Some(StopKind::Bug) => Ending::Bug(text),
        Some(StopKind::Unexpected) => Ending::Interrupted(text),
        None => match error.class {
            Class::Transient | Class::Throttled | Class::ClockSkew => Ending::Interrupted(text),
            Class::Credentials => Ending::Credentials(text),
            _ if &*error.code == "AccessDenied" => Ending::Credentials(text),
            _ => Ending::Usage(text),
        },
    }
}
