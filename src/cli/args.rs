//! The arguments, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Deletes, copies and moves the versions of an S3 bucket, with their histories, as a job file says.
#[derive(Parser, Debug)]
#[command(name = "s3sweep", version, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "Exit codes:
   0  all done
   1  done, some versions failed
   2  usage, job file, or the bucket or endpoint it names
  65  checkpoint corrupt or foreign, or the job changed since its run began
  70  a bug of s3sweep
  73  another run holds the lock
  74  local disk or other local input and output
  75  interrupted or outage: run again to go on
  76  tripwire: something happened that must not, nothing more was sent
  77  credentials or permission
  78  budget or deadline reached: run again to go on";

/// Options that all commands take.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// Directory for checkpoints and audits; each job has one of its own in it
    /// [default: s3sweep in the XDG state directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(super) log_format: LogStyle,
    /// error, warn, info, debug, trace, or s3sweep::MODULE=LEVEL, comma-separated
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    pub(super) log_level: String,
    /// Whether to show progress on stderr: always also without a terminal, as a plain line every 5 seconds;
    /// auto shows it on a terminal, and logs a line every 30 seconds elsewhere
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub(super) progress: Progress,
    /// How results on stdout look
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(super) output: Output,
    /// Do not ask before versions are deleted, copied or moved
    #[arg(long, short, global = true)]
    pub(super) yes: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogStyle {
    Text,
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Auto,
    Always,
    Never,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Output {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Validate a job file
    Check(Check),
    /// List and decide, change nothing; the plan stays for `apply`
    Plan(Plan),
    /// Carry out exactly the stored plan
    Apply(Apply),
    /// Plan and apply as one stream; go on with an interrupted run
    Run(Run),
    /// What stands in the checkpoint, live or ended
    Status(Show),
    /// The summary and the failures of the last run
    Report(Show),
    /// The embedded S3 server, for trying things out
    #[cfg(feature = "sandbox")]
    Sandbox(Box<Serve>),
}

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The job file
    pub(super) job: PathBuf,
    /// Also look at the bucket and at those that copies go to: credentials, region, versioning, Object
    /// Lock, a first page, customers' keys
    #[arg(long)]
    pub(super) live: bool,
}

#[derive(Args, Debug)]
pub(super) struct Plan {
    /// The job file
    pub(super) job: PathBuf,
    /// Give up a run of this job that is not finished
    #[arg(long)]
    pub(super) restart: bool,
}

#[derive(Args, Debug)]
pub(super) struct Apply {
    /// The job file
    pub(super) job: PathBuf,
    /// Refuse a plan that is older, such as 24h or 30m
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "DURATION")]
    pub(super) max_plan_age: std::time::Duration,
}

#[derive(Args, Debug)]
pub(super) struct Run {
    /// The job file
    pub(super) job: PathBuf,
    /// Give up a run of this job that is not finished, and begin anew
    #[arg(long)]
    pub(super) restart: bool,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// The job file, or the name of a job; all jobs where it is left out
    pub(super) job: Option<PathBuf>,
}

#[cfg(feature = "sandbox")]
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub(super) listen: std::net::SocketAddr,
    /// The access key id that requests must be signed with
    #[arg(long, default_value = "sandbox")]
    pub(super) access_key: String,
    /// The secret access key that requests must be signed with
    #[arg(long, default_value = "sandboxsecret")]
    pub(super) secret_key: String,
    /// Region of the server
    #[arg(long, default_value = "us-east-1")]
    pub(super) region: String,
    /// Fill a bucket as the `sandbox:` section of this job file says
    #[arg(long, value_name = "JOB")]
    pub(super) seed: Option<PathBuf>,
    /// Make an empty bucket with versioning; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(super) bucket: Vec<String>,
    /// Serve a bucket whose listing is computed from an index, as this JSON file says; may be given
    /// more than once
    #[arg(long, value_name = "SPEC")]
    pub(super) procedural: Vec<PathBuf>,
    /// Append every applied effect to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(super) oplog: Option<PathBuf>,
    /// Scripted faults and the server's personality, as a JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) script: Option<PathBuf>,
    /// Write counts of requests and keys, and what is left in each bucket, to this JSON file at the end
    #[arg(long, value_name = "FILE")]
    pub(super) stats: Option<PathBuf>,
    /// Write the endpoint to this file once the server listens
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
}

/// A duration with its unit, as clap's parser wants it.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::job::parse_duration(text)
        .ok_or_else(|| format!("{text:?} is no duration; expected one such as 24h, 30m or 7d"))
}
