//! s3sweep: bulk maintenance jobs over the versions of an S3 bucket.
//!
//! The floors, from the top: [`cli`] → [`engine`] → [`job`], [`s3`], [`pace`], [`checkpoint`],
//! [`report`], [`notify`], [`telemetry`], [`sandbox`] → [`rules`], [`notice`], [`retry`] → [`model`]. Imports go down
//! only; `tests/tidy.rs` holds the table.

pub mod checkpoint;
pub mod cli;
pub mod engine;
pub mod http;
pub mod job;
pub mod model;
pub mod notice;
pub mod notify;
pub mod pace;
pub mod report;
pub mod retry;
pub mod rules;
pub mod s3;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod telemetry;
