//! As much of a browser as a login takes: cookies by origin, redirects one at a time, forms.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use url::Url;

const SESSION: &str = "__Host-metalform";

#[derive(Clone)]
pub struct Browser {
    client: reqwest::Client,
    /// By origin: other than a real one, cookies of two ports of one host don't meet here.
    cookies: HashMap<String, BTreeMap<String, String>>,
}

pub struct Page {
    pub url: Url,
    pub status: u16,
    pub location: Option<Url>,
    /// The cookies that it sets, as they are written.
    pub cookies: Vec<String>,
    pub text: String,
}

impl Page {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// The value of an attribute in a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
    Some(value.replace("&amp;", "&"))
}

impl Browser {
    pub fn new(client: reqwest::Client) -> Browser {
        Browser { client, cookies: HashMap::new() }
    }

    pub async fn get(&mut self, url: &Url) -> Page {
        self.send(self.client.get(url.clone()).header("accept", "text/html"), url).await
    }

    /// Follows a link of another site: what is `SameSite=Strict` isn't shown.
    pub async fn get_from_elsewhere(&mut self, url: &Url) -> Page {
        let request = self.client.get(url.clone()).header("accept", "text/html");
        let request = request.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        let jar = self.cookies.entry(url.origin().ascii_serialization()).or_default();
        let strict = jar.remove(SESSION);
        let page = self.send(request.header("sec-fetch-user", "?1"), url).await;
        if let Some(strict) = strict {
            self.cookies.entry(url.origin().ascii_serialization()).or_default().entry(SESSION.into()).or_insert(strict);
        }
        page
    }

    /// A browser in which the session is open that is open in this one, and nothing else.
    pub fn with_the_same_session(&self, url: &Url) -> Browser {
        let mut other = Browser::new(self.client.clone());
        let origin = url.origin().ascii_serialization();
        let session = self.cookies[&origin][SESSION].clone();
        other.cookies.entry(origin).or_default().insert(SESSION.into(), session);
        other
    }

    pub async fn delete(&mut self, url: &Url, csrf: &str) -> Page {
        self.send(self.client.delete(url.clone()).header("x-csrf-token", csrf), url).await
    }

    /// Sends the form of a page: what is hidden in it, and what is typed.
    pub async fn submit(&mut self, page: &Page, typed: &[(&str, &str)]) -> Page {
        let form = page.text.split_once("<form").unwrap_or_else(|| panic!("no form at {}: {}", page.url, page.text)).1;
        let form = form.split_once("</form>").expect("the form ends").0;
        let (head, inside) = form.split_once('>').expect("the form begins");
        let action = page.url.join(&attribute(head, "action").unwrap_or_default()).unwrap();
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        for input in inside.split("<input").skip(1) {
            let tag = input.split_once('>').expect("the input ends").0;
            let Some(name) = attribute(tag, "name") else { continue };
            let typed = typed.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
            body.append_pair(&name, &typed.or_else(|| attribute(tag, "value")).unwrap_or_default());
        }
        let request = self.client.post(action.clone()).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(body.finish()), &action).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder, url: &Url) -> Page {
        let jar = self.cookies.entry(url.origin().ascii_serialization()).or_default();
        let shown: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if shown.is_empty() { request } else { request.header("cookie", shown.join("; ")) };
        let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.to_lowercase().contains("max-age=0") || value.is_empty() {
                true => jar.remove(name),
                false => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        let status = response.status().as_u16();
        let location = response.headers().get("location").map(|to| url.join(to.to_str().unwrap()).unwrap());
        let cookies = response.headers().get_all("set-cookie").iter();
        let cookies = cookies.map(|line| line.to_str().unwrap().to_owned()).collect();
        let url = url.clone();
        Page { url, status, location, cookies, text: response.text().await.unwrap() }
    }
}
