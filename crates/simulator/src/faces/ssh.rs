//! The SSH server of a CVM or hypervisor: passwords and commands go to the world, and what it answers comes back. A
//! command's standard input is collected in full before the world sees it, so a command runs when the client ends its
//! input (`ssh -n`, or an end-of-file); no published automation feeds a command piece by piece.
//!
//! Refused: every other way to log in, shells, subsystems, forwarding, and environment variables. A connection ends with
//! its listener, as it would when a CVM goes down.
//!
//! With a terminal, what a client sent comes back as the terminal's echo, and every line ends in CR LF, unless the client
//! switched that off in its terminal modes (RFC 4254 §8): scripts that read such output meet both in the real world.

use super::{Shared, cut::Cut};
use crate::ssh::{SshAdmission, SshExec, SshReply};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, SshId,
    keys::{Algorithm, PrivateKey},
    server::{Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session},
};
use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// OpenSSH's `MaxSessions`.
const MAX_CHANNELS: usize = 10;
/// OpenSSH's `MaxAuthTries`.
const MAX_AUTH_TRIES: usize = 6;
const MAX_CONNECTIONS: usize = 100;
const STDIN_LIMIT: usize = 256 << 10;
/// From the connection until somebody is logged in.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// Without a word in either direction.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// A new host key, in all that a server needs to show it.
pub(super) fn config() -> Result<Arc<Config>, russh::keys::ssh_key::Error> {
    Ok(Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-simulated".into()),
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: Duration::ZERO,
        keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?],
        max_auth_attempts: MAX_AUTH_TRIES,
        inactivity_timeout: Some(IDLE_LIMIT),
        nodelay: true,
        ..Config::default()
    }))
}

/// Accepts connections until `close`, which ends them too.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    at: (Ipv4Addr, u16),
    config: Arc<Config>,
    close: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, ?at, "an SSH connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // As OpenSSH's `MaxStartups`: who is too many is dropped.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (connection_shared, config, cut) = (shared.clone(), config.clone(), close.child_token());
        // Not `Shared::spawn`: the library has a task of its own for the connection, whose end is waited for.
        shared.tasks.spawn(async move {
            serve(connection_shared, stream, at, config, cut).await;
            drop(place);
        });
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    at: (Ipv4Addr, u16),
    config: Arc<Config>,
    cut: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let admitted = CancellationToken::new();
    let connection = Connection {
        shared,
        at,
        user: String::new(),
        admitted: admitted.clone(),
        channels: HashMap::new(),
        cut: cut.clone(),
    };
    let serving = async {
        match russh::server::run_stream(config, Cut::new(stream, cut.clone()), connection).await {
            Ok(session) => session.await,
            Err(error) => Err(error),
        }
    };
    let overseeing = async {
        if tokio::time::timeout(LOGIN_LIMIT, admitted.cancelled()).await.is_err() {
            cut.cancel();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::trace!(%error, ?at, "an SSH connection ended");
            }
        }
        () = overseeing => {}
    }
    // What still waits to be answered has nobody left to be told.
    cut.cancel();
}

/// A session channel: one command.
#[derive(Default)]
struct Pending {
    terminal: Option<Terminal>,
    command: Option<String>,
    stdin: Vec<u8>,
}

/// What a pseudo terminal does with text.
#[derive(Clone, Copy)]
struct Terminal {
    echoes: bool,
    ends_lines_with_cr: bool,
}

impl Terminal {
    fn with(modes: &[(Pty, u32)]) -> Self {
        let is_on = |mode: Pty| modes.iter().all(|(set, value)| *set != mode || *value != 0);
        Terminal { echoes: is_on(Pty::ECHO), ends_lines_with_cr: is_on(Pty::ONLCR) && is_on(Pty::OPOST) }
    }

    /// What appears on it.
    fn show(self, stdin: &[u8], output: Vec<u8>) -> Vec<u8> {
        let shown = if self.echoes { [stdin, &output].concat() } else { output };
        if !self.ends_lines_with_cr {
            return shown;
        }
        let mut lines = Vec::with_capacity(shown.len() + 16);
        for byte in shown {
            if byte == b'\n' && lines.last() != Some(&b'\r') {
                lines.push(b'\r');
            }
            lines.push(byte);
        }
        lines
    }
}

/// One client.
struct Connection {
    shared: Arc<Shared>,
    at: (Ipv4Addr, u16),
    /// Who is logged in; requests come only after that.
    user: String,
    admitted: CancellationToken,
    channels: HashMap<ChannelId, Pending>,
    /// Ends the connection without another word.
    cut: CancellationToken,
}

impl Connection {
    /// Has the command of a channel executed, once its input is complete.
    fn run(&mut self, id: ChannelId, to: Handle) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(command) = channel.command.take() else { return };
        let (stdin, terminal) = (std::mem::take(&mut channel.stdin), channel.terminal);
        let exec = SshExec { command, stdin, pty: terminal.is_some() };
        let (ip, port) = self.at;
        let reply = self.shared.with(|world, now| world.ssh_exec(now, ip, port, &self.user, &exec));
        // A connection that was open when the CVM went away gets no answer either.
        let Some(SshReply::Output { mut stdout, stderr, status, after }) = reply else { return self.cut.cancel() };
        if let Some(terminal) = terminal {
            stdout = terminal.show(&exec.stdin, stdout);
        }
        let cut = self.cut.clone();
        self.shared.tasks.spawn(async move {
            let answering = async {
                tokio::time::sleep(after).await;
                // The client may be gone, or have closed the channel: then nobody misses it.
                let _ = to.data(id, stdout).await;
                let _ = to.extended_data(id, 1, stderr).await;
                let _ = to.exit_status_request(id, status).await;
                let _ = to.eof(id).await;
                let _ = to.close(id).await;
            };
            tokio::select! {
                () = cut.cancelled() => {}
                () = answering => {}
            }
        });
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let (ip, port) = self.at;
        match self.shared.with(|world, now| world.ssh_login(now, ip, port, user, password)) {
            Some(SshAdmission::Admitted) => {
                user.clone_into(&mut self.user);
                self.admitted.cancel();
                Ok(Auth::Accept)
            }
            // With the methods that may be tried next, as OpenSSH does. Without any, a client takes the connection for over.
            Some(SshAdmission::Denied) => {
                let next = Some(MethodSet::from(&[MethodKind::Password][..]));
                Ok(Auth::Reject { proceed_with_methods: next, partial_success: false })
            }
            None => Err(russh::Error::Disconnect),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.channels.len() >= MAX_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Pending::default());
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.channels.get_mut(&id) {
            Some(channel) if channel.terminal.is_none() && channel.command.is_none() => {
                channel.terminal = Some(Terminal::with(modes));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        match (self.channels.get_mut(&id), std::str::from_utf8(command)) {
            (Some(channel), Ok(command)) if channel.command.is_none() => {
                channel.command = Some(command.to_owned());
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.command.is_some()) else {
            return Ok(());
        };
        let room = STDIN_LIMIT - channel.stdin.len();
        channel.stdin.extend_from_slice(&data[..data.len().min(room)]);
        if channel.stdin.len() == STDIN_LIMIT {
            self.run(id, session.handle());
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.run(id, session.handle());
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_echoes_and_ends_lines_with_a_carriage_return_unless_told_otherwise() {
        for (modes, shown) in [
            (vec![], "Y\r\na\r\nb\r\n"),
            (vec![(Pty::ECHO, 1), (Pty::VINTR, 3)], "Y\r\na\r\nb\r\n"),
            (vec![(Pty::ECHO, 0)], "a\r\nb\r\n"),
            (vec![(Pty::ONLCR, 0)], "Y\na\nb\r\n"),
            (vec![(Pty::ECHO, 0), (Pty::OPOST, 0)], "a\nb\r\n"),
        ] {
            let seen = Terminal::with(&modes).show(b"Y\n", b"a\nb\r\n".to_vec());
            assert_eq!(String::from_utf8(seen).unwrap(), shown, "{modes:?}");
        }
    }
}
