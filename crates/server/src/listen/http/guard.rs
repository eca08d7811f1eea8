//! Who may call a server that has no API keys: programs on this machine, and its own pages.
//!
//! A browser runs pages of every site and lets them send requests to localhost. Such a page cannot
//! hide the `Origin` it comes from, nor, when its own name has been pointed at 127.0.0.1, the `Host`
//! it asks for. So a foreign `Origin` and a `Host` that is not this machine are refused before
//! anything is read. What is under `/w/` is for pages of everybody: who has no link gets nothing
//! there. The size of address and headers is bounded here too.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};

use super::problem::{
    FOREIGN_HOST, FOREIGN_ORIGIN, HEADER_TOO_LARGE, MISSING_HOST, Problem, UNKNOWN_PARAMETER,
};

/// Largest address and headers together.
const HEADER_BYTES: usize = 16 * 1024;
/// What pages of every site may ask for begins so.
const OPEN: &str = "/w/";

/// Says what may not be heard.
pub(super) type Check = fn(&Request) -> Result<(), Problem>;

/// Lets through what may be heard by a server that has no keys.
pub(super) fn guard(request: &Request) -> Result<(), Problem> {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Err(Problem::new(&MISSING_HOST));
    }
    let check = if request.uri().path().starts_with(OPEN) { check_size } else { check };
    check(request.uri(), request.headers())
}

/// Lets through whatever is not too large.
pub(super) fn open(request: &Request) -> Result<(), Problem> {
    check_size(request.uri(), request.headers())
}

/// For the calls that know no query parameters: an ignored `?dry_run=true` would do harm.
pub(super) fn no_parameters(uri: &Uri) -> Result<(), Problem> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default().to_owned();
            Err(Problem::new(&UNKNOWN_PARAMETER)
                .detail("this call has no query parameters")
                .field(name))
        }
    }
}

fn check_size(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let address = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if bytes + address > HEADER_BYTES {
        return Err(Problem::new(&HEADER_TOO_LARGE));
    }
    Ok(())
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    check_size(uri, headers)?;
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        // HTTP/1.0 may name none; a browser always does.
        None => uri.authority().map(Authority::as_str),
    };
    if headers.contains_key(HOST) && !host.is_some_and(|host| is_this_machine(name_of(host))) {
        return Err(Problem::new(&FOREIGN_HOST)
            .detail(format!("the request is for {:?}", host.unwrap_or("something unreadable"))));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("something unreadable");
    let own = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|authority| Some(authority) == host && is_this_machine(name_of(authority)));
    if own {
        return Ok(());
    }
    Err(Problem::new(&FOREIGN_ORIGIN).detail(format!("the page is from {origin:?}")))
}

/// The host's name without its port.
fn name_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

fn is_this_machine(name: &str) -> bool {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    if let Ok(address) = name.parse::<Ipv6Addr>() {
        return address.is_loopback();
    }
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(host: Option<&str>, origin: Option<&str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        let value = |text: &str| text.parse().expect("it is a header");
        headers.extend(host.map(|host| (HOST, value(host))));
        headers.extend(origin.map(|origin| (ORIGIN, value(origin))));
        check(&Uri::from_static("/v1/stats"), &headers).err().map(|problem| problem.code())
    }

    #[test]
    fn this_machine_is_let_through_under_all_its_names() {
        let names = [
            "localhost:7830",
            "LOCALHOST",
            "127.0.0.1:7830",
            "127.9.9.9",
            "[::1]:7830",
            "duly.localhost",
        ];
        for name in names {
            assert_eq!(code(Some(name), None), None, "{name}");
        }
        assert_eq!(code(None, None), None);
    }

    #[test]
    fn another_host_is_refused() {
        let names =
            ["shop.example", "10.0.0.7:7830", "localhost.shop.example", "[2001:db8::1]", ""];
        for name in names {
            assert_eq!(code(Some(name), None), Some("foreign_host"), "{name}");
        }
    }

    #[test]
    fn only_pages_of_this_server_are_let_through() {
        let host = Some("localhost:7830");
        assert_eq!(code(host, Some("http://localhost:7830")), None);
        let foreign = [
            "https://shop.example",
            "null",
            "http://localhost:3000",
            "http://127.0.0.1:7830",
            "localhost:7830",
        ];
        for origin in foreign {
            assert_eq!(code(host, Some(origin)), Some("foreign_origin"), "{origin}");
        }
    }

    #[test]
    fn sixteen_kibibytes_of_headers_are_enough() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "x".repeat(HEADER_BYTES).parse().expect("it is a header"));
        let problem = check(&Uri::from_static("/"), &headers).expect_err("too large");
        assert_eq!(problem.code(), "header_too_large");
    }
}
