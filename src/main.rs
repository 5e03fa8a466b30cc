//! The s3sweep program.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3sweep::cli::main()
}
