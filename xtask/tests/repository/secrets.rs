//! What is named like a secret can't be printed by accident.

use super::{files, read};

/// Parts of names of fields that hold secrets.
const SECRETS: [&str; 6] = ["password", "passphrase", "secret", "token", "api_key", "private_key"];
/// Types that are a text or bytes as they are, and print as they are.
const PLAIN: [&str; 4] = ["String", "str", "u8", "OsString"];

/// A field that prints what it holds: file, line, field.
type Printed = (String, usize, String);

/// Rows of types that derive `Debug`. Who has such a field either gives it a type of its own (`SecretString`, `BootToken`, …),
/// or can't be printed at all.
#[test]
fn whatever_is_named_like_a_secret_cannot_be_printed() {
    let mut printed = Vec::new();
    let mut looked_at = 0;
    for path in files() {
        let name = path.display().to_string();
        // The simulated world's passwords are everybody's, and its tests look at them.
        let is_ours = name.starts_with("crates/") && name.contains("/src/") && !name.starts_with("crates/simulator/");
        if is_ours
            && name.ends_with(".rs")
            && !["/tests", "/testing", "tests.rs"].iter().any(|part| name.contains(part))
        {
            looked_at += 1;
            printed.extend(printed_fields(&name, &read(&name)));
        }
    }
    assert!(looked_at > 200, "{looked_at}");
    assert_eq!(printed, [], "give it the type SecretString, or one of your own whose Debug shows nothing");
}

#[test]
fn a_field_that_would_be_printed_is_found() {
    let text = "\
/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    url: Url,
    /// Its token.
    pub token: Option<String>,
    pub token_id: String,
    pub token_file: PathBuf,
    password: SecretString,
    pub(crate) api_key: Vec<u8>,
}

#[derive(Clone)]
struct Silent {
    token: String,
}

fn login(
    password: &str,
) {}

#[derive(
    Debug,
    Clone,
)]
enum Shown {
    Login { user: String, password: String },
    Other {
        secret: &'static str,
    },
}

#[cfg(test)]
mod tests {
    #[derive(Debug)]
    struct Fake {
        token: String,
    }
}
";
    let found: Vec<(usize, String)> =
        printed_fields("x", text).into_iter().map(|(_, line, field)| (line, field)).collect();
    let wanted = [(6, "token"), (10, "api_key"), (27, "password"), (29, "secret")];
    assert_eq!(found, wanted.map(|(line, field)| (line, field.to_owned())));
}

fn printed_fields(file: &str, text: &str) -> Vec<Printed> {
    let mut found = Vec::new();
    // What stands before an item, and how deep that item's own lines are set in, once it is one that prints.
    let (mut attributes, mut inside) = (String::new(), None::<usize>);
    for (number, line) in text.lines().enumerate() {
        let (depth, words) = (line.len() - line.trim_start().len(), line.trim());
        if words == "mod tests {" {
            break;
        }
        if let Some(outer) = inside {
            if depth == outer && words.starts_with('}') {
                inside = None;
            }
            for part in words.split(['{', ',']) {
                let Some((name, kind)) = part.split_once(": ") else { continue };
                let name = name.split_whitespace().last().unwrap_or_default();
                if is_secret(name) && is_plain(kind) && !words.starts_with("//") {
                    found.push((file.to_owned(), number + 1, name.to_owned()));
                }
            }
            continue;
        }
        let is_item =
            words.split_whitespace().any(|word| matches!(word, "struct" | "enum")) && !words.starts_with("//");
        if is_item {
            let prints =
                attributes.contains("derive") && attributes.split(['(', ',', ')']).any(|word| word.trim() == "Debug");
            inside = (prints && words.ends_with('{')).then_some(depth);
            attributes.clear();
        } else if words.is_empty() || words.ends_with([';', '}', '{']) {
            attributes.clear();
        } else if !words.starts_with("//") {
            attributes.push_str(words);
        }
    }
    found
}

/// An id, a file's name or a count of it is none.
fn is_secret(name: &str) -> bool {
    let is_about = ["_id", "_file", "_name", "_hash", "_supported", "s_left"].iter().any(|end| name.ends_with(end));
    !is_about && SECRETS.iter().any(|secret| name.contains(secret))
}

fn is_plain(kind: &str) -> bool {
    let words = kind.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.iter().any(|word| PLAIN.contains(word)) && !kind.contains("PhantomData")
}
