//! Text to tokens.

use super::{
    parser,
    syntax::{Piece, Refused, Word},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(Word),
    /// `<`, `>` or `>>`, and the descriptor in front of it.
    Redirect(&'static str, Option<u8>),
    /// `>&` with both descriptors.
    Like(u8, u8),
    /// `;`, `&`, `&&`, `||`, `|`.
    Operator(&'static str),
}

impl Token {
    /// A word without quotes or substitutions.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Token::Word(word) => match &word[..] {
                [Piece::Plain(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    tokens: Vec<Token>,
    word: Word,
    /// `''` is a word too.
    in_word: bool,
}

fn refuse<T>(what: &str) -> Result<T, Refused> {
    Err(Refused(what.to_owned()))
}

pub fn tokens(text: &str) -> Result<Vec<Token>, Refused> {
    let mut lexer = Lexer { rest: text.chars().peekable(), tokens: Vec::new(), word: Vec::new(), in_word: false };
    while let Some(c) = lexer.rest.next() {
        lexer.take(c)?;
    }
    lexer.end_word();
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn take(&mut self, c: char) -> Result<(), Refused> {
        match c {
            ' ' | '\t' => self.end_word(),
            '\n' | ';' => self.operator(";"),
            '&' if self.next_is('&') => self.operator("&&"),
            '&' if self.next_is('>') => return refuse("&>"),
            '&' => self.operator("&"),
            '|' if self.next_is('|') => self.operator("||"),
            '|' => self.operator("|"),
            '<' | '>' => return self.redirect(c),
            '\'' => {
                let text = self.until_quote()?;
                self.push(Piece::Quoted(text));
            }
            '"' => return self.double_quoted(),
            '\\' => match self.rest.next() {
                Some('\n') => {}
                Some(next) => self.push(Piece::Quoted(next.to_string())),
                None => return refuse("a lone \\"),
            },
            '$' => {
                let piece = self.dollar(false)?;
                self.push(piece);
            }
            '`' | '(' | ')' | '*' | '?' | '[' | ']' | '#' | '~' | '!' => {
                let alone = !self.in_word && self.rest.peek().is_none_or(|next| next.is_whitespace());
                if !(matches!(c, '[' | ']') && alone) {
                    return refuse(&c.to_string());
                }
                self.text(c);
            }
            c => self.text(c),
        }
        Ok(())
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn text(&mut self, c: char) {
        self.in_word = true;
        match self.word.last_mut() {
            Some(Piece::Plain(text)) => text.push(c),
            _ => self.word.push(Piece::Plain(c.to_string())),
        }
    }

    fn push(&mut self, piece: Piece) {
        self.in_word = true;
        self.word.push(piece);
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.in_word) {
            self.tokens.push(Token::Word(std::mem::take(&mut self.word)));
        }
    }

    fn operator(&mut self, operator: &'static str) {
        self.end_word();
        self.tokens.push(Token::Operator(operator));
    }

    fn redirect(&mut self, c: char) -> Result<(), Refused> {
        let fd = match &self.word[..] {
            [Piece::Plain(text)] if ["0", "1", "2"].contains(&text.as_str()) => text.parse().ok(),
            _ => None,
        };
        if fd.is_some() {
            (self.in_word, self.word) = (false, Word::new());
        }
        self.end_word();
        if c == '<' {
            if self.rest.peek().is_some_and(|next| "<&>".contains(*next)) {
                return refuse("a redirection other than <");
            }
            self.tokens.push(Token::Redirect("<", fd));
        } else if self.next_is('&') {
            let like = self.rest.next().and_then(|c| c.to_digit(10)).and_then(|digit| u8::try_from(digit).ok());
            match like {
                Some(like @ (1 | 2)) => self.tokens.push(Token::Like(fd.unwrap_or(1), like)),
                _ => return refuse(">& of anything but 1 or 2"),
            }
        } else {
            let kind = if self.next_is('>') { ">>" } else { ">" };
            self.tokens.push(Token::Redirect(kind, fd));
        }
        Ok(())
    }

    fn until_quote(&mut self) -> Result<String, Refused> {
        let mut text = String::new();
        for c in self.rest.by_ref() {
            if c == '\'' {
                return Ok(text);
            }
            text.push(c);
        }
        refuse("a quote that does not end")
    }

    fn double_quoted(&mut self) -> Result<(), Refused> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => break,
                Some('\\') => match self.rest.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => return refuse("a quote that does not end"),
                },
                Some('`') => return refuse("`"),
                Some('$') if self.rest.peek().is_some_and(|next| "?!(".contains(*next) || next.is_alphanumeric()) => {
                    self.push(Piece::Quoted(std::mem::take(&mut text)));
                    let piece = self.dollar(true)?;
                    self.push(piece);
                }
                Some(c) => text.push(c),
                None => return refuse("a quote that does not end"),
            }
        }
        self.push(Piece::Quoted(text));
        Ok(())
    }

    fn dollar(&mut self, quoted: bool) -> Result<Piece, Refused> {
        match self.rest.next() {
            Some('?') => Ok(Piece::Status),
            Some('!') => Ok(Piece::Background),
            Some('(') => {
                let text = self.until_parenthesis()?;
                Ok(Piece::Output(parser::parse(&text)?, quoted))
            }
            Some(c) => refuse(&format!("${c}")),
            None => refuse("a lone $"),
        }
    }

    /// The text up to the parenthesis that closes; those inside quotes are passed over.
    fn until_parenthesis(&mut self) -> Result<String, Refused> {
        let (mut text, mut depth, mut quote) = (String::new(), 1, None);
        while let Some(c) = self.rest.next() {
            match (quote, c) {
                (None, '(') => depth += 1,
                (None, ')') => depth -= 1,
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None | Some('"'), '\\') => {
                    text.push(c);
                    text.extend(self.rest.next());
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(text);
            }
            text.push(c);
        }
        refuse("a ( that does not end")
    }
}
