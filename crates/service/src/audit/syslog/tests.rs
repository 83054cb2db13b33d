//! Every line arrives, in order, whatever becomes of the receiver.

use super::*;
use metalform_model::{AuditEntry, Timestamp};
use metalform_store::AuditKey;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

struct Rig {
    folder: PathBuf,
    store: Store,
    heads: Arc<AuditHeads>,
}

impl Rig {
    async fn new() -> Rig {
        let folder = std::env::temp_dir().join(format!("metalform-syslog-{}", Uuid::new_v4()));
        Rig::at(folder).await
    }

    async fn at(folder: PathBuf) -> Rig {
        let store = Store::open(&folder).await.unwrap();
        let key = AuditKey::from_seed(&[7; 32]).unwrap();
        let (heads, _) = AuditHeads::open(store.clone(), &folder, key).await.unwrap();
        Rig { folder, store, heads: Arc::new(heads) }
    }

    async fn add(&self, lines: std::ops::RangeInclusive<i64>) {
        for n in lines {
            let entry = AuditEntry {
                at: Timestamp(n),
                who: "operator".into(),
                action: "api.get".into(),
                target: format!("number {n}"),
                source: "127.0.0.1".into(),
                outcome: "ok".into(),
            };
            self.store.add_audit(&entry).await.unwrap();
        }
    }

    fn start(&self, target: SyslogTarget) -> (JoinHandle<()>, CancellationToken) {
        let stop = CancellationToken::new();
        let syslog = Syslog { store: self.store.clone(), heads: self.heads.clone(), target };
        (tokio::spawn(syslog.run(stop.clone())), stop)
    }
}

async fn end((task, stop): (JoinHandle<()>, CancellationToken)) {
    stop.cancel();
    timeout(LIMIT, task).await.unwrap().unwrap();
}

/// The number that the message is about, and whether it is a head.
fn about(message: &str) -> (i64, bool) {
    let (_, rest) = message.split_once(" seq=\"").unwrap_or_else(|| panic!("{message}"));
    (rest.split('"').next().unwrap().parse().unwrap(), message.contains("[auditHead@"))
}

/// One message over TCP.
async fn framed(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = Vec::new();
    timeout(LIMIT, stream.read_until(b' ', &mut length)).await.unwrap().unwrap();
    let length: usize = std::str::from_utf8(&length).unwrap().trim().parse().ok()?;
    let mut message = vec![0; length];
    timeout(LIMIT, stream.read_exact(&mut message)).await.unwrap().unwrap();
    Some(String::from_utf8(message).unwrap())
}

async fn lines(stream: &mut BufReader<TcpStream>, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let (seq, is_head) = about(&framed(stream).await.expect("another message"));
        if !is_head {
            seqs.push(seq);
        }
    }
    seqs
}

#[test]
fn receivers_are_named_as_urls() {
    for text in ["udp://10.0.0.9:514", "tcp://logs.example.com:601", "tcp://[::1]:601", "unix:/dev/log"] {
        assert_eq!(text.parse::<SyslogTarget>().unwrap().to_string(), text);
    }
    for text in
        ["", "10.0.0.9:514", "udp://", "udp://host", "tcp://host:0", "tcp://host:x", "tls://a:1", "unix:log", "udp:a:1"]
    {
        assert!(text.parse::<SyslogTarget>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn every_line_and_every_head_arrives_over_tcp_in_order() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.add(1..=250).await;
    let running = rig.start(SyslogTarget::Tcp(listener.local_addr().unwrap().to_string()));
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    assert_eq!(lines(&mut stream, 250).await, (1..=250).collect::<Vec<_>>());
    rig.add(251..=252).await;
    assert_eq!(lines(&mut stream, 2).await, [251, 252]);
    rig.heads.sign(Timestamp(9)).await.unwrap();
    assert_eq!(about(&framed(&mut stream).await.unwrap()), (252, true));
    end(running).await;
    std::fs::remove_dir_all(&rig.folder).unwrap();
}

/// It loses the connection, lines come meanwhile, and then it goes on; the lines that may have been under way come again.
#[tokio::test]
async fn after_a_broken_connection_no_line_is_missing() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.add(1..=120).await;
    let running = rig.start(SyslogTarget::Tcp(listener.local_addr().unwrap().to_string()));
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    lines(&mut stream, 120).await;
    drop(stream);
    rig.add(121..=130).await;
    let accepted = timeout(LIMIT, listener.accept()).await.unwrap();
    let mut stream = BufReader::new(accepted.unwrap().0);
    let again = lines(&mut stream, 20).await;
    assert!(again[0] <= 121 && again.windows(2).all(|pair| pair[1] == pair[0] + 1), "{again:?}");
    let rest = lines(&mut stream, (130 - again[19]) as usize).await;
    assert_eq!(rest.last().or(again.last()), Some(&130));
    end(running).await;
    std::fs::remove_dir_all(&rig.folder).unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_also_after_the_receiver_was_away() {
    let rig = Rig::new().await;
    let path = rig.folder.join("log");
    let target = || SyslogTarget::Unix(path.clone());
    let receiver = UnixDatagram::bind(&path).unwrap();
    rig.add(1..=3).await;
    let running = rig.start(target());
    assert_eq!(datagrams(&receiver, 3).await, [1, 2, 3]);
    end(running).await;
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    let folder = rig.folder.clone();
    rig.store.close().await;
    drop(rig.heads);
    // Away: nothing of a request waits for it.
    let rig = Rig::at(folder).await;
    let running = rig.start(target());
    rig.add(4..=5).await;
    let receiver = UnixDatagram::bind(&path).unwrap();
    assert_eq!(datagrams(&receiver, 2).await, [4, 5]);
    end(running).await;
    assert_eq!(rig.store.audit_cursor(&target().to_string()).await.unwrap(), 5);
    assert_eq!(rig.store.audit_cursor("another").await.unwrap(), 0, "another receiver gets all");
    std::fs::remove_dir_all(&rig.folder).unwrap();
}

async fn datagrams(receiver: &UnixDatagram, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let mut buffer = [0; 8192];
        let length = timeout(LIMIT, receiver.recv(&mut buffer)).await.unwrap().unwrap();
        let (seq, is_head) = about(std::str::from_utf8(&buffer[..length]).unwrap());
        if !is_head {
            seqs.push(seq);
        }
    }
    seqs
}

#[tokio::test]
async fn lines_arrive_over_udp() {
    let rig = Rig::new().await;
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    rig.add(1..=2).await;
    let running = rig.start(SyslogTarget::Udp(receiver.local_addr().unwrap().to_string()));
    for expected in 1..=2 {
        let mut buffer = [0; 8192];
        let length = timeout(LIMIT, receiver.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(about(std::str::from_utf8(&buffer[..length]).unwrap()), (expected, false));
    }
    end(running).await;
    std::fs::remove_dir_all(&rig.folder).unwrap();
}
