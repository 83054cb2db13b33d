//! `Range` and the conditions around it (RFC 9110, sections 13 and 14). One range is honoured; iPXE's `sanboot` over HTTP
//! asks that way. Several ranges at once get the whole file, as the RFC allows.

use axum::http::{
    HeaderMap,
    header::{IF_NONE_MATCH, IF_RANGE, RANGE},
};

/// What a request wants of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It has this file already.
    Nothing,
    Whole,
    /// First byte and number of bytes.
    Part(u64, u64),
    /// A range beyond the end.
    Beyond,
}

pub(crate) fn read_range(headers: &HeaderMap, etag: &str, len: u64) -> Asked {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let known =
        |listed: &str| listed.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag);
    if text(IF_NONE_MATCH).is_some_and(known) {
        return Asked::Nothing;
    }
    if text(IF_RANGE).is_some_and(|condition| condition.trim() != etag) {
        return Asked::Whole;
    }
    text(RANGE).and_then(|range| read_one_range(range, len)).unwrap_or(Asked::Whole)
}

/// `None` for what is no single byte range: then the header does not count.
fn read_one_range(range: &str, len: u64) -> Option<Asked> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    let (first, end) = match (first, last) {
        ("", "") => return None,
        ("", suffix) => match number(suffix)? {
            0 => return Some(Asked::Beyond),
            suffix => (len.saturating_sub(suffix), len),
        },
        (first, "") => (number(first)?, len),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(len))
        }
    };
    Some(if first >= len { Asked::Beyond } else { Asked::Part(first, end - first) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)], len: u64) -> Asked {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        read_range(&headers, "\"e\"", len)
    }

    #[test]
    fn one_range_is_honoured_and_nonsense_is_ignored() {
        for (range, expected) in [
            ("bytes=0-", Asked::Part(0, 10)),
            ("bytes=0-0", Asked::Part(0, 1)),
            ("bytes=3-5", Asked::Part(3, 3)),
            ("bytes=3-99", Asked::Part(3, 7)),
            ("bytes=9-", Asked::Part(9, 1)),
            ("bytes=-4", Asked::Part(6, 4)),
            ("bytes=-99", Asked::Part(0, 10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-3", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(asked(&[("range", range)], 10), expected, "{range}");
        }
        assert_eq!(asked(&[("range", "bytes=0-")], 0), Asked::Beyond);
        assert_eq!(asked(&[("range", "bytes=-1")], 0), Asked::Beyond);
    }

    #[test]
    fn conditions_come_before_the_range() {
        for (headers, expected) in [
            (vec![("if-none-match", "\"e\"")], Asked::Nothing),
            (vec![("if-none-match", "\"x\", \"e\"")], Asked::Nothing),
            (vec![("if-none-match", "W/\"e\"")], Asked::Nothing),
            (vec![("if-none-match", "*")], Asked::Nothing),
            (vec![("if-none-match", "\"x\"")], Asked::Whole),
            (vec![("if-range", "\"e\""), ("range", "bytes=1-2")], Asked::Part(1, 2)),
            (vec![("if-range", "\"x\""), ("range", "bytes=1-2")], Asked::Whole),
            (vec![("if-range", "W/\"e\""), ("range", "bytes=1-2")], Asked::Whole),
        ] {
            assert_eq!(asked(&headers, 10), expected, "{headers:?}");
        }
    }
}
