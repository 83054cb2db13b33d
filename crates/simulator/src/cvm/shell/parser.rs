//! Tokens to a script.

use super::{
    lexer::{self, Token},
    syntax::{Command, Item, Junction, List, Pipeline, Redirection, RedirectionKind, Refused, Word},
};
use std::{iter::Peekable, vec::IntoIter};

const RESERVED: [&str; 15] =
    ["if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function", "[["];

pub fn parse(text: &str) -> Result<List, Refused> {
    let mut tokens = lexer::tokens(text)?.into_iter().peekable();
    let list = list(&mut tokens, false)?;
    match tokens.next() {
        None => Ok(list),
        Some(token) => Err(unexpected(Some(&token))),
    }
}

type Tokens = Peekable<IntoIter<Token>>;

fn unexpected(token: Option<&Token>) -> Refused {
    match token {
        None => Refused("a command that does not end".into()),
        Some(Token::Operator(operator)) => Refused(format!("an unexpected {operator}")),
        Some(token) => Refused(format!("an unexpected {}", token.plain().unwrap_or("word"))),
    }
}

fn take(tokens: &mut Tokens, operator: &str) -> bool {
    tokens
        .next_if(|token| {
            *token
                == Token::Operator(match operator {
                    ";" => ";",
                    "&" => "&",
                    "&&" => "&&",
                    "||" => "||",
                    _ => "|",
                })
        })
        .is_some()
}

/// Up to the end, or in a group up to its `}`, which is taken.
fn list(tokens: &mut Tokens, in_group: bool) -> Result<List, Refused> {
    let mut items = List::new();
    loop {
        match tokens.peek() {
            None if in_group => return Err(unexpected(None)),
            None => return Ok(items),
            Some(token) if in_group && token.plain() == Some("}") => {
                tokens.next();
                return if items.is_empty() { Err(Refused("an empty group".into())) } else { Ok(items) };
            }
            Some(_) => {}
        }
        let mut pipelines = vec![(Junction::And, pipeline(tokens)?)];
        loop {
            let junction = if take(tokens, "&&") {
                Junction::And
            } else if take(tokens, "||") {
                Junction::Or
            } else {
                break;
            };
            pipelines.push((junction, pipeline(tokens)?));
        }
        let background = take(tokens, "&");
        if !background && !take(tokens, ";") && tokens.peek().is_some() {
            // What follows without a separator can only be the `}` of a group, and even there it would be an argument.
            return Err(unexpected(tokens.peek()));
        }
        items.push(Item { pipelines, background });
    }
}

fn pipeline(tokens: &mut Tokens) -> Result<Pipeline, Refused> {
    let mut commands = vec![command(tokens)?];
    while take(tokens, "|") {
        commands.push(command(tokens)?);
    }
    Ok(commands)
}

fn command(tokens: &mut Tokens) -> Result<Command, Refused> {
    let first = tokens.peek().and_then(Token::plain);
    if first == Some("{") {
        tokens.next();
        let inner = list(tokens, true)?;
        let (words, redirections) = words(tokens)?;
        return if words.is_empty() {
            Ok(Command::Group(inner, redirections))
        } else {
            Err(Refused("words after }".into()))
        };
    }
    if let Some(word) = first.filter(|word| RESERVED.contains(word) || word.contains('=')) {
        return Err(Refused(word.to_owned()));
    }
    let (words, redirections) = words(tokens)?;
    if words.is_empty() && redirections.is_empty() {
        return Err(unexpected(tokens.peek()));
    }
    Ok(Command::Simple(words, redirections))
}

fn words(tokens: &mut Tokens) -> Result<(Vec<Word>, Vec<Redirection>), Refused> {
    let (mut words, mut redirections) = (Vec::new(), Vec::new());
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Operator(_))) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Like(fd, like) => redirections.push(Redirection { fd, kind: RedirectionKind::Like(like) }),
            Token::Redirect(kind, fd) => {
                let Some(Token::Word(target)) = tokens.next_if(|token| matches!(token, Token::Word(_))) else {
                    return Err(Refused(format!("a {kind} without a file")));
                };
                redirections.push(match kind {
                    "<" => Redirection { fd: fd.unwrap_or(0), kind: RedirectionKind::From(target) },
                    ">" => Redirection { fd: fd.unwrap_or(1), kind: RedirectionKind::To(target) },
                    _ => Redirection { fd: fd.unwrap_or(1), kind: RedirectionKind::Append(target) },
                });
            }
            Token::Operator(_) => {}
        }
    }
    Ok((words, redirections))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cvm::shell::syntax::Piece;

    fn refused(text: &str) -> bool {
        parse(text).is_err()
    }

    #[test]
    fn quotes_inside_of_quotes_keep_their_text() {
        let list = parse(r"sh -c '{ '\''C'\'' create; }; echo $? >status'").unwrap();
        let [(_, pipeline)] = &list[0].pipelines[..] else { panic!() };
        let Command::Simple(words, _) = &pipeline[0] else { panic!() };
        let text: String = words[2]
            .iter()
            .map(|piece| match piece {
                Piece::Quoted(text) | Piece::Plain(text) => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(text, "{ 'C' create; }; echo $? >status");
    }

    #[test]
    fn operators_bind_as_in_posix() {
        let list = parse("a && b || c | d; e & { f; } >x 2>&1").unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(list[0].pipelines.iter().map(|(_, pipeline)| pipeline.len()).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!([false, true, false], [list[0].background, list[1].background, list[2].background]);
        assert!(matches!(&list[2].pipelines[0].1[0], Command::Group(_, redirections) if redirections.len() == 2));
    }

    #[test]
    fn what_is_not_simulated_is_refused_and_never_half_done() {
        for text in [
            "echo $HOME",
            "ls *.txt",
            "A=b env",
            "if true; then echo; fi",
            "cat <<EOF",
            "(cd /)",
            "echo `date`",
            "a &&",
            "| a",
            "echo 'open",
            "echo $(date",
            "{ a; ",
            "{ a }",
            "a ;; b",
            "a &> b",
            "cd ~",
            "! true",
            "a # b",
            "a 2>&3",
            "for i in 1; do a; done",
            "cat < <(a)",
            "a >",
        ] {
            assert!(refused(text), "{text}");
        }
    }
}
