//! A step as one argument: its id, then what else is known of it.

use std::str::FromStr;

use serde_json::{Value, json};

/// `ID[,after=STEP]…[,server=ID][,tool=NAME][,retries=N][,timeout=MS][,optional]`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepSpec(Value);

impl StepSpec {
    /// As the body of `POST /workflows` has it.
    pub(super) fn body(&self) -> Value {
        self.0.clone()
    }
}

impl FromStr for StepSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let id = parts.next().unwrap_or_default();
        if id.is_empty() || id.contains('=') {
            return Err("a step begins with its id: ID,after=OTHER,server=ID".to_owned());
        }
        let mut step = json!({"id": id});
        let mut after: Vec<&str> = Vec::new();
        for part in parts {
            let number = |value: &str| {
                let parsed = value.parse::<u64>().map(|number| json!(number));
                parsed.map_err(|_| format!("{part}: not a whole number"))
            };
            match part.split_once('=') {
                Some(("after", step)) => after.push(step),
                Some((name @ ("server" | "tool" | "name"), value)) => step[name] = json!(value),
                Some((name @ ("retries" | "timeout"), value)) => step[name] = number(value)?,
                None if part == "optional" => step["required"] = json!(false),
                _ => {
                    return Err(format!(
                        "{part:?}: a step takes after=, server=, tool=, name=, retries=, timeout= and optional"
                    ));
                }
            }
        }
        if !after.is_empty() {
            step["dependsOn"] = json!(after);
        }
        Ok(Self(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read() {
        let step: StepSpec = "map,after=a,after=b,server=timeback,tool=t,retries=2,optional"
            .parse()
            .unwrap();
        assert_eq!(
            step.body(),
            json!({"id": "map", "server": "timeback", "tool": "t", "retries": 2, "required": false,
                   "dependsOn": ["a", "b"]})
        );
        for wrong in ["", ",server=a", "after=a", "a,retries=x", "a,sever=b"] {
            assert!(wrong.parse::<StepSpec>().is_err(), "{wrong}");
        }
    }
}
