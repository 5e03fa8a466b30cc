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
use crate::telemetry::{LogFormat, init_logging};

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
    let style = arguments.common.log_format;
    let ending = run(arguments).unwrap_or_else(|ending| ending);
    say(style, &ending.message());
    let hint = match ending {
        Ending::Interrupted(_) | Ending::Budget(_) => "run the same command again to go on",
        Ending::Failures(_) => {
            "`s3sweep report` counts the causes and names the versions: remove the cause, or raise \
             budget.stop_on_failures, and run the same command again to go on"
        }
        _ => "",
    };
    say(style, hint);
    ExitCode::from(ending.exit_code())
}

/// The last words of a command, in the form of its log: whatever the log's level, they are said.
fn say(style: LogStyle, words: &str) {
    if words.is_empty() {
        return;
    }
    let _printed = match style {
        LogStyle::Text => writeln!(io::stderr(), "s3sweep: {words}"),
        LogStyle::Json => {
            let line = serde_json::json!({
                "timestamp": now().to_string(), "level": "ERROR", "target": "s3sweep::cli", "message": words
            });
            writeln!(io::stderr(), "{line}")
        }
    };
}

fn run(arguments: Arguments) -> Result<Ending, Ending> {
    let format = match arguments.common.log_format {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Ending::LocalIo(format!("cannot start: {error}")))?;
    let tracing = {
        let _inside = runtime.enter();
        let is_terminal = io::stderr().is_terminal();
        init_logging(&arguments.common.log_level, format, is_terminal).map_err(Ending::Usage)?
    };
    let ending = runtime.block_on(dispatch(arguments));
    tracing.flush();
    // A question on the terminal that nobody answered must not keep the process.
    runtime.shutdown_background();
    ending
}

async fn dispatch(arguments: Arguments) -> Result<Ending, Ending> {
    let common = arguments.common;
    match arguments.command {
        Command::Check(check) => check::check(&common, &check).await,
        Command::Plan(plan) => execute::plan(&common, plan).await,
        Command::Apply(apply) => execute::apply(&common, apply).await,
        Command::Run(run) => execute::run(&common, run).await,
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
