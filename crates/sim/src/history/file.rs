//! Histories as JSON lines.

use std::io::{BufRead, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Asked, History, Moment, Operation, Rules, Told};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationLine {
    process: u32,
    queue: String,
    key: String,
    asked_at: Moment,
    asked: Asked,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesLine {
    queue: String,
    rules: Rules,
}

impl History {
    /// Reads a file's lines; empty ones are passed over.
    pub(crate) fn read(lines: impl BufRead) -> anyhow::Result<History> {
        let mut history = History::default();
        for (index, line) in lines.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            history.take(&line).with_context(|| format!("line {}", index + 1))?;
        }
        Ok(history)
    }

    fn take(&mut self, line: &str) -> anyhow::Result<()> {
        let value: Value = serde_json::from_str(line)?;
        if value.get("rules").is_some() {
            let RulesLine { queue, rules } = serde_json::from_value(value)?;
            self.rules.insert(queue, rules);
            return Ok(());
        }
        let OperationLine { process, queue, key, asked_at, asked, told_at, told } =
            serde_json::from_value(value)?;
        anyhow::ensure!(told_at.is_some() == told.is_some(), "an answer has its moment");
        let told = told_at.zip(told);
        self.operations.push(Operation { process, queue, key, asked_at, asked, told });
        Ok(())
    }

    /// Writes it as lines.
    pub(crate) fn write(&self, mut lines: impl Write) -> anyhow::Result<()> {
        for (queue, rules) in &self.rules {
            let line = RulesLine { queue: queue.clone(), rules: rules.clone() };
            writeln!(lines, "{}", serde_json::to_string(&line)?)?;
        }
        for operation in &self.operations {
            writeln!(lines, "{}", operation.line())?;
        }
        Ok(())
    }
}

impl Operation {
    /// It as a line of a file, without the end of the line.
    pub(crate) fn line(&self) -> String {
        let Operation { process, queue, key, asked_at, asked, told } = self.clone();
        let (told_at, told) = told.unzip();
        let line = OperationLine { process, queue, key, asked_at, asked, told_at, told };
        serde_json::to_string(&line).expect("an operation has text for keys")
    }
}
