//! The grammar of filters.

use journal::model::{AttributeValue, Number};
use winnow::combinator::opt;
use winnow::error::ParserError;
use winnow::stream::{LocatingSlice, Location as _, Stream as _};
use winnow::token::{any, one_of, take_till, take_while};
use winnow::{Parser as _, Result};

use super::{Comparator, Condition, EXPRESSION_BYTES_MAX, FilterError, NESTING_MAX, Operand, Path, Step};

const FUNCTIONS: [&str; 5] = ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"];
const TYPES: [&str; 10] = ["S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"];
/// DynamoDB's own bound on IN.
const IN_VALUES_MAX: usize = 100;
/// A document path has at most as many steps as an item has levels.
const PATH_STEPS_MAX: usize = 32;

type Input<'a> = LocatingSlice<&'a str>;

/// What is wrong, and at which byte.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    at: usize,
    message: String,
}

impl<'a> ParserError<Input<'a>> for Problem {
    type Inner = Self;

    fn from_input(input: &Input<'a>) -> Self {
        Self { at: input.current_token_start(), message: "this cannot be read".to_owned() }
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

type Parsed<T> = Result<T, Problem>;

fn problem<T>(at: usize, message: impl Into<String>) -> Parsed<T> {
    Err(Problem { at, message: message.into() })
}

pub(super) fn parse(text: &str) -> Result<Condition, FilterError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(FilterError::Length { found: text.len() });
    }
    let mut input = LocatingSlice::new(text);
    let parsed = or(&mut input, 0).and_then(|condition| {
        space(&mut input);
        if input.is_empty() {
            return Ok(condition);
        }
        let at = input.current_token_start();
        if peek(&input) == Some(')') {
            return problem(at, "this parenthesis was never opened");
        }
        problem(at, "expected AND, OR or the end")
    });
    parsed.map_err(|problem| located(text, &problem))
}

/// Puts a caret under the place.
fn located(text: &str, problem: &Problem) -> FilterError {
    let at = (0..=problem.at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = text.split_at(at);
    let line_before = before.rsplit('\n').next().unwrap_or(before);
    let line_after = after.split('\n').next().unwrap_or(after);
    // Long lines are cut around the place.
    let start: String = line_before.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    let end: String = line_after.chars().take(40).collect();
    FilterError::Syntax {
        message: problem.message.clone(),
        caret: format!("{}^", " ".repeat(start.chars().count())),
        line: format!("{start}{end}").replace('\t', " "),
    }
}

fn space(input: &mut Input<'_>) {
    let skipped: Parsed<&str> = take_while(0.., char::is_whitespace).parse_next(input);
    // Taking no characters cannot fail.
    drop(skipped);
}

fn peek(input: &Input<'_>) -> Option<char> {
    input.peek_token()
}

fn or(input: &mut Input<'_>, depth: usize) -> Parsed<Condition> {
    let mut all = vec![and(input, depth)?];
    while keyword(input, "OR") {
        all.push(and(input, depth)?);
    }
    Ok(one_or(all, Condition::Or))
}

fn and(input: &mut Input<'_>, depth: usize) -> Parsed<Condition> {
    let mut all = vec![not(input, depth)?];
    while keyword(input, "AND") {
        all.push(not(input, depth)?);
    }
    Ok(one_or(all, Condition::And))
}

fn one_or(mut all: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            all.push(last);
            join(all)
        }
        (None, _) => join(all),
    }
}

fn not(input: &mut Input<'_>, depth: usize) -> Parsed<Condition> {
    space(input);
    let at = input.current_token_start();
    if depth > NESTING_MAX {
        return problem(at, format!("nested deeper than {NESTING_MAX} levels"));
    }
    if keyword(input, "NOT") {
        return Ok(Condition::Not(Box::new(not(input, depth + 1)?)));
    }
    if token(input, '(') {
        let inner = or(input, depth + 1)?;
        close(input, at)?;
        return Ok(inner);
    }
    primary(input)
}

fn close(input: &mut Input<'_>, opened: usize) -> Parsed<()> {
    if token(input, ')') {
        return Ok(());
    }
    let at = input.current_token_start();
    if input.is_empty() {
        return problem(opened, "this parenthesis is not closed");
    }
    problem(at, "expected ')'")
}

/// Skips spaces, then takes `wanted` if it comes next.
fn token(input: &mut Input<'_>, wanted: char) -> bool {
    space(input);
    let found: Parsed<Option<char>> = opt(one_of(wanted)).parse_next(input);
    matches!(found, Ok(Some(_)))
}

/// Skips spaces, then takes `wanted` in any case if it comes next as a whole word.
fn keyword(input: &mut Input<'_>, wanted: &str) -> bool {
    space(input);
    let start = input.checkpoint();
    let found: Parsed<&str> = take_while(1.., is_name_char).parse_next(input);
    if found.is_ok_and(|found| found.eq_ignore_ascii_case(wanted)) {
        return true;
    }
    input.reset(&start);
    false
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// A function or a comparison.
fn primary(input: &mut Input<'_>) -> Parsed<Condition> {
    space(input);
    let start = input.checkpoint();
    let at = input.current_token_start();
    let word: Parsed<Option<&str>> = opt(take_while(1.., is_name_char)).parse_next(input);
    if let Ok(Some(name)) = word
        && token(input, '(')
    {
        if let Some(function) = FUNCTIONS.iter().find(|function| **function == name) {
            return call(input, function, at);
        }
        if name != "size" {
            return problem(at, format!("there is no function {name:?}; there are {}, size", FUNCTIONS.join(", ")));
        }
    }
    input.reset(&start);
    comparison(input)
}

fn call(input: &mut Input<'_>, function: &str, opened: usize) -> Parsed<Condition> {
    space(input);
    let first_at = input.current_token_start();
    let first = operand(input)?;
    let path = |operand: Operand| match operand {
        Operand::Path(path) => Ok(path),
        _ => problem(first_at, format!("{function} wants an attribute first")),
    };
    let condition = match function {
        "attribute_exists" => Condition::Exists(path(first)?),
        "attribute_not_exists" => Condition::NotExists(path(first)?),
        _ => {
            if !token(input, ',') {
                return problem(input.current_token_start(), format!("{function} wants two arguments: expected ','"));
            }
            space(input);
            let at = input.current_token_start();
            let second = operand(input)?;
            match (function, second) {
                ("attribute_type", Operand::Value(AttributeValue::S(name))) if TYPES.contains(&name.as_str()) => {
                    Condition::Type(path(first)?, name)
                }
                ("attribute_type", _) => {
                    return problem(at, format!("expected a type in quotes: {}", TYPES.join(", ")));
                }
                ("begins_with", Operand::Value(value)) if !matches!(value, AttributeValue::S(_)) => {
                    return problem(at, "begins_with wants a string in quotes");
                }
                ("begins_with", second) => Condition::BeginsWith(first, second),
                (_, second) => Condition::Contains(first, second),
            }
        }
    };
    close(input, opened)?;
    Ok(condition)
}

fn comparison(input: &mut Input<'_>) -> Parsed<Condition> {
    let left = operand(input)?;
    if keyword(input, "BETWEEN") {
        let low = ordered(input)?;
        if !keyword(input, "AND") {
            return problem(input.current_token_start(), "expected AND and the upper bound of BETWEEN");
        }
        return Ok(Condition::Between(left, low, ordered(input)?));
    }
    if keyword(input, "IN") {
        space(input);
        let opened = input.current_token_start();
        if !token(input, '(') {
            return problem(opened, "expected '(' and the values of IN");
        }
        let mut values = vec![operand(input)?];
        while token(input, ',') {
            if values.len() == IN_VALUES_MAX {
                return problem(input.current_token_start(), format!("IN takes at most {IN_VALUES_MAX} values"));
            }
            values.push(operand(input)?);
        }
        close(input, opened)?;
        return Ok(Condition::In(left, values));
    }
    space(input);
    let at = input.current_token_start();
    let signs: Parsed<&str> = take_while(0..=2, ['=', '<', '>', '!']).parse_next(input);
    let comparator = match signs.unwrap_or("") {
        "=" => Comparator::Equal,
        "<>" => Comparator::NotEqual,
        "<" => Comparator::Less,
        "<=" => Comparator::LessOrEqual,
        ">" => Comparator::Greater,
        ">=" => Comparator::GreaterOrEqual,
        "==" => return problem(at, "equality is written ="),
        "!=" => return problem(at, "inequality is written <>"),
        _ => return problem(at, "expected =, <>, <, <=, >, >=, BETWEEN or IN"),
    };
    let right = match comparator {
        Comparator::Equal | Comparator::NotEqual => operand(input)?,
        _ => ordered(input)?,
    };
    Ok(Condition::Compare(left, comparator, right))
}

/// An operand that can be ordered: DynamoDB orders strings, numbers and binary values only.
fn ordered(input: &mut Input<'_>) -> Parsed<Operand> {
    space(input);
    let at = input.current_token_start();
    let operand = operand(input)?;
    if matches!(operand, Operand::Value(AttributeValue::Bool(_) | AttributeValue::Null)) {
        return problem(at, "only strings and numbers have an order");
    }
    Ok(operand)
}

fn operand(input: &mut Input<'_>) -> Parsed<Operand> {
    space(input);
    let at = input.current_token_start();
    match peek(input) {
        None => problem(at, "expected an attribute or a value, found the end"),
        Some(quote @ ('\'' | '"')) => Ok(Operand::Value(AttributeValue::S(quoted(input, quote)?))),
        Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => number(input),
        Some(':' | '#') => problem(at, "there are no placeholders here: write the value in quotes, or the name itself"),
        Some(c) if c == '`' || c.is_alphabetic() || c == '_' => word(input),
        Some(c) => problem(at, format!("expected an attribute or a value, found {c:?}")),
    }
}

fn word(input: &mut Input<'_>) -> Parsed<Operand> {
    let start = input.checkpoint();
    let at = input.current_token_start();
    let found: Parsed<Option<&str>> = opt(take_while(1.., is_name_char)).parse_next(input);
    if let Ok(Some(name)) = found {
        let path_goes_on = matches!(peek(input), Some('.' | '['));
        let value = match name.to_ascii_lowercase().as_str() {
            "true" => Some(AttributeValue::Bool(true)),
            "false" => Some(AttributeValue::Bool(false)),
            "null" => Some(AttributeValue::Null),
            _ => None,
        };
        if let (Some(value), false) = (value, path_goes_on) {
            return Ok(Operand::Value(value));
        }
        if ["and", "or", "not", "between", "in"].contains(&name.to_ascii_lowercase().as_str()) && !path_goes_on {
            return problem(
                at,
                format!("expected an attribute or a value, found {name} (an attribute of that name: `{name}`)"),
            );
        }
        if name == "size" {
            let opened = input.current_token_start();
            if token(input, '(') {
                space(input);
                let path = path(input)?;
                close(input, opened)?;
                return Ok(Operand::Size(path));
            }
        } else {
            let after = input.checkpoint();
            if token(input, '(') {
                return problem(at, format!("{name}(…) cannot stand here: only size(…) gives a value"));
            }
            input.reset(&after);
        }
        input.reset(&start);
    }
    Ok(Operand::Path(path(input)?))
}

fn path(input: &mut Input<'_>) -> Parsed<Path> {
    let mut steps = vec![Step::Name(name(input)?)];
    loop {
        let at = input.current_token_start();
        if steps.len() > PATH_STEPS_MAX {
            return problem(at, format!("a path has at most {PATH_STEPS_MAX} steps"));
        }
        let next: Parsed<Option<char>> = opt(one_of(['.', '['])).parse_next(input);
        match next.unwrap_or(None) {
            Some('.') => steps.push(Step::Name(name(input)?)),
            Some(_) => {
                let digits: Parsed<&str> = take_while(1..=9, '0'..='9').parse_next(input);
                let index = digits.ok().and_then(|digits| digits.parse().ok());
                let closed: Parsed<Option<char>> = opt(one_of(']')).parse_next(input);
                match (index, closed) {
                    (Some(index), Ok(Some(_))) => steps.push(Step::Index(index)),
                    _ => return problem(at, "expected a position in a list, as in [0]"),
                }
            }
            None => return Ok(steps),
        }
    }
}

fn name(input: &mut Input<'_>) -> Parsed<String> {
    let at = input.current_token_start();
    if peek(input) == Some('`') {
        return quoted(input, '`');
    }
    let found: Parsed<&str> = take_while(1.., is_name_char).parse_next(input);
    match found {
        Ok(name) if !name.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Ok(name.to_owned()),
        _ => problem(at, "expected the name of an attribute (in `…` when it has other characters)"),
    }
}

/// Text between two `quote`s; the quote itself is written twice.
fn quoted(input: &mut Input<'_>, quote: char) -> Parsed<String> {
    let opened = input.current_token_start();
    let unclosed = || Problem { at: opened, message: format!("this {quote} is not closed") };
    let mut text = String::new();
    let _: char = any(input).map_err(|_: Problem| unclosed())?;
    loop {
        let part: &str = take_till(0.., quote).parse_next(input)?;
        text.push_str(part);
        let _: char = any(input).map_err(|_: Problem| unclosed())?;
        let doubled: Option<char> = opt(one_of(quote)).parse_next(input)?;
        if doubled.is_none() {
            return Ok(text);
        }
        text.push(quote);
    }
}

fn number(input: &mut Input<'_>) -> Parsed<Operand> {
    let at = input.current_token_start();
    let text: &str =
        take_while(1.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-')).parse_next(input)?;
    match Number::parse(text) {
        Ok(number) => Ok(Operand::Value(AttributeValue::N(number))),
        Err(error) => problem(at, error.to_string()),
    }
}
