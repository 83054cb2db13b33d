//! A TOML or a JSON document as one tree of values that know where they stand. One walker then serves both formats.
//!
//! JSON goes through an own visitor instead of `serde_json::Value`: that would keep the last of two equal keys in
//! silence and forget the order of keys.

use crate::{Place, PlanFault};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{cell::Cell, collections::BTreeMap, fmt};
use toml::{Spanned, de::DeValue};

/// A value and its place in reading order: the byte offset in TOML, a running number in JSON.
pub(super) struct Located {
    order: usize,
    pub value: Value,
}

pub(super) enum Value {
    /// JSON's `null`; read as "not there".
    Null,
    Boolean(bool),
    Integer(i128),
    /// A kind of value no key of a plan takes: fractions, dates.
    Other(&'static str, String),
    Text(String),
    List(Vec<Located>),
    Table(Vec<Entry>),
}

pub(super) struct Entry {
    pub key: String,
    order: usize,
    pub value: Located,
}

impl Value {
    /// How a person calls such a value.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "true or false",
            Value::Integer(_) => "a number",
            Value::Other(kind, _) => kind,
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// As a plan would write it, for messages. Lists and tables only hinted at.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Integer(i) => write!(f, "{i}"),
            Value::Other(_, text) => f.write_str(text),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(items) if items.is_empty() => f.write_str("[]"),
            Value::List(_) => f.write_str("[…]"),
            Value::Table(_) => f.write_str("{…}"),
        }
    }
}

/// Reads TOML. A document that is none is one fault with line and column.
pub(super) fn parse_toml(text: &str) -> Result<Located, Box<PlanFault>> {
    let table = toml::de::DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(text.len(), |span| span.start).min(text.len());
        let before = &text.as_bytes()[..offset];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        syntax("TOML", line, column, error.message())
    })?;
    Ok(Located { order: 0, value: from_toml(DeValue::Table(table.into_inner())) })
}

fn from_toml(value: DeValue<'_>) -> Value {
    let locate = |item: Spanned<DeValue<'_>>| Located { order: item.span().start, value: from_toml(item.into_inner()) };
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(digits) => match i128::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("a number beyond all measure", digits.to_string()),
        },
        DeValue::Float(float) => Value::Other("a number with a fraction", float.as_str().to_owned()),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(date) => Value::Other("a date or time", date.to_string()),
        DeValue::Array(items) => Value::List(items.into_iter().map(locate).collect()),
        DeValue::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| Entry {
                    order: key.span().start,
                    key: key.into_inner().into_owned(),
                    value: locate(value),
                })
                .collect(),
        ),
    }
}

/// Reads JSON. A document that is none is one fault with line and column.
pub(super) fn parse_json(text: &str) -> Result<Located, Box<PlanFault>> {
    let counter = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tree = FromJson(&counter).deserialize(&mut deserializer);
    tree.and_then(|tree| deserializer.end().map(|()| tree)).map_err(|error| {
        let (line, column, told) = (error.line().max(1), error.column().max(1), error.to_string());
        let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(message, _)| message);
        syntax("JSON", line, column, told)
    })
}

fn syntax(format: &str, line: usize, column: usize, told: &str) -> Box<PlanFault> {
    let told = told.lines().next().unwrap_or_default();
    let why = format!("not {format}: {told}");
    let instead =
        format!("mend the {format} at this place; the plan's keys are looked at once the document can be read");
    Box::new(PlanFault { place: Place::Position(line, column), ..PlanFault::error("syntax", "", why, instead) })
}

#[derive(Clone, Copy)]
struct FromJson<'c>(&'c Cell<usize>);

impl FromJson<'_> {
    fn next(self) -> usize {
        self.0.replace(self.0.get() + 1)
    }
}

impl<'de> DeserializeSeed<'de> for FromJson<'_> {
    type Value = Located;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Located, D::Error> {
        let order = self.next();
        Ok(Located { order, value: deserializer.deserialize_any(self)? })
    }
}

impl<'de> Visitor<'de> for FromJson<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, boolean: bool) -> Result<Value, E> {
        Ok(Value::Boolean(boolean))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Other("a number with a fraction", number.to_string()))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            entries.push(Entry { key, order: self.next(), value: map.next_value_seed(self)? });
        }
        Ok(Value::Table(entries))
    }
}

/// A place in the plan, in both spellings.
#[derive(Clone, Default)]
struct Step {
    path: String,
    pointer: String,
}

/// A key below `path`, as paths spell it: bare where it can be, else quoted, escaped and shortened.
pub(super) fn key_path(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.len() <= 60 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { crate::plan_fault::shorten(&format!("{key:?}")) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Where each path stands in the text.
#[derive(Debug, Clone)]
pub(super) struct Places(BTreeMap<String, (usize, Place)>);

impl Places {
    /// The plan's own depth: `nodes[0].data_drives[0].min_gb`. What lies deeper, or beyond the longest list, is a fault
    /// already, which is told of the place above it. So a hostile document can't make this map much larger than itself.
    const DEPTH: usize = 5;
    const WIDTH: usize = 100;

    pub fn of(tree: &Located, toml: Option<&str>) -> Places {
        let lines: Option<Vec<usize>> = toml.map(|text| text.match_indices('\n').map(|(at, _)| at).collect());
        let mut places = Places(BTreeMap::new());
        places.enter(tree, Step::default(), tree.order, lines.as_deref(), 0);
        places
    }

    fn enter(&mut self, at: &Located, step: Step, order: usize, lines: Option<&[usize]>, depth: usize) {
        let place = match lines {
            Some(lines) => Place::Line(lines.partition_point(|newline| *newline < order) + 1),
            None => Place::Pointer(step.pointer.clone()),
        };
        self.0.entry(step.path.clone()).or_insert((order, place));
        if depth == Self::DEPTH {
            return;
        }
        match &at.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate().take(Self::WIDTH) {
                    let step =
                        Step { path: format!("{}[{index}]", step.path), pointer: format!("{}/{index}", step.pointer) };
                    self.enter(item, step, item.order, lines, depth + 1);
                }
            }
            Value::Table(entries) => {
                for entry in entries.iter().filter(|e| e.key.len() <= 60).take(Self::WIDTH) {
                    let escaped = entry.key.replace('~', "~0").replace('/', "~1");
                    let path = key_path(&step.path, &entry.key);
                    let step = Step { path, pointer: format!("{}/{escaped}", step.pointer) };
                    self.enter(&entry.value, step, entry.order, lines, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// Reading order and place of a path; of the nearest one above it that stands in the text, when it doesn't itself.
    pub fn find(&self, path: &str) -> (usize, Place) {
        let mut path = path;
        loop {
            if let Some(found) = self.0.get(path) {
                return found.clone();
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None if path.is_empty() => return (0, Place::Path),
                None => path = "",
            }
        }
    }
}
