//! How fast the run may go: the user's ceilings. Each attempt pays before it is sent, retries
//! included; a waiting attempt holds nothing but its place in the queue.

mod adaptive;
mod ceiling;

pub use ceiling::Ceiling;

/// The two ceilings of a job, shared by all workers and listers.
#[derive(Debug, Default)]
pub struct Pace {
    /// Versions named in delete requests, per second.
    versions: Option<Ceiling>,
    /// Requests of any kind, per second.
    requests: Option<Ceiling>,
}

impl Pace {
    /// `None` means no ceiling.
    pub fn new(versions_per_second: Option<u32>, requests_per_second: Option<u32>) -> Self {
        Self {
            versions: versions_per_second.map(Ceiling::new),
            requests: requests_per_second.map(Ceiling::new),
        }
    }

    /// How many versions one request may name so that the ceiling can grant it at once.
    pub fn versions_per_request_max(&self) -> usize {
        self.versions.as_ref().map_or(usize::MAX, |ceiling| ceiling.grant_max() as usize)
    }

    /// Waits until one request that names `versions` versions may leave. Versions are counted, not
    /// only requests, because servers throttle by key: on AWS each key of a DeleteObjects call is
    /// one write.
    pub async fn pay(&self, versions: usize) {
        // The versions last: what was paid for must not wait again, or several would leave together.
        if let Some(ceiling) = &self.requests {
            ceiling.pay(1).await;
        }
        if let Some(ceiling) = self.versions.as_ref().filter(|_| versions > 0) {
            ceiling.pay(u32::try_from(versions).unwrap_or(u32::MAX)).await;
        }
    }
}
