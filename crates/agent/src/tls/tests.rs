use super::*;
use crate::{clock::KernelClock, testing::certificates::Authority};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::{net::TcpListener, thread};

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NOW: [i32; 2] = [2020, 2033];

fn stream_to(serve: impl FnOnce(TcpStream) + Send + 'static) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Says what it hears.
fn echo(config: Arc<ServerConfig>) -> TcpStream {
    stream_to(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut heard = [0; 5];
        if stream.read_exact(&mut heard).is_ok() {
            stream.write_all(&heard).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    })
}

fn pinned(authority: &Authority) -> Tls {
    Tls::new(authority.pin().parse().unwrap()).unwrap()
}

fn talk(tls: &Tls, config: Arc<ServerConfig>) -> Result<(), TlsError> {
    let mut stream = tls.open(echo(config), HOST, &KernelClock, Duration::from_secs(20))?;
    stream.write_all(b"hello").unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    Ok(())
}

#[test]
fn the_pinned_authority_is_trusted_for_its_address_whatever_the_date() {
    let authority = Authority::new();
    let tls = pinned(&authority);
    // This machine's clock is one of them at most.
    for years in [NOW, [1990, 1991], [2050, 2060]] {
        talk(&tls, authority.server("127.0.0.1", years)).unwrap();
    }
    let error = talk(&tls, authority.server("10.240.0.5", NOW)).unwrap_err();
    assert!(matches!(error, TlsError::Untrusted(_)), "a certificate for another address: {error:?}");
}

#[test]
fn nobody_else_is_trusted_whatever_is_shown() {
    let (authority, other) = (Authority::new(), Authority::new());
    for shown in [
        // In the middle with an authority of its own, by the same name; then with a copy of ours beside it, or instead.
        vec![other.certificate.clone()],
        vec![authority.certificate.clone()],
        vec![other.certificate.clone(), authority.certificate.clone()],
        vec![],
    ] {
        let error = talk(&pinned(&authority), other.server_shown_with("127.0.0.1", NOW, &shown)).unwrap_err();
        assert!(matches!(error, TlsError::Untrusted(_)), "{error:?}");
    }
    let error = talk(&pinned(&authority), other.server("127.0.0.1", NOW)).unwrap_err();
    let told = metalform_model::with_causes(&error);
    assert!(told.contains(&format!("ca_sha256={}", authority.pin())), "{told}");
}

#[test]
fn an_authority_that_is_renewed_in_the_middle_of_a_boot_is_trusted_by_its_key() {
    let authority = Authority::new();
    let renewed = authority.renewed();
    assert_ne!(authority.pin(), renewed.pin());
    let tls = pinned(&authority);
    assert!(matches!(talk(&tls, renewed.server("127.0.0.1", NOW)), Err(TlsError::Untrusted(_))), "not seen yet");
    talk(&tls, authority.server("127.0.0.1", NOW)).unwrap();
    talk(&tls, renewed.server("127.0.0.1", NOW)).unwrap();
    assert!(matches!(talk(&tls, Authority::new().server("127.0.0.1", NOW)), Err(TlsError::Untrusted(_))));
}

#[test]
fn who_speaks_something_else_and_who_hangs_up_are_told_apart() {
    let tls = pinned(&Authority::new());
    let open = |stream| tls.open(stream, HOST, &KernelClock, Duration::from_secs(20));
    let http = stream_to(|mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1000]);
    });
    assert!(matches!(open(http), Err(TlsError::Refused(_))));
    assert!(matches!(open(stream_to(drop)), Err(TlsError::Broken(_))));
}

#[test]
fn a_handshake_that_trickles_ends() {
    let tls = pinned(&Authority::new());
    let trickle = stream_to(|mut stream| {
        // The head of a record of a handshake, and then a byte at a time.
        let _ = stream.write_all(&[22, 3, 3, 2, 0, 2]);
        while stream.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let error = tls.open(trickle, HOST, &KernelClock, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, TlsError::Broken(_)), "{error:?}");
}

#[test]
fn a_pin_reads_what_it_writes_and_nothing_else() {
    let digits = "00ff".repeat(16);
    assert_eq!(digits.parse::<CaPin>().unwrap().to_string(), digits);
    for wrong in ["", "00", &digits[1..], &digits.to_uppercase(), &format!("{digits}0"), &"zz".repeat(32)] {
        assert!(wrong.parse::<CaPin>().is_err(), "{wrong}");
    }
}
