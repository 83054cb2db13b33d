//! Runs the program that gives the secret key, such as a client of a key management service.
//!
//! No shell: words are separated by blanks, and that is all. What it writes to standard output is the key and is told to
//! nobody; of standard error the last line goes into the error.

use super::CommandFault;
use secrecy::{SecretString, zeroize::Zeroizing};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

/// A key service far away answers within seconds, and the service doesn't start without the key.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A key is 64 digits.
const MAX_BYTES: u64 = 1024;
const MAX_LAST_WORDS: usize = 200;

/// What it wrote, without the blanks around it.
pub(super) async fn run(program: &str, args: &[String], limit: Duration) -> Result<SecretString, CommandFault> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(CommandFault::Run)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut last_words = String::new();
    let work = async {
        let (text, (), status) = tokio::try_join!(
            whole(stdout),
            async { listen(stderr, &mut last_words).await.map_err(CommandFault::Run) },
            async { child.wait().await.map_err(CommandFault::Run) },
        )?;
        Ok((text, status))
    };
    let ended = tokio::time::timeout(limit, work).await;
    match ended {
        Err(_) => Err(CommandFault::TooSlow { limit, last_words }),
        Ok(Err(fault)) => Err(fault),
        Ok(Ok((_, status))) if !status.success() => Err(CommandFault::Failed { status, last_words }),
        Ok(Ok((text, _))) => Ok(String::from_utf8_lossy(&text).trim().into()),
    }
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> Result<Zeroizing<Vec<u8>>, CommandFault> {
    // Allocated once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES as usize));
    if let Some(stream) = stream {
        stream.take(MAX_BYTES + 1).read_to_end(&mut bytes).await.map_err(CommandFault::Run)?;
    }
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(CommandFault::TooLong { limit: MAX_BYTES }),
        false => Ok(bytes),
    }
}

/// Keeps the last line that isn't empty, however much is said.
async fn listen(stream: Option<impl AsyncRead + Unpin>, last_words: &mut String) -> std::io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let (mut chunk, mut line) = ([0u8; 512], String::new());
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        for c in String::from_utf8_lossy(&chunk[..read]).chars() {
            match c {
                '\n' => line.clear(),
                _ if line.len() < MAX_LAST_WORDS => {
                    line.extend(c.escape_debug().filter(|_| c.is_control()).chain((!c.is_control()).then_some(c)))
                }
                _ => {}
            }
            if !line.trim().is_empty() {
                line.trim().clone_into(last_words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    async fn sh(script: &str, limit: Duration) -> Result<SecretString, CommandFault> {
        run("/bin/sh", &["-c".to_owned(), script.to_owned()], limit).await
    }

    #[tokio::test]
    async fn what_it_writes_is_the_key_and_its_chatter_is_not() {
        let text = sh("echo working >&2; echo; echo '  abc '", LIMIT).await.unwrap();
        assert_eq!(text.expose_secret(), "abc");
    }

    #[tokio::test]
    async fn one_that_fails_says_its_last_words_and_never_what_it_wrote() {
        let fault =
            sh("echo secret; echo first >&2; printf 'access \\033denied\\n\\n' >&2; exit 3", LIMIT).await.unwrap_err();
        let told = format!("{fault} {fault:?}");
        assert!(told.contains("exit status: 3, saying: access \\u{1b}denied") && !told.contains("secret"), "{told}");
        assert!(fault.is_transient() && fault.hint().contains("by hand"));
        let fault = run("/nonexistent/kms", &[], LIMIT).await.unwrap_err();
        assert!(matches!(fault, CommandFault::Run(_)) && !fault.is_transient());
    }

    #[tokio::test]
    async fn one_that_never_ends_is_killed_and_so_is_one_that_never_stops_talking() {
        let fault = sh("echo $$ >&2; exec sleep 600", Duration::from_millis(300)).await.unwrap_err();
        let CommandFault::TooSlow { last_words: pid, .. } = &fault else { panic!("{fault:?}") };
        assert!(fault.to_string().ends_with(&format!("killed, saying: {pid}")), "{fault}");
        let process = std::path::Path::new("/proc").join(pid);
        let gone = async {
            while process.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("it was killed");
        let fault = sh("while :; do echo 0123456789; done", LIMIT).await.unwrap_err();
        assert!(matches!(fault, CommandFault::TooLong { limit: MAX_BYTES }), "{fault:?}");
        let much = sh("head -c 300000 /dev/zero | tr '\\0' x >&2; echo k", LIMIT).await.unwrap();
        assert_eq!(much.expose_secret(), "k", "much on standard error holds nobody up");
    }

    #[tokio::test]
    async fn no_shell_reads_the_arguments() {
        let args = ["$HOME;".to_owned(), "'a".to_owned()];
        assert_eq!(run("/bin/echo", &args, LIMIT).await.unwrap().expose_secret(), "$HOME; 'a");
    }
}
