//! Credentials from the AWS SDK's own providers, asked again when they run out.

use std::time::{Duration, Instant};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Mutex;

use crate::model::Timestamp;

use super::clock::system_time;
use super::codes::{StopKind, TRANSIENT, Verdict};
use super::config::StaticCredentials;

/// Credentials are renewed so long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// A provider that hands out credentials about to expire is not asked more often than this.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

/// An identity to sign with, and which one it is.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) identity: Identity,
    /// Counts the times that a provider was asked.
    pub(super) generation: u64,
}

impl Signer {
    /// Takes what must not be printed out of a text that a server wrote.
    pub(super) fn redact(&self, text: String) -> String {
        let Some(credentials) = self.identity.data::<Credentials>() else { return text };
        let secrets = [
            Some(credentials.access_key_id()),
            Some(credentials.secret_access_key()),
            credentials.session_token(),
        ];
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(
            text,
            |text, secret| {
                if text.contains(secret) { text.replace(secret, "***") } else { text }
            },
        )
    }
}

/// Why there is nothing to sign with.
#[derive(Debug)]
pub(super) struct NoCredentials {
    pub(super) message: String,
    pub(super) verdict: Verdict,
}

enum Source {
    Static(StaticCredentials),
    /// Environment, profile, web identity, container, instance; or one profile that was named.
    Chain {
        profile: Option<String>,
        region: Region,
        config: Box<ProviderConfig>,
    },
}

struct Held {
    signer: Signer,
    loaded_at: Instant,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    generation: u64,
    /// The highest generation that the server refused.
    refused: u64,
}

/// Hands out identities and keeps them while they are good.
pub(super) struct Identities {
    source: Source,
    /// Held while a provider is asked, so that one question serves all workers.
    state: Mutex<State>,
}

impl Identities {
    pub(super) fn fixed(credentials: StaticCredentials) -> Self {
        Self { source: Source::Static(credentials), state: Mutex::default() }
    }

    /// `region` is for the calls that providers make to STS and SSO. `ca_pem` is trusted there
    /// beside the platform's certificates.
    pub(super) fn chain(
        profile: Option<String>,
        region: &str,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, String> {
        let region = Region::new(region.to_owned());
        let config =
            ProviderConfig::empty().with_http_client(http_client(ca_pem)?).with_region(Some(region.clone()));
        let source = Source::Chain { profile, region, config: Box::new(config) };
        Ok(Self { source, state: Mutex::default() })
    }

    /// An identity that is good at `now`.
    pub(super) async fn get(&self, now: Timestamp) -> Result<Signer, NoCredentials> {
        let mut state = self.state.lock().await;
        if let Some(held) = &state.held {
            let rested = held.loaded_at.elapsed() >= RENEW_PAUSE;
            if !(runs_out(&held.signer.identity, now) && rested) {
                return Ok(held.signer.clone());
            }
        }
        match self.load().await {
            Ok(identity) => Ok(state.hold(identity)),
            Err(why) => match &mut state.held {
                // Better an identity at the end of its life than none.
                Some(held) => {
                    tracing::warn!(reason = %describe(&why), "credentials could not be renewed");
                    held.loaded_at = Instant::now();
                    Ok(held.signer.clone())
                }
                None => Err(judge(&why, state.generation > 0)),
            },
        }
    }

    /// Notes that the server refused an identity.
    pub(super) async fn refuse(&self, generation: u64) {
        let mut state = self.state.lock().await;
        state.refused = state.refused.max(generation);
    }

    /// Asks the provider again, unless the identity held was never refused: then another worker has
    /// done so already.
    pub(super) async fn refresh(&self) -> Result<(), NoCredentials> {
        let mut state = self.state.lock().await;
        if state.held.is_some() && state.generation > state.refused {
            return Ok(());
        }
        state.held = None;
        let identity = self.load().await.map_err(|why| judge(&why, state.generation > 0))?;
        state.hold(identity);
        Ok(())
    }

    /// Builds the provider anew each time: those of profiles read their files once only.
    async fn load(&self) -> Result<Identity, CredentialsError> {
        let credentials = match &self.source {
            Source::Static(fixed) => Credentials::new(
                fixed.access_key_id.clone(),
                fixed.secret_access_key.clone(),
                fixed.session_token.clone(),
                None,
                "job",
            ),
            Source::Chain { profile: Some(profile), config, .. } => {
                let builder = ProfileFileCredentialsProvider::builder().profile_name(profile.clone());
                builder.configure(config).build().provide_credentials().await?
            }
            Source::Chain { profile: None, region, config } => {
                let builder = DefaultCredentialsChain::builder().configure((**config).clone());
                builder.region(region.clone()).build().await.provide_credentials().await?
            }
        };
        Ok(credentials.into())
    }
}

impl State {
    fn hold(&mut self, identity: Identity) -> Signer {
        self.generation += 1;
        let signer = Signer { identity, generation: self.generation };
        self.held = Some(Held { signer: signer.clone(), loaded_at: Instant::now() });
        signer
    }
}

fn runs_out(identity: &Identity, now: Timestamp) -> bool {
    identity.expiration().is_some_and(|end| end <= system_time(now.plus(RENEW_BEFORE)))
}

/// The region that environment or profile name, in this order; with a profile named, only that.
pub(super) async fn configured_region(profile: Option<&str>) -> Option<String> {
    let region = match profile {
        Some(name) => ProfileFileRegionProvider::builder().profile_name(name).build().region().await,
        None => match EnvironmentVariableRegionProvider::new().region().await {
            Some(region) => Some(region),
            None => ProfileFileRegionProvider::new().region().await,
        },
    };
    region.map(|region| region.to_string())
}

fn http_client(
    ca_pem: Option<&[u8]>,
) -> Result<aws_smithy_runtime_api::client::http::SharedHttpClient, String> {
    let mut trust = TrustStore::empty().with_native_roots(true);
    if let Some(pem) = ca_pem {
        trust = trust.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder().with_trust_store(trust).build().map_err(|why| why.to_string())?;
    let builder = aws_smithy_http_client::Builder::new();
    Ok(builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

/// Where credentials were there before, a provider that fails is an outage; at the start it is a
/// configuration to be mended.
fn judge(why: &CredentialsError, had_some: bool) -> NoCredentials {
    let outage =
        !matches!(why, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_));
    let verdict = if outage && had_some { TRANSIENT } else { Verdict::stop(StopKind::Credentials) };
    NoCredentials { message: describe(why), verdict }
}

/// The error with its causes. Providers put no secrets into their errors.
fn describe(why: &CredentialsError) -> String {
    let mut text = why.to_string();
    let mut cause = std::error::Error::source(why);
    while let Some(why) = cause {
        let more = why.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = why.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> Identities {
        Identities::fixed(StaticCredentials {
            access_key_id: "AKIDCANARY".into(),
            secret_access_key: "secret-canary".into(),
            session_token: Some("token-canary".into()),
        })
    }

    #[tokio::test]
    async fn an_identity_is_kept_until_the_server_refuses_it() {
        let identities = fixed();
        let now = Timestamp::from_millis(0);
        assert_eq!(identities.get(now).await.expect("fixed").generation, 1);
        assert_eq!(identities.get(now).await.expect("fixed").generation, 1);
        identities.refresh().await.expect("fixed");
        assert_eq!(identities.get(now).await.expect("fixed").generation, 1);
        identities.refuse(1).await;
        // Two workers heard the same refusal: the provider is asked once.
        identities.refresh().await.expect("fixed");
        identities.refresh().await.expect("fixed");
        assert_eq!(identities.get(now).await.expect("fixed").generation, 2);
    }

    #[tokio::test]
    async fn secrets_are_taken_out_of_what_a_server_writes() {
        let signer = fixed().get(Timestamp::from_millis(0)).await.expect("fixed");
        let text = signer.redact("id AKIDCANARY, key secret-canary, token token-canary!".into());
        assert_eq!(text, "id ***, key ***, token ***!");
    }

    #[test]
    fn renewal_begins_before_the_end() {
        let expires = |secs: i64| {
            let end = system_time(Timestamp::from_millis(secs * 1000));
            Identity::from(Credentials::new("a", "b", None, Some(end), "test"))
        };
        let now = Timestamp::from_millis(1_000_000);
        assert!(!runs_out(&expires(1_121), now));
        assert!(runs_out(&expires(1_120), now));
        assert!(!runs_out(&Credentials::new("a", "b", None, None, "test").into(), now));
    }

    #[test]
    fn missing_credentials_stop_a_run_and_an_outage_does_not() {
        let missing = CredentialsError::not_loaded("no profile");
        let outage = CredentialsError::provider_error("STS answered 503");
        assert_eq!(judge(&missing, true).verdict.stop, Some(StopKind::Credentials));
        assert_eq!(judge(&outage, false).verdict.stop, Some(StopKind::Credentials));
        assert_eq!(judge(&outage, true).verdict, TRANSIENT);
        assert!(judge(&outage, true).message.contains("STS answered 503"));
    }
}
