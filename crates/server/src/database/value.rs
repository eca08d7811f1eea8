//! A value on its way into a statement. It is always bound, never pasted into the text.

/// One bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text, whatever it contains.
    Text(String),
}

impl Value {
    /// The text that a server reads as whatever the value is compared with or written to. Numbers
    /// go as text, too: beside a text column a number would be compared as a number, without the
    /// column's index and with `'042'` equal to 42.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Integer(integer) => Some(integer.to_string()),
            Value::Real(real) => Some(real.to_string()),
            Value::Text(text) => Some(text.clone()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}
