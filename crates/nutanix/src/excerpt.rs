//! A few words of an answer, fit for a timeline and a log: one line, short, without control characters, and without
//! password hashes. Cluster creation prints one: "Will seed prism with password hash $6$…", seen in a published
//! transcript of a three-node CE cluster create.

const MAX_CHARS: usize = 300;

/// crypt(5) prefixes of password hashes: MD5, bcrypt, SHA-256, SHA-512, scrypt, yescrypt.
const HASH_PREFIXES: [&str; 9] = ["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$gy$", "$y$"];

/// The beginning of a body.
pub(crate) fn of_body(body: &[u8]) -> String {
    of_text(&String::from_utf8_lossy(body))
}

/// The beginning of a text.
pub(crate) fn of_text(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    // Hashes go before the cut: half of one must not be what is left.
    let line = without_hashes(&words.join(" "));
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn without_hashes(text: &str) -> String {
    hashes_replaced(text, |_| "[hash hidden]".to_owned())
}

/// The text with an asterisk for each character of a hash: as long as it was. Its mark goes too, so that whoever looks for
/// hashes by it finds none.
pub(crate) fn starred(text: &str) -> String {
    hashes_replaced(text, |hash| "*".repeat(hash.len()))
}

fn hashes_replaced(text: &str, replacement: impl Fn(&str) -> String) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some((at, prefix)) = HASH_PREFIXES.iter().filter_map(|p| Some((rest.find(p)?, *p))).min() {
        clean.push_str(&rest[..at]);
        let after = &rest[at..];
        let is_of_hash = |c: char| c.is_ascii_alphanumeric() || "./$=-+".contains(c);
        let end = after[prefix.len()..].find(|c| !is_of_hash(c)).map_or(after.len(), |end| prefix.len() + end);
        let (hash, others) = after.split_at(end);
        clean.push_str(&replacement(hash));
        rest = others;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_hash_is_hidden_wherever_it_stands() {
        let hash = "$6$rounds=5000$Ab.c/12$".to_owned() + &"x".repeat(86);
        for (text, clean) in [
            (format!("Will seed prism with password hash {hash}"), "Will seed prism with password hash [hash hidden]"),
            (format!(r#"{{"a":"{hash}","b":1}}"#), r#"{"a":"[hash hidden]","b":1}"#),
            (format!("{hash} and $y$j9T$abc and more"), "[hash hidden] and [hash hidden] and more"),
        ] {
            assert_eq!(of_text(&text), clean);
        }
    }

    #[test]
    fn a_hash_across_the_cut_leaves_nothing_behind() {
        let text = "a".repeat(MAX_CHARS - 5) + "$6$salt$secret";
        assert_eq!(of_text(&text), "a".repeat(MAX_CHARS - 5) + "[hash…");
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(of_body(b"<html>\r\n\t<b>\x1b[31mStarting\xff</b>\n"), "<html> <b> [31mStarting\u{fffd}</b>");
        assert_eq!(of_text("price $5 and $6"), "price $5 and $6");
        assert_eq!(of_text(&"é".repeat(1000)).chars().count(), MAX_CHARS + 1);
    }
}
