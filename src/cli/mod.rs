//! The command line: arguments in, one result on stdout, one message on stderr, one exit code.

mod args;
mod check;
mod client;
mod confirm;
#[cfg(feature = "sandbox")]
mod embedded;
mod execute;
mod listener;
mod notices;
mod progress;
#[cfg(feature = "sandbox")]
mod serve;
mod show;
mod signals;
mod surroundings;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::engine::Ending;
use crate::model::Timestamp;
use crate::telemetry::{LAST_WORDS, LogFormat, init_logging};

use args::{Arguments, Command, LogStyle};

/// Threads that serve the network. Two keep up with half a million versions a second; each has memory
/// of its own, which should follow from the job and not from the machine.
const THREADS_MAX: usize = 4;

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let _printed = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    ExitCode::from(run(arguments).exit_code())
}

/// What the last words of a command on a job tell beside its end.
#[derive(Default)]
struct About {
    /// The job, as soon as it is known, where the command does its work.
    job: Option<String>,
    /// The run, once there was one.
    run_id: Option<String>,
    is_plan: bool,
}

/// What may be done about an end.
const fn hint(ending: &Ending) -> Option<&'static str> {
    match ending {
        Ending::Interrupted(_) | Ending::Budget(_) => Some("run the same command again to go on"),
        Ending::Failures(_) => Some(
            "`s3sweep report` counts the causes and names the versions: remove the cause, or raise \
             budget.stop_on_failures, and run the same command again to go on",
        ),
        _ => None,
    }
}

/// The last words of a command, in the form of its log. Those of a failure are said whatever the log's level; of a
/// success a person sees the result.
fn say(style: LogStyle, ending: &Ending, about: &About) {
    let (words, hint) = (ending.message(), hint(ending));
    if style == LogStyle::Text {
        for line in [words.as_str(), hint.unwrap_or_default()].into_iter().filter(|line| !line.is_empty()) {
            let _printed = writeln!(io::stderr(), "s3sweep: {line}");
        }
        return;
    }
    let (job, run_id) = (about.job.as_deref(), about.run_id.as_deref());
    let (exit_code, ending) = (ending.exit_code(), ending.word());
    if exit_code != 0 {
        tracing::error!(target: LAST_WORDS, job, run_id, ending, exit_code, hint, "{words}");
    } else if job.is_some() {
        let words = success(about.is_plan);
        tracing::info!(target: LAST_WORDS, job, run_id, ending, exit_code, "{words}");
    }
}

/// What a command on a job says of its success.
const fn success(is_plan: bool) -> &'static str {
    if is_plan { "the plan is complete" } else { "everything that was planned is done" }
}

fn run(arguments: Arguments) -> Ending {
    let style = arguments.common.log_format;
    let format = match style {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let ending = Ending::LocalIo(format!("cannot start: {error}"));
            // There is no log yet.
            say(LogStyle::Text, &ending, &About::default());
            return ending;
        }
    };
    let tracing = {
        let _inside = runtime.enter();
        init_logging(&arguments.common.log_level, format, io::stderr().is_terminal())
    };
    let mut about = About::default();
    let ending = match &tracing {
        Ok(_) => runtime.block_on(dispatch(arguments, &mut about)).unwrap_or_else(|ending| ending),
        Err(words) => Ending::Usage(words.clone()),
    };
    // Without a log, plain text: as with all bad arguments.
    say(if tracing.is_ok() { style } else { LogStyle::Text }, &ending, &about);
    if let Ok(tracing) = tracing {
        tracing.flush();
    }
    // A question on the terminal that nobody answered must not keep the process.
    runtime.shutdown_background();
    ending
}

async fn dispatch(arguments: Arguments, about: &mut About) -> Result<Ending, Ending> {
    let common = arguments.common;
    match arguments.command {
        Command::Check(check) => check::check(&common, &check).await,
        Command::Plan(plan) => execute::plan(&common, plan, about).await,
        Command::Apply(apply) => execute::apply(&common, apply, about).await,
        Command::Run(run) => execute::run(&common, run, about).await,
        Command::Status(show) => show::status(&common, &show),
        Command::Report(show) => show::report(&common, &show),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(serve) => serve::serve(*serve).await,
    }
}

/// The time of this machine, for what no server tells.
fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// Prints a result; a reader that went away is not our failure.
fn print(text: &str) -> Result<(), Ending> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Ending::LocalIo(format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Ending> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Ending::Bug(format!("writing JSON: {error}")))?;
    print(&(text + "\n"))
}
