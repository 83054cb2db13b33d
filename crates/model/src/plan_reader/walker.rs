//! Takes keys out of tables and collects a fault for each that can't be taken. Knows nothing of what a plan means.

use super::tree::{Entry, Located, Value, key_path};
use crate::{
    PlanFault,
    plan_rules::words::{self, Complaint, nearest},
};
use std::{collections::HashSet, fmt::Debug, hash::Hash, net::Ipv4Addr, ops::RangeInclusive};

/// What became of a key.
#[derive(Clone)]
pub(super) enum Field<T> {
    /// Not there, or `null`.
    Absent,
    /// There and faulty; the fault is told.
    Bad,
    /// There and good.
    Good(T),
}

impl<T> Field<T> {
    pub fn good(self) -> Option<T> {
        match self {
            Field::Good(value) => Some(value),
            Field::Absent | Field::Bad => None,
        }
    }

    /// The default stands in for an absent key, never for a faulty one.
    pub fn or(self, default: T) -> Option<T> {
        match self {
            Field::Absent => Some(default),
            Field::Bad => None,
            Field::Good(value) => Some(value),
        }
    }

    pub fn or_field(self, other: &Field<T>) -> Field<T>
    where
        T: Clone,
    {
        match self {
            Field::Absent => other.clone(),
            given => given,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }
}

/// A table of the plan with its path.
#[derive(Clone)]
pub(super) struct Table<'t> {
    pub path: String,
    entries: &'t [Entry],
}

impl<'t> Table<'t> {
    pub fn key(&self, key: &str) -> String {
        key_path(&self.path, key)
    }

    /// The value of a key; `null` counts as not there.
    pub fn get(&self, key: &str) -> Option<&'t Located> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.value.value, Value::Null)).then_some(&entry.value)
    }
}

/// Which keys a kind of table takes, and what people write for them.
pub(super) struct Section {
    /// How messages call it.
    pub name: &'static str,
    pub keys: &'static [&'static str],
}

/// Longest list of a plan besides its nodes.
const MAX_ITEMS: usize = 64;

/// Collects faults while keys are taken.
#[derive(Default)]
pub(super) struct Walker {
    pub faults: Vec<PlanFault>,
}

impl Walker {
    pub fn fault(&mut self, fault: PlanFault) {
        self.faults.push(fault);
    }

    pub fn missing(&mut self, path: String, example: &str) {
        self.fault(PlanFault::error("missing_key", path, "is missing", format!("write {example}")));
    }

    fn wrong_type(&mut self, path: &str, found: &Value, expected: &str) {
        let why = format!("{} where {expected} is needed", found.kind());
        let instead = match found {
            Value::Text(text) if expected == "a number" && text.parse::<i64>().is_ok() => {
                format!("write {text} without quotes")
            }
            Value::Text(text) if matches!(text.as_str(), "true" | "false") && expected == "true or false" => {
                format!("write {text} without quotes")
            }
            Value::Text(_) if expected.starts_with("a list") => format!("put it into brackets: [{found:?}]"),
            Value::Integer(_) | Value::Other(..) if expected == "a text" => {
                format!("put it into quotes: \"{found:?}\"")
            }
            _ => format!("write {expected}"),
        };
        self.fault(PlanFault::error("wrong_type", path, why, crate::plan_fault::shorten(&instead)).with_value(found));
    }

    fn complain(&mut self, path: &str, value: &Value, complaint: Complaint) {
        let Complaint { code, why, instead } = complaint;
        self.fault(PlanFault::error(code, path, why, instead).with_value(value));
    }

    /// The table at `path`; its unknown and repeated keys are told at once.
    pub fn table<'t>(
        &mut self,
        at: &'t Located,
        path: String,
        section: &Section,
        others: &[&Section],
    ) -> Option<Table<'t>> {
        let Value::Table(entries) = &at.value else {
            self.wrong_type(&path, &at.value, "a table");
            return None;
        };
        let mut seen = HashSet::new();
        for entry in entries {
            let place = key_path(&path, &entry.key);
            if !section.keys.contains(&entry.key.as_str()) {
                let instead = instead_of(&entry.key, section, others);
                self.fault(PlanFault::error(
                    "unknown_key",
                    place,
                    format!("{} has no such key", section.name),
                    instead,
                ));
            } else if !seen.insert(entry.key.as_str()) {
                let instead = "keep one of them";
                self.fault(PlanFault::error("duplicate_key", place, "the key stands twice in the same table", instead));
            }
        }
        Some(Table { path, entries })
    }

    /// A text that `check` finds no fault with.
    pub fn text(&mut self, table: &Table<'_>, key: &str, check: fn(&str) -> Result<(), Complaint>) -> Field<String> {
        self.read(table, key, |walker, path, at| walker.text_item(path, at, check))
    }

    pub fn text_item(&mut self, path: &str, at: &Located, check: fn(&str) -> Result<(), Complaint>) -> Option<String> {
        let Value::Text(text) = &at.value else {
            self.wrong_type(path, &at.value, "a text");
            return None;
        };
        match check(text) {
            Ok(()) => Some(text.clone()),
            Err(complaint) => {
                self.complain(path, &at.value, complaint);
                None
            }
        }
    }

    pub fn address(&mut self, table: &Table<'_>, key: &str) -> Field<Ipv4Addr> {
        self.read(table, key, Self::address_item)
    }

    pub fn address_item(&mut self, path: &str, at: &Located) -> Option<Ipv4Addr> {
        let text = self.text_item(path, at, |_| Ok(()))?;
        words::address(&text).map_err(|complaint| self.complain(path, &at.value, complaint)).ok()
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, table: &Table<'_>, key: &str, range: RangeInclusive<u64>) -> Field<u64> {
        self.read(table, key, |walker, path, at| {
            let Value::Integer(number) = at.value else {
                walker.wrong_type(path, &at.value, "a number");
                return None;
            };
            let inside = u64::try_from(number).ok().filter(|number| range.contains(number));
            if inside.is_none() {
                let (low, high) = (range.start(), range.end());
                let why = format!("not within {low} to {high}");
                let instead = format!("write a whole number from {low} to {high}");
                walker.fault(PlanFault::error("out_of_range", path, why, instead).with_value(number));
            }
            inside
        })
    }

    pub fn boolean(&mut self, table: &Table<'_>, key: &str) -> Field<bool> {
        self.read(table, key, |walker, path, at| match at.value {
            Value::Boolean(boolean) => Some(boolean),
            _ => {
                walker.wrong_type(path, &at.value, "true or false");
                None
            }
        })
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, table: &Table<'_>, key: &str, words: &[(&str, T)]) -> Field<T> {
        self.read(table, key, |walker, path, at| {
            let text = walker.text_item(path, at, |_| Ok(()))?;
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
            if found.is_none() {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let list = known.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
                let instead = match nearest(&text, &known) {
                    Some(word) => format!("did you mean {word:?}? ({list})"),
                    None => format!("write one of {list}"),
                };
                walker.fault(
                    PlanFault::error("unknown_word", path, "not a word of this key", instead).with_value(&at.value),
                );
            }
            found
        })
    }

    /// A list; faulty when one of its items is.
    pub fn list<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        mut item: impl FnMut(&mut Self, &str, &Located) -> Option<T>,
    ) -> Field<Vec<T>> {
        self.read(table, key, |walker, path, at| {
            let Value::List(items) = &at.value else {
                walker.wrong_type(path, &at.value, "a list");
                return None;
            };
            if items.len() > MAX_ITEMS {
                let why = format!("{} entries", items.len());
                walker.fault(PlanFault::error("list_too_long", path, why, format!("list {MAX_ITEMS} at most")));
                return None;
            }
            let read: Vec<Option<T>> =
                items.iter().enumerate().map(|(index, at)| item(walker, &format!("{path}[{index}]"), at)).collect();
            read.into_iter().collect()
        })
    }

    /// A list in which nothing may stand twice.
    pub fn set<T: Eq + Hash + Debug + Clone>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        item: impl FnMut(&mut Self, &str, &Located) -> Option<T>,
    ) -> Field<Vec<T>> {
        let list = self.list(table, key, item);
        if let Field::Good(items) = &list {
            let path = table.key(key);
            let claims: Vec<(String, T)> =
                items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item.clone())).collect();
            self.faults.extend(crate::plan_rules::check_unique(&claims, "entry of the list"));
        }
        list
    }

    fn read<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &str, &Located) -> Option<T>,
    ) -> Field<T> {
        match table.get(key) {
            None => Field::Absent,
            Some(at) => read(self, &table.key(key), at).map_or(Field::Bad, Field::Good),
        }
    }
}

/// Words that people bring along, mostly from the cloud's and Nutanix' own requests.
const ALIASES: &[(&str, &str)] = &[
    ("vip", "external_ip"),
    ("cluster_external_ip", "external_ip"),
    ("cluster_name", "name"),
    ("rf", "redundancy_factor"),
    ("dns", "dns_servers"),
    ("ntp", "ntp_servers"),
    ("ip", "mgmt_ip"),
    ("management_ip", "mgmt_ip"),
    ("hypervisor_ip", "ahv_ip"),
    ("svm_ip", "cvm_ip"),
    ("hostname", "server_name"),
    ("name", "server_name"),
    ("vpc_id", "vpc"),
    ("subnet_id", "subnet"),
    ("zone_name", "zone"),
    ("keys", "ssh_keys"),
    ("drives", "data_drives"),
    ("data_devices", "data_drives"),
];

fn instead_of(key: &str, section: &Section, others: &[&Section]) -> String {
    let alias =
        ALIASES.iter().find(|(alias, meant)| *alias == key && section.keys.contains(meant)).map(|(_, meant)| *meant);
    if let Some(meant) = alias.or_else(|| nearest(key, section.keys)) {
        return format!("did you mean `{meant}`?");
    }
    match others.iter().find(|other| other.keys.contains(&key)) {
        Some(other) => format!("move it into {}", other.name),
        None => format!("leave it out, or write one of {}", section.keys.join(", ")),
    }
}
