//! Words to arguments: substitution, then splitting of what was not quoted.

use super::{
    syntax::{Piece, Refused, Word},
    task::{Cx, Task},
};

pub fn expand(task: &mut Task, cx: &mut Cx<'_>, words: &[Word]) -> Result<Vec<String>, Refused> {
    let mut arguments = Vec::new();
    for word in words {
        let mut open: Option<String> = None;
        for piece in word {
            let (text, is_quoted) = match piece {
                Piece::Plain(text) | Piece::Quoted(text) => (text.clone(), true),
                Piece::Status => (task.status.to_string(), true),
                Piece::Background => (task.background.map(|pid| pid.to_string()).unwrap_or_default(), false),
                Piece::Output(list, is_quoted) => {
                    let (text, status) = task.output_of(cx, list)?;
                    task.status = status;
                    (text, *is_quoted)
                }
            };
            if is_quoted {
                open.get_or_insert_default().push_str(&text);
                continue;
            }
            for (index, part) in text.split_whitespace().enumerate() {
                if index > 0 || text.starts_with(char::is_whitespace) {
                    arguments.extend(open.take());
                }
                open.get_or_insert_default().push_str(part);
            }
        }
        arguments.extend(open);
    }
    Ok(arguments)
}
