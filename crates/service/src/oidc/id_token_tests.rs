use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const EXPECTED: Expected<'_> = Expected { issuer: "https://id.example.com", client_id: "metalform", nonce: "n-1" };

struct Signer {
    pair: KeyPair,
    kid: &'static str,
}

impl Signer {
    fn new(kid: &'static str) -> Signer {
        Signer { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid }
    }

    /// An uncompressed point: 4, x, y.
    fn jwk(&self) -> Value {
        let (x, y) = self.pair.der_bytes()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256", "x": x, "y": y})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &EncodingKey::from_ec_der(&self.pair.serialize_der())).unwrap()
    }
}

fn keys(jwks: &[Value]) -> JwkSet {
    serde_json::from_value(json!({"keys": jwks})).unwrap()
}

fn claims(change: Value) -> Value {
    let now = NOW.seconds();
    let mut claims = json!({"iss": "https://id.example.com", "aud": "metalform", "sub": "7", "nonce": "n-1", "iat": now,
        "exp": now + 300, "groups": ["ops"]});
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[test]
fn a_token_of_the_provider_for_us_and_for_this_login_is_believed() {
    let signer = Signer::new("1");
    let set = keys(&[Signer::new("0").jwk(), signer.jwk()]);
    for change in [
        json!({}),
        json!({"aud": ["metalform"]}),
        json!({"aud": ["metalform", "other"], "azp": "metalform"}),
        json!({"azp": "metalform"}),
        json!({"exp": NOW.seconds() - 59}),
        json!({"iat": NOW.seconds() + 59}),
        json!({"exp": NOW.seconds() as f64 + 0.5}),
    ] {
        let wanted = claims(change);
        let believed = check(&signer.sign(&wanted), &set, EXPECTED, NOW).unwrap();
        assert_eq!(Value::Object(believed.0), wanted);
    }
}

#[test]
fn a_token_of_another_login_client_provider_or_time_is_refused() {
    let signer = Signer::new("1");
    let set = keys(&[signer.jwk()]);
    let now = NOW.seconds();
    for (change, fault) in [
        (json!({"nonce": "n-2"}), "its claim nonce is missing or wrong"),
        (json!({"nonce": null}), "its claim nonce is missing or wrong"),
        (json!({"aud": "other"}), "its signature, issuer or audience is wrong"),
        (json!({"aud": null}), "its signature, issuer or audience is wrong"),
        (json!({"aud": []}), "its signature, issuer or audience is wrong"),
        (json!({"aud": ["metalform", "other"]}), "its claim azp is missing or wrong"),
        (json!({"azp": "other"}), "its claim azp is missing or wrong"),
        (json!({"azp": 7}), "its claim azp is missing or wrong"),
        (json!({"iss": "https://id.example.com/"}), "its signature, issuer or audience is wrong"),
        (json!({"iss": null}), "its signature, issuer or audience is wrong"),
        (json!({"sub": ""}), "its claim sub is missing or wrong"),
        (json!({"sub": "x".repeat(256)}), "its claim sub is missing or wrong"),
        (json!({"exp": now - 60}), "it doesn't hold at this time"),
        (json!({"exp": null}), "its claim exp is missing or wrong"),
        (json!({"exp": "never"}), "its claim exp is missing or wrong"),
        (json!({"iat": null}), "its claim iat is missing or wrong"),
        (json!({"iat": now + 61}), "it doesn't hold at this time"),
        (json!({"iat": now - 901}), "it doesn't hold at this time"),
        (json!({"nbf": now + 61}), "it doesn't hold at this time"),
    ] {
        let error = check(&signer.sign(&claims(change.clone())), &set, EXPECTED, NOW).unwrap_err();
        assert_eq!(error.to_string(), fault, "{change}");
    }
}

#[test]
fn a_token_that_the_provider_did_not_sign_is_refused() {
    let (signer, stranger) = (Signer::new("1"), Signer::new("1"));
    let set = keys(&[signer.jwk()]);
    let fault = |token: &str| check(token, &set, EXPECTED, NOW).unwrap_err();
    assert!(matches!(fault(&stranger.sign(&claims(json!({})))), IdTokenFault::Wrong(_)));
    assert!(matches!(fault(&Signer::new("2").sign(&claims(json!({})))), IdTokenFault::UnknownKey));
    let token = signer.sign(&claims(json!({})));
    let [header, body, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims(json!({"groups": ["root"]})).to_string());
    assert!(matches!(fault(&format!("{header}.{other}.{signature}")), IdTokenFault::Wrong(_)));
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"1"}"#);
    for text in [
        "",
        "a.b.c",
        header,
        &format!("{header}.{body}"),
        &format!("{none}.{body}."),
        &format!("{none}.{body}.{signature}"),
    ] {
        assert!(matches!(fault(text), IdTokenFault::Form(_)), "{text}");
    }
}

/// With the public key as if it were a shared secret: everybody has it.
#[test]
fn a_token_that_is_signed_with_the_public_key_is_refused() {
    let signer = Signer::new("1");
    let secret = serde_json::to_vec(&signer.jwk()).unwrap();
    let symmetric = json!({"kty": "oct", "kid": "1", "k": URL_SAFE_NO_PAD.encode(&secret)});
    let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &claims(json!({})), &EncodingKey::from_secret(&secret)).unwrap();
    for set in [vec![signer.jwk()], vec![symmetric.clone()], vec![symmetric, signer.jwk()]].map(|all| keys(&all)) {
        let error = check(&token, &set, EXPECTED, NOW).unwrap_err();
        assert!(matches!(&error, IdTokenFault::Algorithm(name) if name == "HS256"), "{error:?}");
    }
    // A key of another family isn't tried.
    let rsa = json!({"kty": "RSA", "kid": "1", "n": URL_SAFE_NO_PAD.encode([0xab; 256]), "e": "AQAB"});
    let error = check(&signer.sign(&claims(json!({}))), &keys(&[rsa]), EXPECTED, NOW).unwrap_err();
    assert!(matches!(error, IdTokenFault::UnknownKey), "{error:?}");
}
