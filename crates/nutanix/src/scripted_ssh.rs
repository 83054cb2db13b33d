//! SSH for tests: answers from a list, and remembers what it was asked.

use crate::{Exec, ExecOutput, Fingerprint, Ssh, SshError, SshLogin, SshSession, scripted::KEY};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) type Answer = Result<ExecOutput, SshError>;

/// An answer with this exit status and these outputs.
pub(crate) fn says(status: u32, stdout: &str, stderr: &str) -> Answer {
    Ok(ExecOutput::new(Some(status), stdout.into(), stderr.into()))
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Default)]
pub(crate) struct ScriptedSsh(Arc<Script>);

impl ScriptedSsh {
    /// Gives these answers in turn. A greeting and a login take one too; what it says doesn't matter.
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() }))
    }

    /// What was asked, in turn.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    fn answer(&self, asked: String) -> Answer {
        self.0.asked.lock().unwrap().push(asked);
        self.0.answers.lock().unwrap().pop_front().expect("the script has an answer for everything asked")
    }
}

#[async_trait]
impl Ssh for ScriptedSsh {
    async fn greet(&self, address: Ipv4Addr, port: u16, limit: Duration) -> Result<(), SshError> {
        self.answer(format!("greet {address}:{port} within {limit:?}")).map(drop)
    }

    async fn open(&self, login: SshLogin) -> Result<Box<dyn SshSession>, SshError> {
        let SshLogin { address, port, user, password, pin, limit } = login;
        let password = password.expose_secret();
        self.answer(format!("open {user}:{password}@{address}:{port} {pin:?} within {limit:?}"))?;
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl SshSession for ScriptedSsh {
    fn fingerprint(&self) -> Fingerprint {
        KEY
    }

    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SshError> {
        let Exec { command, stdin, pty, limit } = exec;
        let mut asked = format!("{command} within {limit:?}");
        if pty {
            asked += " on a terminal";
        }
        if !stdin.is_empty() {
            asked += &format!(" reading {:?}", String::from_utf8(stdin).unwrap());
        }
        self.answer(asked)
    }
}
