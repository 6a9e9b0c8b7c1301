//! Functions for paths in images: `json_get`, `json_number`, `json_type`, `json_length`, and `sequence_order`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Builder, Int64Builder, StringArray, StringBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use serde_json::Value;

/// All functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    let texts = |json: &StringArray, paths: &StringArray, read: fn(&Value) -> Option<String>| -> Result<ArrayRef> {
        let mut built = StringBuilder::new();
        each(json, paths, |value| built.append_option(value.and_then(read)))?;
        Ok(Arc::new(built.finish()))
    };
    vec![
        function("json_get", DataType::Utf8, move |[json, paths]| texts(json, paths, shown)),
        function("json_type", DataType::Utf8, move |[json, paths]| {
            texts(json, paths, |value| Some(type_of(value).to_owned()))
        }),
        function("json_number", DataType::Float64, |[json, paths]| {
            let mut built = Float64Builder::new();
            each(json, paths, |value| {
                built.append_option(value.and_then(|value| value.as_number()?.as_str().parse().ok()));
            })?;
            Ok(Arc::new(built.finish()))
        }),
        function("json_length", DataType::Int64, |[json, paths]| {
            let mut built = Int64Builder::new();
            each(json, paths, |value| {
                let length = match value {
                    Some(Value::Array(list)) => Some(list.len()),
                    Some(Value::Object(map)) => Some(map.len()),
                    Some(Value::String(text)) => Some(text.chars().count()),
                    _ => None,
                };
                built.append_option(length.and_then(|length| i64::try_from(length).ok()));
            })?;
            Ok(Arc::new(built.finish()))
        }),
        function("sequence_order", DataType::Utf8, |[numbers]| {
            let mut built = StringBuilder::new();
            for text in numbers {
                built.append_option(text.map(|text| format!("{text:0>40}")));
            }
            Ok(Arc::new(built.finish()))
        }),
    ]
}

/// A function of `N` texts.
fn function<const N: usize>(
    name: &str,
    returned: DataType,
    work: impl Fn([&StringArray; N]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let implementation = move |args: &[ColumnarValue]| {
        let is_scalar = args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let texts = arrays.iter().map(|array| as_string_array(array)).collect::<Result<Vec<_>>>()?;
        let Ok(texts) = <[&StringArray; N]>::try_from(texts) else {
            return plan_err!("a function got {} arguments", args.len());
        };
        let array = work(texts)?;
        if is_scalar {
            return datafusion::common::ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(array))
    };
    create_udf(name, vec![DataType::Utf8; N], returned, Volatility::Immutable, Arc::new(implementation))
}

/// Gives the value at each row's path to `visit`; none where there is none, or the text is no JSON.
fn each(json: &StringArray, paths: &StringArray, mut visit: impl FnMut(Option<&Value>)) -> Result<()> {
    let mut last: Option<(String, Vec<Step>)> = None;
    for (text, path) in json.iter().zip(paths) {
        let (Some(text), Some(path)) = (text, path) else {
            visit(None);
            continue;
        };
        if last.as_ref().is_none_or(|(last, _)| last != path) {
            last = Some((path.to_owned(), steps(path)?));
        }
        let value: Option<Value> = serde_json::from_str(text).ok();
        let found = value.as_ref().and_then(|value| {
            last.iter().flat_map(|(_, steps)| steps).try_fold(value, |value, step| match step {
                Step::Name(name) => value.get(name),
                Step::Element(at) => value.get(at),
            })
        });
        visit(found);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Element(usize),
}

/// Reads `replies[2].author`; a name that is no word stands in brackets: `["a name"]`.
pub(super) fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong = |at: usize, reason: &str| {
        plan_err!(
            "cannot read the path '{path}': {reason} at character {}; paths are written as replies[2].author and [\"a name\"]",
            path.get(..at).map_or(at, |before| before.chars().count()) + 1
        )
    };
    let mut steps = Vec::new();
    let mut at = 0;
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("[\"") {
            let mut reader =
                serde_json::Deserializer::from_str(rest.get(1..).unwrap_or_default()).into_iter::<String>();
            let Some(Ok(name)) = reader.next() else { return wrong(at, "a name in quotes that does not end") };
            let after = at + 1 + reader.byte_offset();
            if path.get(after..=after) != Some("]") {
                return wrong(after.min(path.len()), "']' is missing");
            }
            steps.push(Step::Name(name));
            at = after + 1;
        } else if let Some(inside) = rest.strip_prefix('[') {
            let Some((digits, _)) = inside.split_once(']') else { return wrong(at, "']' is missing") };
            let Ok(element) = digits.parse() else { return wrong(at + 1, "there is no number") };
            steps.push(Step::Element(element));
            at += digits.len() + 2;
        } else {
            let name = rest.strip_prefix('.').filter(|_| !steps.is_empty()).unwrap_or(rest);
            let start = at + rest.len() - name.len();
            let name = name.split(['.', '[']).next().unwrap_or_default();
            if name.is_empty() {
                return wrong(start, "a name is missing");
            }
            steps.push(Step::Name(name.to_owned()));
            at = start + name.len();
        }
    }
    if steps.is_empty() {
        return wrong(0, "it is empty");
    }
    Ok(steps)
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
