//! Reading a request body strictly: unknown, missing and mistyped fields are refused by name. A simulator that shrugs
//! at a misspelled field would let a client's mistake through to the real cloud, which may shrug too and do less.

use super::{error::ApiError, identity::Identity};
use serde_json::{Map, Value};

pub(super) type Refused<T> = Result<T, ApiError>;

/// An object of the body and where it stands.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    at: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn of(value: &'a Value, at: impl Into<String>, known: &[&str]) -> Refused<Self> {
        let at = at.into();
        let Value::Object(map) = value else { return Err(ApiError::invalid(at, "must be an object")) };
        let fields = Fields { at, map };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::unknown_field(fields.path(key))),
            None => Ok(fields),
        }
    }

    pub fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.into() } else { format!("{}.{name}", self.at) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    pub fn require(&self, name: &str) -> Refused<&'a Value> {
        self.get(name).ok_or_else(|| ApiError::missing(self.path(name)))
    }

    fn typed<T>(&self, name: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Refused<Option<T>> {
        let wrong = || ApiError::invalid(self.path(name), format!("must be {kind}"));
        self.get(name).map(|value| read(value).ok_or_else(wrong)).transpose()
    }

    pub fn text(&self, name: &str) -> Refused<Option<&'a str>> {
        self.typed(name, "a string", Value::as_str)
    }

    pub fn flag(&self, name: &str) -> Refused<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub fn number(&self, name: &str) -> Refused<Option<u64>> {
        self.typed(name, "a whole number", Value::as_u64)
    }

    pub fn list(&self, name: &str) -> Refused<Option<&'a Vec<Value>>> {
        self.typed(name, "an array", Value::as_array)
    }

    pub fn choice(&self, name: &str, among: &[&str]) -> Refused<Option<&'a str>> {
        match self.text(name)? {
            Some(text) if !among.contains(&text) => {
                Err(ApiError::invalid(self.path(name), format!("must be one of {}", among.join(", "))))
            }
            other => Ok(other),
        }
    }

    pub fn object(&self, name: &str, known: &[&str]) -> Refused<Option<Fields<'a>>> {
        self.get(name).map(|value| Fields::of(value, self.path(name), known)).transpose()
    }

    /// What a reference (`{id}`, `{crn}` or `{href}`) points to.
    pub fn refer<'t, T: AsRef<Identity>>(
        &self,
        name: &str,
        what: &str,
        among: impl IntoIterator<Item = &'t T>,
    ) -> Refused<Option<&'t T>> {
        self.get(name).map(|value| refer(value, &self.path(name), what, among)).transpose()
    }
}

/// What a reference at that place points to: all that it states must fit.
pub(super) fn refer<'t, T: AsRef<Identity>>(
    value: &Value,
    at: &str,
    what: &str,
    among: impl IntoIterator<Item = &'t T>,
) -> Refused<&'t T> {
    let fields = Fields::of(value, at, &["id", "crn", "href"])?;
    let (id, crn, href) = (fields.text("id")?, fields.text("crn")?, fields.text("href")?);
    if id.or(crn).or(href).is_none() {
        return Err(ApiError::missing(fields.path("id")));
    }
    among
        .into_iter()
        .find(|each| {
            let it = (*each).as_ref();
            id.is_none_or(|x| x == it.id) && crn.is_none_or(|x| x == it.crn) && href.is_none_or(|x| x == it.href)
        })
        .ok_or_else(|| ApiError::no_such(what, at))
}
