//! The floor of copying between two servers: each version is read and written, so many at a time, over the
//! same kind of connections that s3sweep has. No order within a key, no checkpoint, no verification, no
//! second try, no delete markers.
//!
//! It prints one line of JSON.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use s3sweep::model::{Kind, Version};
use s3sweep::s3::{Attributes, Client, ClientConfig, Expect, ListVersions, StaticCredentials};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Reads and writes every version of a bucket.
#[derive(Parser, Debug)]
struct Arguments {
    /// URL of the server that holds the bucket
    #[arg(long)]
    from: String,
    /// URL of the server that gets the copies
    #[arg(long)]
    to: String,
    /// The bucket to read
    #[arg(long)]
    bucket: String,
    /// The bucket to write
    #[arg(long)]
    destination: String,
    /// Versions at a time
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// The access key id of both servers
    #[arg(long, default_value = "sandbox")]
    access_key: String,
    /// The secret access key of both servers
    #[arg(long, default_value = "sandboxsecret")]
    secret_key: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::parse();
    let client = async |bucket: &str, endpoint: &str| {
        let mut config = ClientConfig::new(bucket);
        config.endpoint = Some(endpoint.to_owned());
        config.static_credentials = Some(StaticCredentials {
            access_key_id: arguments.access_key.clone(),
            secret_access_key: arguments.secret_key.clone(),
            session_token: None,
        });
        Client::new(config).await.map(Arc::new)
    };
    let source = client(&arguments.bucket, &arguments.from).await?;
    let destination = client(&arguments.destination, &arguments.to).await?;
    let began = Instant::now();
    let slots = Arc::new(Semaphore::new(arguments.in_flight));
    let mut tasks = JoinSet::new();
    let (mut from, mut versions, mut bytes) = (None, 0_u64, 0_u64);
    loop {
        let request = ListVersions { prefix: b"", from: from.as_ref(), page_size: 1000, wants_data: true };
        let page = source.list_versions(&request).await?;
        for version in page.versions.into_iter().filter(|version| version.kind == Kind::Version) {
            (versions, bytes) = (versions + 1, bytes + version.size);
            let slot = Arc::clone(&slots).acquire_owned().await?;
            let (source, destination) = (Arc::clone(&source), Arc::clone(&destination));
            tasks.spawn(async move {
                let copied = copy(&source, &destination, &version).await;
                drop(slot);
                copied
            });
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    while let Some(copied) = tasks.join_next().await {
        copied??;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{{\"versions\": {versions}, \"bytes\": {bytes}, \"seconds\": {seconds:.3}}}");
    Ok(())
}

async fn copy(
    source: &Client,
    destination: &Client,
    version: &Version,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let range = (version.size > 0).then_some((0, version.size));
    let (_, data) = source.get_version(&version.key, &version.id, None, range, None).await?;
    destination.put_version(&version.key, data, &Attributes::default(), Expect::Anything).await?;
    Ok(())
}
