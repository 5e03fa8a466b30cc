//! How this program speaks HTTP to whomever it calls: the same habits everywhere.

use std::net::IpAddr;

use reqwest::{ClientBuilder, redirect};

/// A client that follows no redirect, which could lead what is signed or secret elsewhere, repeats nothing by
/// itself, and tells nobody where it comes from. A server on this machine is asked without a proxy.
pub fn client_builder(is_loopback: bool) -> ClientBuilder {
    // The first of a process wins; every one here installs the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("s3sweep/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only();
    if is_loopback { builder.no_proxy() } else { builder }
}

/// Whether a host, as a URL names it, is this machine. Names below `localhost` are by RFC 6761.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_several_names() {
        for host in ["localhost", "bucket.localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "10.0.0.1", "[::2]", "[localhost", "", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
