//! Numbers as they were written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Json, JsonRef};

/// A number as it was written, to the last digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Number(Json);

impl Number {
    /// The number that a value is, if it is one.
    #[must_use]
    pub fn of(value: JsonRef<'_>) -> Option<Self> {
        value.is_number().then(|| Self(value.to_json()))
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        self.0.read().unwrap_or_default()
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::of(json.root()).ok_or_else(|| D::Error::custom("must be a number"))
    }
}

/// The whole number that a text of JSON is, however it is written: `30000`, `3e4` and `30000.0` are one. `None` for
/// what isn't a number, isn't whole, or is beyond 128 bits.
pub(super) fn whole(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (text, Some(0)),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || before.bytes().chain(after.bytes());
    if before.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let significant = digits().count() - digits().rev().take_while(|digit| *digit == b'0').count();
    if significant == 0 {
        return Some(0);
    }
    let point = i64::try_from(before.len()).ok()?.checked_add(exponent?)?;
    let zeros = point.checked_sub(i64::try_from(significant).ok()?)?;
    let mut value = 0_i128;
    for digit in digits().take(significant) {
        value = value
            .checked_mul(10)?
            .checked_add(i128::from(digit - b'0'))?;
    }
    // A negative number of zeros leaves a fraction.
    let value = value.checked_mul(10_i128.checked_pow(u32::try_from(zeros).ok()?)?)?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("0.000", 0),
            ("0e999999999999999999999", 0),
            ("30000", 30_000),
            ("3e4", 30_000),
            ("3E+4", 30_000),
            ("30000.0", 30_000),
            ("0.3e5", 30_000),
            ("300000e-1", 30_000),
            ("-1.50e1", -15),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("1.8446744073709551615e19", i128::from(u64::MAX)),
        ] {
            assert_eq!(whole(text), Some(value), "{text}");
        }
        for text in [
            "1.5",
            "15e-1",
            "3e-1",
            "1e40",
            "1e999999999999999999999",
            "true",
            "\"1\"",
            "[1]",
            "null",
            "{}",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_comes_back_as_it_was_written() {
        for text in [
            "0.10",
            "1E5",
            "123456789012345678901234567890",
            "-0",
            "1e-400",
        ] {
            let number: Number = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
        for text in ["\"1\"", "[1]", "null", "true", "{}"] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }
}
