//! From bucket and region to the URL of a request.

use std::net::IpAddr;

use reqwest::Url;

use crate::http::is_loopback;

use super::bucket::Bucket;
use super::config::Addressing;
use super::encoding::path_of_key;

/// The way to a bucket: everything of a URL that comes before the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The region that requests are signed for.
    pub(super) region: String,
    /// Scheme and authority, without a slash at the end.
    pub(super) origin: String,
    /// The path of the bucket, without a slash at the end; empty where the host names the bucket.
    base: String,
    /// Whether the endpoint is AWS's own.
    pub(super) is_aws: bool,
    /// Whether the host is this machine.
    pub(super) is_loopback: bool,
}

impl Place {
    /// Path and query as they are signed and sent. `query` is encoded already.
    pub(super) fn wire(&self, key: Option<&[u8]>, query: &str) -> String {
        let mut wire = self.base.clone();
        match key {
            Some(key) => {
                wire.push('/');
                wire.push_str(&path_of_key(key));
            }
            None if wire.is_empty() => wire.push('/'),
            None => {}
        }
        if !query.is_empty() {
            wire.push('?');
            wire.push_str(query);
        }
        wire
    }

    /// Finds the way to a bucket.
    pub(super) fn find(
        bucket: &Bucket,
        region: &str,
        endpoint: Option<&str>,
        addressing: Addressing,
        allow_http: bool,
    ) -> Result<Self, String> {
        check_region(region)?;
        let region = match bucket {
            Bucket::AccessPoint { region, .. } => region,
            Bucket::Name(_) | Bucket::Alias(_) => region,
        };
        match endpoint {
            None => Self::on_aws(bucket, region, addressing),
            Some(endpoint) => Self::elsewhere(bucket, region, endpoint, addressing, allow_http),
        }
    }

    fn on_aws(bucket: &Bucket, region: &str, addressing: Addressing) -> Result<Self, String> {
        let suffix = dns_suffix(region);
        let label = bucket.label();
        let (host, base) = match (bucket, addressing) {
            (Bucket::AccessPoint { .. } | Bucket::Alias(_), Addressing::Path) => {
                return Err(
                    "an access point is addressed by its host name: leave out `addressing: path`".into()
                );
            }
            (Bucket::AccessPoint { .. }, _) => {
                (format!("{label}.s3-accesspoint.{region}.{suffix}"), String::new())
            }
            (Bucket::Name(_), Addressing::Virtual)
                if label.chars().any(|c| c.is_ascii_uppercase() || c == '_') =>
            {
                return Err(format!("`{label}` cannot be part of a host name: use `addressing: path`"));
            }
            (Bucket::Name(_) | Bucket::Alias(_), Addressing::Virtual) => {
                (format!("{label}.s3.{region}.{suffix}"), String::new())
            }
            (Bucket::Name(_) | Bucket::Alias(_), Addressing::Auto) if bucket.fits_host() => {
                (format!("{label}.s3.{region}.{suffix}"), String::new())
            }
            _ => (format!("s3.{region}.{suffix}"), format!("/{}", path_of_key(label.as_bytes()))),
        };
        let origin = format!("https://{host}");
        Ok(Self { region: region.into(), origin, base, is_aws: true, is_loopback: false })
    }

    fn elsewhere(
        bucket: &Bucket,
        region: &str,
        endpoint: &str,
        addressing: Addressing,
        allow_http: bool,
    ) -> Result<Self, String> {
        let url = parse_endpoint(endpoint)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let is_loopback = is_loopback(&host);
        if url.scheme() == "http" && !is_loopback && !allow_http {
            return Err(format!(
                "`{}` would send requests unencrypted: use https://, or say `allow_http: true`",
                endpoint.escape_debug()
            ));
        }
        let label = bucket.label();
        let by_host = addressing == Addressing::Virtual || matches!(bucket, Bucket::AccessPoint { .. });
        if by_host && bare_ip(&host).is_some() {
            return Err(format!(
                "`{host}` is an address, so the bucket cannot be part of it: use `addressing: path`"
            ));
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = url.path().trim_end_matches('/');
        let (host, base) = if by_host {
            (format!("{}.{host}", label.to_ascii_lowercase()), path.to_owned())
        } else {
            (host, format!("{path}/{}", path_of_key(label.as_bytes())))
        };
        let origin = format!("{}://{host}{port}", url.scheme());
        Ok(Self { region: region.into(), origin, base, is_aws: false, is_loopback })
    }
}

fn parse_endpoint(endpoint: &str) -> Result<Url, String> {
    let shown = endpoint.escape_debug();
    let url = Url::parse(endpoint)
        .map_err(|why| format!("`{shown}` is no URL ({why}): expected https://HOST or https://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{shown}`: expected https://HOST or https://HOST:PORT"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the endpoint holds a user name or a password: credentials do not belong there".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{shown}`: an endpoint has neither `?` nor `#`"));
    }
    Ok(url)
}

/// A region goes into host names and signatures; servers name it too, so it is not trusted blindly.
pub(super) fn check_region(region: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if region.is_empty() || region.len() > 64 || !region.bytes().all(plain) {
        return Err(format!(
            "`{}` is no region: expected letters, digits and hyphens",
            region.escape_debug()
        ));
    }
    Ok(())
}

/// The region in a host name that AWS gave as the endpoint to use, such as
/// `bucket.s3.eu-west-1.amazonaws.com` or `s3-eu-west-1.amazonaws.com`.
pub(super) fn region_of_aws_host(host: &str) -> Option<&str> {
    let head = host.split_once(".amazonaws.com")?.0;
    let region = match head.rsplit_once('.') {
        Some((rest, last)) if rest == "s3" || rest.ends_with(".s3") => last,
        Some((_, last)) => last.strip_prefix("s3-")?,
        None => head.strip_prefix("s3-")?,
    };
    check_region(region).is_ok().then_some(region)
}

fn dns_suffix(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    }
}

fn bare_ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        addressing: Addressing,
    ) -> Result<Place, String> {
        Place::find(&Bucket::parse(bucket).expect(bucket), region, endpoint, addressing, false)
    }

    fn url(bucket: &str, region: &str, endpoint: Option<&str>, addressing: Addressing) -> String {
        let place = place(bucket, region, endpoint, addressing).expect(bucket);
        format!("{}{}", place.origin, place.wire(None, "versions"))
    }

    #[test]
    fn auto_puts_the_bucket_into_the_host_only_on_aws_and_only_without_dots() {
        use Addressing::{Auto, Path, Virtual};
        let custom = Some("https://s3.example.com:8443/base/");
        let point = "arn:aws:s3:eu-west-1:1234:accesspoint/sweep";
        for (bucket, region, endpoint, addressing, wanted) in [
            ("logs", "eu-west-1", None, Auto, "https://logs.s3.eu-west-1.amazonaws.com/?versions"),
            ("my.logs", "eu-west-1", None, Auto, "https://s3.eu-west-1.amazonaws.com/my.logs?versions"),
            ("MyLogs", "us-east-1", None, Auto, "https://s3.us-east-1.amazonaws.com/MyLogs?versions"),
            ("logs", "eu-west-1", None, Path, "https://s3.eu-west-1.amazonaws.com/logs?versions"),
            ("logs", "cn-north-1", None, Auto, "https://logs.s3.cn-north-1.amazonaws.com.cn/?versions"),
            (
                "ap-s3alias",
                "eu-west-1",
                None,
                Auto,
                "https://ap-s3alias.s3.eu-west-1.amazonaws.com/?versions",
            ),
            (
                point,
                "us-east-1",
                None,
                Auto,
                "https://sweep-1234.s3-accesspoint.eu-west-1.amazonaws.com/?versions",
            ),
            ("logs", "x", custom, Auto, "https://s3.example.com:8443/base/logs?versions"),
            ("logs", "x", custom, Virtual, "https://logs.s3.example.com:8443/base?versions"),
            ("logs", "x", Some("http://127.0.0.1:9000"), Auto, "http://127.0.0.1:9000/logs?versions"),
            ("logs", "x", Some("http://[::1]:9000"), Auto, "http://[::1]:9000/logs?versions"),
            ("logs", "x", Some("https://S3.Example.com:443"), Auto, "https://s3.example.com/logs?versions"),
        ] {
            assert_eq!(url(bucket, region, endpoint, addressing), wanted);
        }
    }

    #[test]
    fn an_access_point_is_signed_for_its_own_region() {
        let place = place("arn:aws:s3:eu-west-1:1234:accesspoint/sweep", "us-east-1", None, Addressing::Auto);
        assert_eq!(place.expect("valid").region, "eu-west-1");
    }

    #[test]
    fn keys_travel_as_they_are() {
        let place = place("logs", "x", Some("http://localhost:1"), Addressing::Auto).expect("valid");
        assert_eq!(
            place.wire(Some(b"/a//b/../c d\xff"), "versionId=1"),
            "/logs//a//b/../c%20d%FF?versionId=1"
        );
    }

    #[test]
    fn bad_endpoints_are_refused_with_the_reason() {
        for (endpoint, reason) in [
            ("s3.example.com", "expected https://"),
            ("ftp://s3.example.com", "expected https://"),
            ("http://s3.example.com", "allow_http"),
            ("https://user:pass@s3.example.com", "credentials"),
            ("https://s3.example.com?x=1", "neither"),
        ] {
            let refusal = place("logs", "x", Some(endpoint), Addressing::Auto).expect_err(endpoint);
            assert!(refusal.contains(reason), "{endpoint}: {refusal}");
            assert!(!refusal.contains("pass@"), "{refusal}");
        }
        assert!(place("logs", "x", Some("http://127.0.0.1:1"), Addressing::Virtual).is_err());
        assert!(place("logs", "evil.example/", None, Addressing::Auto).is_err());
        let bucket = Bucket::parse("logs").expect("valid");
        assert!(Place::find(&bucket, "x", Some("http://s3.example.com"), Addressing::Auto, true).is_ok());
    }

    #[test]
    fn the_region_is_read_from_an_endpoint_that_aws_names() {
        assert_eq!(region_of_aws_host("b.s3.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of_aws_host("s3.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of_aws_host("b.s3-eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of_aws_host("s3-eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of_aws_host("b.s3.amazonaws.com"), None);
        assert_eq!(region_of_aws_host("s3.example.com"), None);
    }
}
