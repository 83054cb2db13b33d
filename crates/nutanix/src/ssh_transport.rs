//! The real [`Ssh`]: a connection for each login, through russh.
//!
//! Every login is a connection of its own, closed when the session is dropped: so no session outlives the rule it was
//! made under, and what the handler remembers belongs to one peer. Passwords only, one attempt each. Host keys are
//! Ed25519 or ECDSA; RSA is not built in, and every OpenSSH of the last ten years has one of the others.
//!
//! What the library does that has to be minded: it has no time limits of its own; an answer missed during the login
//! looks like a refused password; it hands over a connection to a task that dropping a future does not end; and a
//! channel that nobody reads stops all others.

use crate::{Exec, ExecOutput, Fingerprint, PinRule, Ssh, SshError, SshLogin, SshSession};
use async_trait::async_trait;
use russh::{
    ChannelMsg, ChannelReadHalf, Disconnect, Preferred, Pty,
    client::{self, AuthResult, DisconnectReason, Handle},
    keys::{Algorithm, EcdsaCurve, PublicKeyOrCertificate},
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    future::Future,
    io,
    net::{Ipv4Addr, Shutdown},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

const HOST_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// The terminal of a command that wants one: it doesn't repeat what we type and leaves line ends alone. A server may
/// refuse a terminal without any mode.
const TERMINAL: &[(Pty, u32)] =
    &[(Pty::ECHO, 0), (Pty::ONLCR, 0), (Pty::TTY_OP_ISPEED, 38_400), (Pty::TTY_OP_OSPEED, 38_400)];

/// SSH through russh. Holds no state but the configuration.
#[derive(Debug, Clone)]
pub struct RusshTransport {
    config: Arc<client::Config>,
}

impl RusshTransport {
    /// A transport over aws-lc-rs.
    pub fn new() -> Self {
        let config = client::Config {
            preferred: Preferred { key: Cow::Borrowed(HOST_KEYS), ..Preferred::DEFAULT },
            nodelay: true,
            ..client::Config::default()
        };
        Self { config: Arc::new(config) }
    }
}

impl Default for RusshTransport {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Ssh for RusshTransport {
    async fn greet(&self, address: Ipv4Addr, port: u16, limit: Duration) -> Result<(), SshError> {
        within(limit, async { read_greeting(connect(address, port).await?).await }).await
    }

    async fn open(&self, login: SshLogin) -> Result<Box<dyn SshSession>, SshError> {
        let limit = login.limit;
        within(limit, async {
            let stream = connect(login.address, login.port).await?;
            let (stream, connection) =
                Connection::around(stream).map_err(|error| SshError::Unreachable(error.into()))?;
            let seen = Arc::new(Seen::default());
            let guard = HostKeyGuard { rule: login.pin.clone(), seen: seen.clone() };
            let mut handle = match client::connect_stream(self.config.clone(), stream, guard).await {
                Ok(handle) => handle,
                Err(error) => return Err(seen.mismatch(&login.pin).unwrap_or_else(|| before_login(error))),
            };
            let outcome = handle.authenticate_password(&login.user, login.password.expose_secret()).await;
            match outcome {
                Ok(AuthResult::Success) => {}
                // A list of what else might be tried comes with every refusal, and with none when the connection broke.
                Ok(AuthResult::Failure { remaining_methods, .. })
                    if !remaining_methods.is_empty() || !handle.is_closed() || seen.is_dismissed() =>
                {
                    return Err(SshError::Denied);
                }
                Err(_) if seen.is_dismissed() => return Err(SshError::Denied),
                Ok(AuthResult::Failure { .. }) => return Err(SshError::Unreachable("closed during the login".into())),
                Err(error) => return Err(SshError::Unreachable(error.into())),
            }
            let Some(fingerprint) = seen.key.get().copied() else {
                return Err(SshError::NotSsh("no host key was shown".into()));
            };
            Ok(Box::new(RusshSession { handle, fingerprint, _connection: connection }) as Box<dyn SshSession>)
        })
        .await
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, SshError>>) -> Result<T, SshError> {
    timeout(limit, work).await.unwrap_or(Err(SshError::ConnectTimeout(limit)))
}

async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, SshError> {
    TcpStream::connect((address, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => SshError::Refused,
        _ => SshError::Unreachable(error.into()),
    })
}

/// A server may send lines before its identification (RFC 4253 §4.2).
async fn read_greeting(stream: TcpStream) -> Result<(), SshError> {
    const BYTES: u64 = 8192;
    let mut lines = BufReader::new(stream).take(BYTES);
    let mut said_something = false;
    loop {
        let mut line = Vec::new();
        match lines.read_until(b'\n', &mut line).await {
            Ok(_) if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") => return Ok(()),
            Ok(0) if said_something => return Err(SshError::NotSsh("what it says is no SSH identification".into())),
            Ok(0) => return Err(SshError::Unreachable("closed without a greeting".into())),
            Ok(_) => said_something = true,
            Err(error) => return Err(SshError::Unreachable(error.into())),
        }
    }
}

/// A second handle on the socket. Dropping it ends the connection whatever the library's task is waiting for.
struct Connection(std::net::TcpStream);

impl Connection {
    fn around(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let second = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, Self(second)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It fails where the other side was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// What the library's task told of the peer.
#[derive(Default)]
struct Seen {
    key: OnceLock<Fingerprint>,
    end: OnceLock<Option<Disconnect>>,
    /// Whether our side gave up because the refusal named nothing else to try. A server may name nothing (RFC 4252 §5.1),
    /// and taking that for a broken connection would show the password again and again.
    has_nothing_left: AtomicBool,
}

impl Seen {
    fn mismatch(&self, rule: &PinRule) -> Option<SshError> {
        match (rule, self.key.get()) {
            (PinRule::OneOf(expected), Some(seen)) if !expected.contains(seen) => {
                Some(SshError::PinMismatch { expected: expected.clone(), seen: *seen })
            }
            _ => None,
        }
    }

    /// Whether the server ended the connection in words and for what we did. OpenSSH does so at the last attempt that
    /// it allows ("Too many authentication failures"), as a protocol error and without refusing that attempt first.
    fn is_dismissed(&self) -> bool {
        self.has_nothing_left.load(Ordering::Acquire)
            || matches!(self.end.get(), Some(Some(Disconnect::ProtocolError | Disconnect::NoMoreAuthMethodsAvailable)))
    }
}

struct HostKeyGuard {
    rule: PinRule,
    seen: Arc<Seen>,
}

impl client::Handler for HostKeyGuard {
    type Error = russh::Error;

    /// Called once the peer has proven to have the key, before the login; and again when keys are renewed later.
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let fingerprint = Fingerprint(Sha256::digest(key.public_key().to_bytes()?).into());
        let first = *self.seen.key.get_or_init(|| fingerprint);
        Ok(self.rule.accepts(&fingerprint) && first == fingerprint)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let told = match reason {
            DisconnectReason::ReceivedDisconnect(info) => Some(info.reason_code),
            DisconnectReason::Error(russh::Error::NoAuthMethod) => {
                self.seen.has_nothing_left.store(true, Ordering::Release);
                None
            }
            DisconnectReason::Error(_) => None,
        };
        // Only the first end is one.
        let _ = self.seen.end.set(told);
        Ok(())
    }
}

fn before_login(error: russh::Error) -> SshError {
    use russh::Error as E;
    match error {
        E::IO(_) | E::HUP | E::Disconnect | E::SendError | E::RecvError => SshError::Unreachable(error.into()),
        _ => SshError::NotSsh(error.into()),
    }
}

struct RusshSession {
    handle: Handle<HostKeyGuard>,
    fingerprint: Fingerprint,
    _connection: Connection,
}

#[async_trait]
impl SshSession for RusshSession {
    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SshError> {
        let limit = exec.limit;
        let asked = AtomicBool::new(false);
        match timeout(limit, self.run(exec, &asked)).await {
            Ok(outcome) => outcome,
            Err(_) if asked.load(Ordering::Relaxed) => Err(SshError::ReplyTimeout(limit)),
            Err(over) => Err(SshError::NotStarted(over.into())),
        }
    }
}

impl RusshSession {
    async fn run(&self, exec: Exec, asked: &AtomicBool) -> Result<ExecOutput, SshError> {
        let channel = self.handle.channel_open_session().await.map_err(|error| SshError::NotStarted(error.into()))?;
        let (mut reading, writing) = channel.split();
        if exec.pty {
            let request = writing.request_pty(true, "dumb", 200, 50, 0, 0, TERMINAL);
            request.await.map_err(|error| SshError::NotStarted(error.into()))?;
            if !granted(&mut reading).await {
                return Err(SshError::NotStarted("no terminal is given".into()));
            }
        }
        asked.store(true, Ordering::Relaxed);
        writing.exec(true, exec.command).await.map_err(|error| SshError::NotStarted(error.into()))?;
        // Both at once: a command that writes much before it reads would otherwise stop us, and we it. A failure to
        // write is no news: the command may have ended without reading, or the connection is gone, which reading tells.
        let write = async {
            let _ = writing.data_bytes(exec.stdin).await;
            let _ = writing.eof().await;
        };
        let (output, ()) = tokio::join!(read(&mut reading), write);
        output
    }
}

/// Waits for the answer to a request.
async fn granted(channel: &mut ChannelReadHalf) -> bool {
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return true,
            None | Some(ChannelMsg::Failure | ChannelMsg::Close) => return false,
            Some(_) => {}
        }
    }
}

async fn read(channel: &mut ChannelReadHalf) -> Result<ExecOutput, SshError> {
    const STDERR: u32 = 1;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut status, mut is_started, mut is_over) = (None, false, false);
    // To the very end: output may come after the exit status.
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => keep(&mut stdout, &data),
            ChannelMsg::ExtendedData { data, ext: STDERR } => keep(&mut stderr, &data),
            ChannelMsg::ExitStatus { exit_status } => (status, is_over) = (Some(exit_status), true),
            ChannelMsg::ExitSignal { .. } => is_over = true,
            ChannelMsg::Success => is_started = true,
            ChannelMsg::Failure if !is_started => {
                return Err(SshError::NotStarted("the machine refuses commands".into()));
            }
            ChannelMsg::Close => {
                is_over = true;
                break;
            }
            _ => {}
        }
    }
    if !is_over {
        return Err(SshError::Lost("the connection was closed".into()));
    }
    Ok(ExecOutput::new(status, stdout, stderr))
}

fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    kept.extend_from_slice(&data[..data.len().min(ExecOutput::LIMIT - kept.len())]);
}
