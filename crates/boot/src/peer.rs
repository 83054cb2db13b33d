//! Who asks, and over what, where a proxy stands in between. `X-Forwarded-For` is whatever its sender likes, so it is read only where the
//! connection comes from a proxy that the configuration names, and only as far as such proxies have written it: from the
//! right, up to the first address that is none of theirs.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What a request came over. Whoever serves the router says so with each request, as an extension; without a word it is plain
/// HTTP. A proxy's `X-Forwarded-Proto` doesn't count: between the proxy and us the documents would be in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Plain HTTP: whoever listens reads along.
    Plain,
    /// TLS with a certificate under our own authority.
    Tls,
}

const FORWARDED: &str = "x-forwarded-for";

/// The address that a request counts as coming from. What can't be read ends the reading: the last proxy that could be
/// read stands for what is behind it, and is no node's address.
pub fn source_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut source = peer;
    let lines: Vec<&str> = headers.get_all(FORWARDED).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(&source) {
            break;
        }
        match address(entry.trim()) {
            Some(before) => source = before,
            None => break,
        }
    }
    source
}

/// An address, or an address with a port, as some proxies write it.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.parse().or_else(|_| entry.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    bare.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn source(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED, HeaderValue::from_str(line).unwrap());
        }
        let trusted = ["10.0.0.8/32".parse().unwrap(), "10.0.1.0/24".parse().unwrap()];
        source_of(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_proxy_that_is_named_is_believed() {
        for (peer, forwarded, expected) in [
            ("10.240.0.11", &[][..], "10.240.0.11"),
            ("10.240.0.11", &["10.240.0.12"], "10.240.0.11"),
            ("10.0.0.9", &["10.240.0.12"], "10.0.0.9"),
            ("10.0.0.8", &["10.240.0.12"], "10.240.0.12"),
            ("10.0.0.8", &["10.240.0.12:4000"], "10.240.0.12"),
            ("10.0.0.8", &["[fd00::7]:4000"], "fd00::7"),
            ("10.0.0.8", &["::ffff:10.240.0.12"], "10.240.0.12"),
            // What the machine itself wrote stands left of what the proxy adds.
            ("10.0.0.8", &["10.240.0.11, 10.240.0.12"], "10.240.0.12"),
            ("10.0.0.8", &["10.240.0.11", "10.240.0.12"], "10.240.0.12"),
            ("10.0.0.8", &["10.240.0.11, 10.240.0.12, 10.0.1.3"], "10.240.0.12"),
            ("10.0.0.8", &["10.240.0.12", "10.0.1.3"], "10.240.0.12"),
            // Nobody but proxies: the farthest of them.
            ("10.0.0.8", &[], "10.0.0.8"),
            ("10.0.0.8", &["10.0.1.3"], "10.0.1.3"),
            // Not to be read: nothing left of it is.
            ("10.0.0.8", &["10.240.0.11, unknown"], "10.0.0.8"),
            ("10.0.0.8", &["10.240.0.11,"], "10.0.0.8"),
            ("10.0.0.8", &["10.240.0.11, , 10.0.1.3"], "10.0.1.3"),
        ] {
            assert_eq!(source(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
