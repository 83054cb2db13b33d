use super::{
    key::{HEAD, KEY_NAME_LEN},
    *,
};
use aws_lc_rs::aead::NONCE_LEN;

const CLUSTER: Uuid = Uuid::from_u128(7);
const ACCOUNT: Account = Account::PrismAdmin;

fn sealer() -> Sealer {
    Sealer::new(&[1; 32])
}

fn password() -> SecretString {
    "Pässword-9/x".into()
}

fn sealed() -> Sealed {
    sealer().seal(CLUSTER, ACCOUNT, &password()).unwrap()
}

#[test]
fn what_was_sealed_opens_after_a_restart() {
    let opened = sealer().open(CLUSTER, ACCOUNT, &sealed()).unwrap();
    assert_eq!(opened.expose_secret(), password().expose_secret());
    let empty = sealer().seal(CLUSTER, ACCOUNT, &"".into()).unwrap();
    assert_eq!(sealer().open(CLUSTER, ACCOUNT, &empty).unwrap().expose_secret(), "");
}

/// As the module says, computed by another implementation of HKDF and AES-GCM (Python's `cryptography`). A change that
/// makes this fail locks operators out of their clusters.
const FIRST_VERSION: &str =
    "01d06244bd000102030405060708090a0bb83206805735bafa49c291905322b915a8f9ce8cda98edacdbc97e6ec6";

#[test]
fn what_an_earlier_version_sealed_opens() {
    let bytes = hex::decode(FIRST_VERSION).unwrap();
    let opened = sealer().open(CLUSTER, ACCOUNT, &Sealed::from_bytes(bytes)).unwrap();
    assert_eq!(opened.expose_secret(), password().expose_secret());
}

#[test]
fn the_same_password_twice_cannot_be_told_from_two() {
    let (one, other) = (sealed(), sealed());
    let nonce = |sealed: &Sealed| sealed.0[HEAD - NONCE_LEN..HEAD].to_vec();
    assert_ne!(nonce(&one), nonce(&other));
    assert_ne!(one.0[HEAD..], other.0[HEAD..]);
    let text = password().expose_secret().as_bytes().to_vec();
    assert!(!one.0.windows(4).any(|part| text.windows(4).any(|own| own == part)));
}

#[test]
fn under_another_secret_nothing_opens_and_the_key_is_named_as_the_cause() {
    let error = Sealer::new(&[2; 32]).open(CLUSTER, ACCOUNT, &sealed()).unwrap_err();
    assert!(matches!(error, SealError::OtherKey { account: ACCOUNT }), "{error:?}");
    assert!(error.hint().contains("secret.key"));
    assert!(!error.is_transient());
}

#[test]
fn a_row_that_was_moved_does_not_open() {
    for (cluster_id, account) in [(Uuid::from_u128(8), ACCOUNT), (CLUSTER, Account::AhvAdmin)] {
        let error = sealer().open(cluster_id, account, &sealed()).unwrap_err();
        assert!(matches!(error, SealError::Changed { .. }), "{error:?}");
    }
}

#[test]
fn whatever_byte_is_changed_or_missing_it_does_not_open() {
    let whole = sealed();
    for at in 0..whole.0.len() {
        let mut edited = whole.clone();
        edited.0[at] ^= 1;
        let error = sealer().open(CLUSTER, ACCOUNT, &edited).unwrap_err();
        let as_expected = match at {
            0 => matches!(error, SealError::Unknown { .. }),
            1..=KEY_NAME_LEN => matches!(error, SealError::OtherKey { .. }),
            _ => matches!(error, SealError::Changed { .. }),
        };
        assert!(as_expected, "{at}: {error:?}");
        assert!(!error.hint().is_empty() && !error.is_transient());
        let cut = Sealed(whole.0[..at].to_vec());
        assert!(sealer().open(CLUSTER, ACCOUNT, &cut).is_err(), "{at}");
    }
}

#[test]
fn neither_sealer_nor_sealed_nor_an_error_shows_anything() {
    let error = sealer().open(CLUSTER, Account::AhvRoot, &sealed()).unwrap_err();
    let shown = format!("{:?} {:?} {error}", sealer(), sealed());
    assert_eq!(
        shown,
        "Sealer(..) Sealed(..) the sealed password of ahv_root was changed, or belongs to another cluster or account"
    );
}
