//! The engine: lists, decides, sends, settles. The life of one version runs through `page`
//! (decided), `batcher` (put into a batch), `dispatcher` (handed out, its budget reserved),
//! `worker` (sent), `settle` (its outcome), and the checkpoint holds every step.
//!
//! Nothing is sent that is not in a committed plan; nothing is told before it is committed.

mod batcher;
mod breaker;
mod budget;
mod caller;
mod chains;
mod context;
mod disk;
mod dispatcher;
mod ending;
mod errors;
mod fold_code;
mod former;
mod in_hand;
mod lease;
mod live;
mod mover;
mod overlap;
mod page;
mod planner;
mod preflight;
mod ranges;
mod run;
mod session;
mod settle;
mod standing;
mod status;
mod stop;
mod worker;

pub use ending::Ending;
pub use errors::{ending_of_checkpoint, ending_of_s3};
pub use mover::{Destination, unreadable_keys};
pub use preflight::{
    BucketFacts, DestinationFacts, check_moves, look as look_at_bucket, look_for_copies,
    word as versioning_word,
};
pub use session::{Command, Confirm, Session, SessionReport, execute, rule_actions};
pub use standing::{Choice, Standing, choose};
pub use stop::{Level, Stop};
