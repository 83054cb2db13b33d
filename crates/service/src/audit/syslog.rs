//! Sends every line of the audit, and its signed heads, to a syslog receiver: `[audit] syslog`.
//!
//! The queue is the audit itself: lines are read after the last that was sent, so nothing grows while the receiver is away, no
//! request waits for it, and a restart goes on where it was. Each line is sent at least once. Syslog has no receipts: what the
//! system has taken when a TCP connection breaks may be lost on its way, so the last lines are sent again over the next one;
//! over UDP a lost line is lost.

use super::message::{of_head, of_line};
use metalform_store::{AuditFilter, AuditHead, AuditHeads, Store, StoreError};
use serde::Deserialize;
use std::{fmt, io, path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket, UnixDatagram},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// For a connection, and for a message.
const DEADLINE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is kept how far we are. After a crash the lines since then are sent again.
const KEEP: Duration = Duration::from_secs(2);
/// For what is left when the service stops.
const LAST: Duration = Duration::from_secs(2);
/// Lines read at a time, and sent again after a TCP connection broke.
const PAGE: u32 = 100;

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogTarget {
    /// `udp://HOST:PORT`: a message a datagram (RFC 5426).
    Udp(String),
    /// `tcp://HOST:PORT`: each message after its length (RFC 6587, 3.4.1).
    Tcp(String),
    /// `unix:/dev/log`: a datagram socket of this machine.
    Unix(PathBuf),
}

/// A text that is no receiver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no syslog receiver such as udp://10.0.0.9:514, tcp://logs.example.com:601 or unix:/dev/log")]
pub struct BadSyslogTarget(String);

impl FromStr for SyslogTarget {
    type Err = BadSyslogTarget;

    fn from_str(text: &str) -> Result<Self, BadSyslogTarget> {
        let bad = || BadSyslogTarget(text.chars().take(200).collect());
        let peer = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
            let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
            (is_host && is_port).then(|| rest.to_owned())
        };
        match text.split_once(':') {
            Some(("udp", rest)) => rest.strip_prefix("//").and_then(peer).map(SyslogTarget::Udp).ok_or_else(bad),
            Some(("tcp", rest)) => rest.strip_prefix("//").and_then(peer).map(SyslogTarget::Tcp).ok_or_else(bad),
            Some(("unix", path)) if path.starts_with('/') => Ok(SyslogTarget::Unix(path.into())),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for SyslogTarget {
    type Error = BadSyslogTarget;

    fn try_from(text: String) -> Result<Self, BadSyslogTarget> {
        text.parse()
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogTarget::Udp(peer) => write!(f, "udp://{peer}"),
            SyslogTarget::Tcp(peer) => write!(f, "tcp://{peer}"),
            SyslogTarget::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Connection {
    async fn open(target: &SyslogTarget) -> io::Result<Connection> {
        let opened = async {
            match target {
                SyslogTarget::Udp(peer) => {
                    let to = tokio::net::lookup_host(peer).await?.next().ok_or(io::ErrorKind::NotFound)?;
                    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(from).await?;
                    socket.connect(to).await?;
                    Ok(Connection::Udp(socket))
                }
                SyslogTarget::Tcp(peer) => Ok(Connection::Tcp(TcpStream::connect(peer).await?)),
                SyslogTarget::Unix(path) => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(Connection::Unix(socket))
                }
            }
        };
        timeout(DEADLINE, opened).await?
    }

    async fn send(&mut self, message: &str) -> io::Result<()> {
        let sent = async {
            match self {
                Connection::Udp(socket) => socket.send(message.as_bytes()).await.map(drop),
                Connection::Unix(socket) => socket.send(message.as_bytes()).await.map(drop),
                Connection::Tcp(stream) => {
                    // A receiver says nothing; that it has gone shows only here until something is written in vain.
                    match stream.try_read(&mut [0; 64]) {
                        Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        Ok(_) | Err(_) => {}
                    }
                    stream.write_all(format!("{} {message}", message.len()).as_bytes()).await
                }
            }
        };
        timeout(DEADLINE, sent).await?
    }
}

#[derive(Debug, Error)]
enum SendError {
    #[error("the receiver can't be reached")]
    Receiver(#[from] io::Error),
    #[error("the audit can't be read")]
    Store(#[from] StoreError),
}

/// The sender.
pub(crate) struct Syslog {
    /// Whose audit.
    pub store: Store,
    /// Its heads.
    pub heads: Arc<AuditHeads>,
    /// Where to.
    pub target: SyslogTarget,
}

/// How far it is.
#[derive(Default)]
struct Sent {
    /// The last line that was sent.
    seq: i64,
    /// The same, as it is kept.
    kept: i64,
    /// The last head.
    head: Option<AuditHead>,
    /// Something was sent since the last failure.
    works: bool,
}

impl Syslog {
    /// Sends until it is told to stop, and then what is left, if that is quick.
    pub async fn run(self, stop: CancellationToken) {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let receiver = self.target.to_string();
        let mut sent: Option<Sent> = None;
        let (mut pause, mut is_away) = (FIRST_PAUSE, false);
        loop {
            let ended = self.send_on(&receiver, host.trim(), &mut sent, &mut is_away, &stop).await;
            let Err(error) = ended else { return };
            if sent.as_mut().is_some_and(|sent| std::mem::take(&mut sent.works)) {
                pause = FIRST_PAUSE;
            }
            if !std::mem::replace(&mut is_away, true) {
                tracing::warn!(%receiver, %error, source = ?std::error::Error::source(&error),
                    "the audit isn't sent any more; it goes on from there once the receiver is back");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Over one connection.
    async fn send_on(
        &self,
        receiver: &str,
        host: &str,
        sent: &mut Option<Sent>,
        is_away: &mut bool,
        stop: &CancellationToken,
    ) -> Result<(), SendError> {
        let is_again = sent.is_some();
        let sent = match sent {
            Some(sent) => sent,
            none => {
                // A database that was cut off may end before: what comes then is sent as well.
                let newest = self.store.newest_audit_line().await?.map_or(0, |(seq, _)| seq);
                let seq = self.store.audit_cursor(receiver).await?.min(newest);
                none.insert(Sent { seq, kept: seq, ..Sent::default() })
            }
        };
        let (mut grown, mut signed) = (self.store.audited(), self.heads.newest());
        let mut connection = Connection::open(&self.target).await?;
        if is_again && matches!(connection, Connection::Tcp(_)) {
            sent.seq = (sent.seq - i64::from(PAGE)).max(0);
        }
        let mut keep = tokio::time::interval(KEEP);
        keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let newest = signed.borrow_and_update().clone();
            self.send_new(&mut connection, host, sent, newest).await?;
            if std::mem::take(is_away) {
                tracing::info!(receiver, "the audit is sent again");
            }
            tokio::select! {
                _ = grown.changed() => {}
                _ = signed.changed() => {}
                _ = keep.tick() => self.keep(receiver, sent).await?,
                () = stop.cancelled() => break,
            }
        }
        let newest = signed.borrow_and_update().clone();
        let last = timeout(LAST, self.send_new(&mut connection, host, sent, newest)).await;
        if let Ok(Err(error)) = last {
            tracing::warn!(receiver, %error, "the last lines of the audit are sent at the next start");
        }
        self.keep(receiver, sent).await?;
        Ok(())
    }

    /// Everything that there is, and the head if it is another one.
    async fn send_new(
        &self,
        connection: &mut Connection,
        host: &str,
        sent: &mut Sent,
        head: Option<AuditHead>,
    ) -> Result<(), SendError> {
        loop {
            let wanted = AuditFilter { after: sent.seq, limit: PAGE, ..AuditFilter::default() };
            let lines = self.store.audit_lines(&wanted).await?;
            for line in &lines {
                connection.send(&of_line(line, host)).await?;
                (sent.seq, sent.works) = (line.seq, true);
            }
            if lines.len() < PAGE as usize {
                break;
            }
        }
        if let Some(head) = head.filter(|head| sent.head.as_ref() != Some(head)) {
            connection.send(&of_head(&head, host)).await?;
            (sent.head, sent.works) = (Some(head), true);
        }
        Ok(())
    }

    async fn keep(&self, receiver: &str, sent: &mut Sent) -> Result<(), StoreError> {
        if sent.seq != sent.kept {
            self.store.set_audit_cursor(receiver, sent.seq).await?;
            sent.kept = sent.seq;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
