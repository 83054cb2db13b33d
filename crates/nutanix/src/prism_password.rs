//! Changes of Prism's password. The first one, away from the default, is `POST v1/utils/change_default_system_password`, as
//! six published clients make it (among them zerotouch-framework, which afterwards waits 30 s for the nodes to take it
//! over); later ones are `PUT v1/users/change_password` (yuichi110/nutanix_japan_poc_mgmt), with the same body.

use crate::{Error, ErrorKind, Method, Operation, PinRule, PrismClient, excerpt};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const FIRST: &str = "/PrismGateway/services/rest/v1/utils/change_default_system_password";
const LATER: &str = "/PrismGateway/services/rest/v1/users/change_password";

impl PrismClient {
    /// Changes the password of the account that this client logs in with. `is_default`: whether that is one that the account
    /// was born with; which call a release takes for a password that was seeded isn't published, so the other one is made
    /// where the first is refused. `Ok`: taken, and known to every node some seconds later. An error whose answer is missing
    /// may mean that it was taken all the same.
    pub async fn change_password(
        &self,
        address: Ipv4Addr,
        pin: PinRule,
        is_default: bool,
        new: &SecretString,
    ) -> Result<(), Error> {
        let calls = [(Method::Post, FIRST), (Method::Put, LATER)];
        let [(method, path), other] = if is_default { calls } else { [calls[1], calls[0]] };
        match self.change_by(method, path, address, pin.clone(), new).await {
            Err(error) if matches!(*error.kind, ErrorKind::Rejected(_)) => {
                // What the first one said is what went wrong, if the other one doesn't help either.
                self.change_by(other.0, other.1, address, pin, new).await.map_err(|_| error)
            }
            outcome => outcome,
        }
    }

    async fn change_by(
        &self,
        method: Method,
        path: &str,
        address: Ipv4Addr,
        pin: PinRule,
        new: &SecretString,
    ) -> Result<(), Error> {
        let operation = Operation::ChangePassword;
        let body = json!({"oldPassword": self.password().expose_secret(), "newPassword": new.expose_secret()});
        let answer = self.write(operation, method, path, address, pin, body).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        // The family's answer is `{"value": true}`; some releases are said to give it as a text.
        if said["value"] == true || said["value"].as_str().is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Ok(());
        }
        let kind = ErrorKind::Protocol { status: answer.status, excerpt: excerpt::of_body(&answer.body), cause: None };
        Err(Error::answered(operation, (address, self.port()), Some(answer.fingerprint), kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{CVM, Scripted};

    const BASE: &str = "https://10.240.0.11:9440/PrismGateway/services/rest/v1";

    #[tokio::test]
    async fn the_change_is_asked_for_with_old_and_new_and_only_a_plain_yes_counts() {
        for (body, ok) in
            [(r#"{"value":true}"#, true), (r#"{"value":"True"}"#, true), (r#"{"value":false}"#, false), ("", false)]
        {
            let transport = Scripted::answering([Ok((200, body))]);
            let client = PrismClient::new(transport.clone(), Default::default());
            let outcome = client.change_password(CVM, PinRule::TrustFirst, true, &"New.pass-1".into()).await;
            assert_eq!(outcome.is_ok(), ok, "{body}");
            let asked = &transport.asked()[0];
            assert_eq!(asked["request"], format!("POST {BASE}/utils/change_default_system_password"));
            assert_eq!(asked["body"], json!({"oldPassword": "admin", "newPassword": "New.pass-1"}));
        }
    }

    #[tokio::test]
    async fn a_password_that_is_no_default_is_changed_by_the_later_call_and_a_refusal_tries_the_other() {
        let no = r#"{"message":"The default password has been changed already."}"#;
        let transport = Scripted::answering([Ok((404, no)), Ok((200, r#"{"value":true}"#))]);
        let client = PrismClient::new(transport.clone(), Default::default());
        client.change_password(CVM, PinRule::TrustFirst, false, &"New.pass-1".into()).await.unwrap();
        let asked: Vec<_> = transport.asked().iter().map(|asked| asked["request"].clone()).collect();
        assert_eq!(
            asked,
            [format!("PUT {BASE}/users/change_password"), format!("POST {BASE}/utils/change_default_system_password")]
        );
    }

    #[tokio::test]
    async fn a_refused_login_is_not_repeated_with_the_other_call() {
        let transport = Scripted::answering([Ok((401, "no"))]);
        let client = PrismClient::new(transport.clone(), Default::default());
        let error = client.change_password(CVM, PinRule::TrustFirst, true, &"New.pass-1".into()).await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::Unauthorized));
        assert_eq!(transport.asked().len(), 1);
    }
}
