//! HTTP/1.1 as the boot plane speaks it: one request a connection, over an address; within [TLS](crate::tls) where the boot
//! script pins whom to trust.
//!
//! An own client of this size instead of a library: those that exist bring URL parsing for the whole world, or an async
//! runtime, into a program that is loaded into every machine's memory. The head of an answer, which comes from outside, is
//! read by `httparse`.
//!
//! Every call ends: connecting, each piece of an answer, and small answers as a whole have a limit.

use crate::{
    clock::Clock,
    limits::Limits,
    tls::{CaPin, Tls, TlsError, TlsStream},
};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

const LONGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// `http://ADDRESS[:PORT]/PATH`, or the same with `https`, without a query. Secrets are added when it is asked for, so it can
/// be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    is_tls: bool,
    address: SocketAddrV4,
    path: String,
}

/// Not a URL that the agent can ask for. Permanent: the boot plane has to be configured in another way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} can't be asked for: {why}")]
pub struct UrlError {
    url: String,
    why: &'static str,
}

impl UrlError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "set `[boot] public_url` of the service to `http://` and an IPv4 address"
    }
}

impl HttpUrl {
    /// The same machine and port, another path; `path` begins with a slash.
    pub fn with_path(&self, path: &str) -> HttpUrl {
        HttpUrl { path: path.to_owned(), ..self.clone() }
    }

    /// The same machine, port and path, within TLS.
    pub fn over_tls(&self) -> HttpUrl {
        HttpUrl { is_tls: true, ..self.clone() }
    }

    /// A file below this path.
    pub fn join(&self, name: &str) -> HttpUrl {
        self.with_path(&format!("{}/{name}", self.path.trim_end_matches('/')))
    }

    /// The machine.
    pub fn host(&self) -> Ipv4Addr {
        *self.address.ip()
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `ADDRESS`, or `ADDRESS:PORT` where the port isn't the usual one: 80, within TLS 443.
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.address.port() == usual { self.address.ip().to_string() } else { self.address.to_string() }
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        // A query may hold a token: it is not repeated.
        let shown = text.split(['?', '#']).next().unwrap_or_default().chars().take(120).collect();
        let refuse = |why| UrlError { url: shown, why };
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(refuse("it does not begin with http://"));
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let Ok(ip) = host.parse() else {
            return Err(refuse("its host is no IPv4 address, and names aren't looked up this early"));
        };
        let Some(port) = port.parse().ok().filter(|port| *port != 0) else {
            return Err(refuse("its port is no number from 1 to 65535"));
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
            return Err(refuse("its path has a query, or characters that can't stand in one"));
        }
        Ok(HttpUrl { is_tls: false, address: SocketAddrV4::new(ip, port), path: path.to_owned() })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Where.
    pub url: &'a HttpUrl,
    /// Value of the parameter `t`, a secret.
    pub token: Option<&'a crate::kernel_args::BootToken>,
    /// Further headers.
    pub headers: &'a [(&'static str, String)],
    /// A JSON document.
    pub body: Option<&'a [u8]>,
}

/// Why there is no answer, or not all of it. All of these are transient, since a network or a server that went away comes
/// back; but for TLS with somebody who isn't trusted, or doesn't speak it.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("no connection to {authority}")]
    Connect {
        /// Address and port.
        authority: String,
        /// By the kernel.
        source: io::Error,
    },
    /// No TLS.
    #[error("no TLS with {authority}")]
    Tls {
        /// Address and port.
        authority: String,
        /// Why.
        source: TlsError,
    },
    /// The request didn't get through.
    #[error("the request broke off")]
    Send(#[source] io::Error),
    /// The answer broke off or stalled.
    #[error("the answer broke off")]
    Receive(#[source] io::Error),
    /// No answer at all, or not even all of its head.
    #[error("the connection was closed without an answer")]
    Closed,
    /// Fewer bytes than were announced.
    #[error("the answer ended {missing} bytes early")]
    CutShort {
        /// How many are missing.
        missing: u64,
    },
    /// Not HTTP.
    #[error("the answer is no HTTP: {0}")]
    NotHttp(String),
    /// A small answer that isn't.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// An answer that trickles.
    #[error("the answer took longer than {} s", .limit.as_secs())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
}

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Three digits.
    pub status: u16,
    /// Bytes of the body, where they are announced.
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// `Retry-After`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// `Date` in seconds since 1970.
    pub date: Option<i64>,
    /// `ETag`.
    pub etag: Option<String>,
    /// First byte by `Content-Range`.
    pub range_start: Option<u64>,
}

/// Reads the head at the beginning of `bytes` and says where the body begins; `None` while it isn't all there.
pub fn read_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(bytes) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(HttpError::NotHttp("its head does not end".into())),
        Err(error) => return Err(HttpError::NotHttp(error.to_string())),
    };
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    for header in response.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value).map(str::trim) else { continue };
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => match value.parse() {
                Ok(length) => head.content_length = Some(length),
                Err(_) => return Err(HttpError::NotHttp("its Content-Length is no number".into())),
            },
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "retry-after" => head.retry_after = value.parse().ok().map(Duration::from_secs),
            "date" => head.date = read_date(value),
            "etag" => head.etag = Some(value.to_owned()),
            "content-range" => head.range_start = range_start(value),
            _ => {}
        }
    }
    Ok(Some((head, body)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7; the two older forms are sent by nobody we talk to).
fn read_date(value: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok().map(|time| time.as_second())
}

/// `bytes 100-199/200`.
fn range_start(value: &str) -> Option<u64> {
    value.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// Its head.
    pub head: Head,
    body: Body,
}

impl Response {
    /// The body, as it comes; ends without an error exactly when all of it has come.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        self.body.read(buffer)
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(TlsStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

#[derive(Debug)]
struct Body {
    stream: Stream,
    /// What came together with the head.
    early: Vec<u8>,
    at: usize,
    left: Left,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    /// So many bytes.
    Bytes(u64),
    /// Until the connection ends.
    ToTheEnd,
    /// So many bytes of a chunk; none: the next chunk's size is still to be read.
    Chunk(u64),
    /// Nothing.
    Nothing,
}

impl Body {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        if let Left::Chunk(0) = self.left {
            let size = self.chunk_size()?;
            self.left = if size == 0 { Left::Nothing } else { Left::Chunk(size) };
        }
        let most = match self.left {
            Left::Nothing | Left::Bytes(0) => return Ok(0),
            Left::Bytes(left) | Left::Chunk(left) => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            Left::ToTheEnd => buffer.len(),
        };
        let read = self.raw(&mut buffer[..most])?;
        match &mut self.left {
            Left::ToTheEnd => {}
            Left::Bytes(left) | Left::Chunk(left) if read == 0 => return Err(HttpError::CutShort { missing: *left }),
            Left::Bytes(left) => *left -= read as u64,
            Left::Chunk(left) => {
                *left -= read as u64;
                if *left == 0 {
                    self.line()?;
                }
            }
            Left::Nothing => {}
        }
        Ok(read)
    }

    fn chunk_size(&mut self) -> Result<u64, HttpError> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| HttpError::NotHttp("a chunk has no size".into()))
    }

    fn line(&mut self) -> Result<String, HttpError> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < 256 {
            if self.raw(&mut byte)? == 0 {
                return Err(HttpError::CutShort { missing: 1 });
            }
            if byte[0] == b'\n' {
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.push(byte[0]);
        }
        Err(HttpError::NotHttp("a chunk's size does not end".into()))
    }

    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        if self.at < self.early.len() {
            let read = (&self.early[self.at..]).read(buffer).map_err(HttpError::Receive)?;
            self.at += read;
            return Ok(read);
        }
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(HttpError::Receive),
            }
        }
    }
}

/// The client: its limits, and nothing that lasts from one call to the next.
#[derive(Clone)]
pub struct HttpClient {
    clock: Arc<dyn Clock>,
    limits: Limits,
    tls: Option<Tls>,
}

impl HttpClient {
    /// A client with these limits. Without a pin it trusts nobody, and asks for no `https` URL.
    ///
    /// # Errors
    /// TLS can't be set up: a mistake of ours.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits, pin: Option<CaPin>) -> Result<Self, rustls::Error> {
        Ok(HttpClient { clock, limits, tls: pin.map(Tls::new).transpose()? })
    }

    fn within_tls(&self, url: &HttpUrl, stream: TcpStream) -> Result<TlsStream, HttpError> {
        let nobody =
            || TlsError::Refused(rustls::Error::General("nobody is pinned who could be trusted".into()).into());
        let tls = self.tls.as_ref().ok_or_else(nobody);
        tls.and_then(|tls| tls.open(stream, url.host(), &*self.clock, self.limits.answer))
            .map_err(|source| HttpError::Tls { authority: url.authority(), source })
    }

    /// Asks, and reads the head of the answer.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let url = request.url;
        let refused = |source| HttpError::Connect { authority: url.authority(), source };
        let address = SocketAddr::V4(url.address);
        let stream = TcpStream::connect_timeout(&address, self.limits.connect).map_err(refused)?;
        stream.set_read_timeout(Some(self.limits.idle)).map_err(refused)?;
        stream.set_write_timeout(Some(self.limits.idle)).map_err(refused)?;
        let mut stream = match url.is_tls {
            true => Stream::Tls(self.within_tls(url, stream)?),
            false => Stream::Plain(stream),
        };
        stream.write_all(&written(request)).and_then(|()| stream.flush()).map_err(HttpError::Send)?;

        let started = self.clock.uptime();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let (head, body) = loop {
            if let Some(read) = read_head(&bytes)? {
                break read;
            }
            if self.clock.uptime().saturating_sub(started) > self.limits.answer {
                return Err(HttpError::TooSlow { limit: self.limits.answer });
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Err(HttpError::Closed),
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HttpError::Receive(error)),
            }
        };
        let left = match head.content_length {
            _ if head.status == 204 || head.status == 304 => Left::Nothing,
            _ if head.chunked => Left::Chunk(0),
            Some(length) => Left::Bytes(length),
            None => Left::ToTheEnd,
        };
        Ok(Response { head, body: Body { stream, early: bytes, at: body, left } })
    }

    /// All of a small body.
    pub fn read_small(&self, response: &mut Response, limit: usize) -> Result<Vec<u8>, HttpError> {
        let started = self.clock.uptime();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = response.read(&mut buffer)?;
            if read == 0 {
                return Ok(bytes);
            }
            if bytes.len() + read > limit {
                return Err(HttpError::TooLong { limit });
            }
            bytes.extend_from_slice(&buffer[..read]);
            if self.clock.uptime().saturating_sub(started) > self.limits.answer {
                return Err(HttpError::TooSlow { limit: self.limits.answer });
            }
        }
    }
}

fn written(request: &Request<'_>) -> Vec<u8> {
    let query = request.token.map(|token| format!("?t={}", token.expose())).unwrap_or_default();
    let mut head = format!(
        "{} {}{query} HTTP/1.1\r\nHost: {}\r\nUser-Agent: metalform-agent/{}\r\nConnection: close\r\n",
        request.method,
        request.url.path,
        request.url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = request.body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(request.body.unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_an_address_a_port_and_a_path() {
        let url: HttpUrl = "http://10.240.0.5:8080/boot/server/10.240.0.11".parse().unwrap();
        assert_eq!(url.to_string(), "http://10.240.0.5:8080/boot/server/10.240.0.11");
        assert_eq!(url.with_path("/pxe/images/").join("a.img").to_string(), "http://10.240.0.5:8080/pxe/images/a.img");
        assert_eq!("http://10.240.0.5:80".parse::<HttpUrl>().unwrap().to_string(), "http://10.240.0.5/");
        let tls = |text: &str| text.parse::<HttpUrl>().unwrap().over_tls().to_string();
        assert_eq!(tls("http://10.240.0.5:8080/a"), "https://10.240.0.5:8080/a");
        assert_eq!(
            [tls("http://10.240.0.5"), tls("http://10.240.0.5:443")],
            ["https://10.240.0.5:80/", "https://10.240.0.5/"]
        );
    }

    #[test]
    fn what_is_no_such_url_is_refused_and_a_query_never_repeated() {
        for (text, why) in [
            ("https://10.0.0.1/", "begin with http://"),
            ("http://boot.example.com/", "no IPv4 address"),
            ("http://10.0.0.1:0/", "port"),
            ("http://10.0.0.1:65536/", "port"),
            ("http://10.0.0.1/a?t=secret", "query"),
            ("http://10.0.0.1/a\r\nHost: x", "characters"),
        ] {
            let error = text.parse::<HttpUrl>().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn the_head_says_what_the_agent_goes_by() {
        let text = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nretry-after: 7\r\nETag: \"x\"\r\n\
                     Content-Range: bytes 100-102/200\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nabc";
        let (head, body) = read_head(text).unwrap().unwrap();
        assert_eq!(&text[body..], b"abc");
        assert_eq!(
            head,
            Head {
                status: 206,
                content_length: Some(3),
                chunked: false,
                retry_after: Some(Duration::from_secs(7)),
                date: Some(784_111_777),
                etag: Some("\"x\"".into()),
                range_start: Some(100),
            }
        );
        assert!(read_head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        assert!(read_head(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").is_err());
        assert!(read_head(b"SSH-2.0-OpenSSH_9\r\n").is_err());
    }

    /// A server that sends these pieces, with a pause after each.
    fn answers(pieces: &'static [&'static [u8]], pause: Duration) -> HttpUrl {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            for piece in pieces {
                if stream.write_all(piece).is_err() {
                    return;
                }
                std::thread::sleep(pause);
            }
        });
        url
    }

    fn fetched(url: &HttpUrl) -> Result<(u16, Vec<u8>), HttpError> {
        fetched_within(url, Limits::default())
    }

    fn fetched_within(url: &HttpUrl, limits: Limits) -> Result<(u16, Vec<u8>), HttpError> {
        let client = HttpClient::new(Arc::new(crate::clock::KernelClock), limits, None).unwrap();
        let mut response = client.send(&Request { method: "GET", url, token: None, headers: &[], body: None })?;
        let body = client.read_small(&mut response, 100)?;
        Ok((response.head.status, body))
    }

    #[test]
    fn a_body_is_read_by_its_length_in_chunks_or_to_the_end() {
        let pause = Duration::from_millis(5);
        let whole: [&[&[u8]]; 3] = [
            &[b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 6\r\n\r\nabc", b"def and what is not its"],
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nab", b"c\r\n3\r\ndef\r\n0\r\n\r\n"],
            &[b"HTTP/1.1 200 OK\r\n\r\nabc", b"def"],
        ];
        for pieces in whole {
            assert_eq!(fetched(&answers(pieces, pause)).unwrap(), (200, b"abcdef".to_vec()));
        }
        let nothing = answers(&[b"HTTP/1.1 204 No Content\r\n\r\n"], pause);
        assert_eq!(fetched(&nothing).unwrap(), (204, vec![]));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_an_error() {
        let pause = Duration::from_millis(5);
        let without_head: [&[&[u8]]; 2] = [&[b""], &[b"HTTP/1.1 200 OK\r\nContent-Le"]];
        for pieces in without_head {
            assert!(matches!(fetched(&answers(pieces, pause)), Err(HttpError::Closed)), "{pieces:?}");
        }
        let cut: [&[&[u8]]; 3] = [
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"],
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"],
        ];
        for pieces in cut {
            assert!(matches!(fetched(&answers(pieces, pause)), Err(HttpError::CutShort { .. })), "{pieces:?}");
        }
        let broken: [&[&[u8]]; 2] =
            [&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n"], &[b"<html>no</html>\r\n\r\n"]];
        for pieces in broken {
            assert!(matches!(fetched(&answers(pieces, pause)), Err(HttpError::NotHttp(_))), "{pieces:?}");
        }
    }

    #[test]
    fn a_server_that_stalls_trickles_or_never_ends_holds_nobody_up() {
        let quick = |idle: u64, answer: u64| Limits {
            idle: Duration::from_millis(idle),
            answer: Duration::from_millis(answer),
            ..Limits::default()
        };
        let silent = answers(&[b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", b"def"], Duration::from_secs(60));
        assert!(matches!(fetched_within(&silent, quick(200, 60_000)), Err(HttpError::Receive(_))));
        static TRICKLE: [&[u8]; 60] = [b"HTTP/1.1 200 OK\r\nX: y"; 60];
        let trickle = answers(&TRICKLE, Duration::from_millis(100));
        assert!(matches!(fetched_within(&trickle, quick(60_000, 300)), Err(HttpError::TooSlow { .. })));
        let long = answers(&[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 200]], Duration::ZERO);
        assert!(matches!(fetched(&long), Err(HttpError::TooLong { limit: 100 })));
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = fetched(&format!("http://{gone}/").parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("no connection to {gone}"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_head_reader_panic_or_want_more_forever(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_head(&bytes);
            let mut long = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
            long.extend(std::iter::repeat_n(b'a', LONGEST_HEAD));
            prop_assert!(read_head(&long).is_err());
        }

        #[test]
        fn a_head_is_read_the_same_however_it_is_cut(length in 0u64..1_000_000, cut in 0usize..60) {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nEtag: \"e\"\r\n\r\n");
            let cut = cut.min(text.len() - 1);
            prop_assert!(read_head(&text.as_bytes()[..cut]).unwrap().is_none());
            let (head, _) = read_head(text.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(head.content_length, Some(length));
        }
    }
}
