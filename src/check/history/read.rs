//! Reads histories: parses, validates and pairs events into operations.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Completion, History, HistoryError, OperationRecord, Reply, Seen};
use crate::command::Key;

/// Reads one run's history from all its files: `.zst` ones are compressed, others plain.
///
/// The error names the file and the line, what is wrong and how to mend it.
pub fn read_history<P: AsRef<Path>>(paths: &[P]) -> Result<History, HistoryError> {
    let mut reader = HistoryReader::default();
    for path in paths {
        let path = path.as_ref();
        let failed = |error: io::Error| HistoryError {
            file: path.to_owned(),
            line: None,
            message: format!("cannot be read ({error}); check the path and its permissions"),
        };
        let file = File::open(path).map_err(failed)?;
        if path.extension().is_some_and(|extension| extension == "zst") {
            let decoder = zstd::stream::read::Decoder::new(file).map_err(failed)?;
            reader.feed(path, BufReader::with_capacity(1 << 17, decoder))?;
        } else {
            reader.feed(path, BufReader::new(file))?;
        }
    }
    Ok(reader.finish())
}

/// What is remembered of a process.
struct Process {
    file: usize,
    /// Index of the operation that waits for its response.
    open: Option<usize>,
    last_ns: u64,
    last_line: u64,
    /// It reported an unknown outcome and may do nothing more.
    ended: bool,
}

/// Assembles a history from any number of inputs of uncompressed JSON lines.
#[derive(Default)]
pub struct HistoryReader {
    history: History,
    files: Vec<PathBuf>,
    processes: FxHashMap<u64, Process>,
}

#[derive(Deserialize)]
struct Line<'a> {
    process: u64,
    #[serde(borrow, rename = "type")]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    f: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    value: Value,
    time: u64,
    #[serde(borrow)]
    site: Cow<'a, str>,
}

impl HistoryReader {
    /// Adds all lines of `input`; `file` names it in errors.
    pub fn feed(&mut self, file: &Path, mut input: impl BufRead) -> Result<(), HistoryError> {
        self.files.push(file.to_owned());
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let failed =
                |message| HistoryError { file: file.to_owned(), line: Some(number), message };
            match input.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => self.line(number, &line).map_err(failed)?,
                Err(error) => return Err(failed(describe_io(&error))),
            }
        }
        Ok(())
    }

    /// The history; operations still open have an unknown outcome.
    pub fn finish(self) -> History {
        self.history
    }

    fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| {
            format!("not an event ({error}); want {{\"process\":0,\"type\":\"invoke\",\"f\":\"get\",\"key\":\"k0\",\"value\":null,\"time\":0,\"site\":\"here\"}}")
        })?;
        let key: Key = line.key.parse().map_err(|error| format!("{error}; name it k7 or a7"))?;
        match &*line.stage {
            "invoke" => self.invoke(number, &line, key),
            "ok" | "fail" | "info" => self.respond(number, &line, key),
            other => Err(format!("unknown type `{other}`; want invoke, ok, fail or info")),
        }
    }

    fn invoke(&mut self, number: u64, line: &Line<'_>, key: Key) -> Result<(), String> {
        let call = parse_call(&line.f, key, &line.value)?;
        let site = self.history.site(&line.site).ok_or("more than 65,536 sites; name fewer")?;
        let operation = self.history.operations.len();
        let process = self.process(number, line)?;
        if process.open.is_some() {
            return Err(format!(
                "process {} invokes while its operation of line {} is open; give each outstanding operation a process of its own",
                line.process, process.last_line
            ));
        }
        process.open = Some(operation);
        process.last_ns = line.time;
        process.last_line = number;
        self.history.operations.push(OperationRecord {
            process: line.process,
            site,
            key,
            call,
            invoke_ns: line.time,
            response_ns: None,
            completion: Completion::Unknown,
        });
        Ok(())
    }

    fn respond(&mut self, number: u64, line: &Line<'_>, key: Key) -> Result<(), String> {
        let process = self.process(number, line)?;
        let Some(open) = process.open else {
            return Err(format!(
                "process {} has an `{}` without an invoke; write the invoke before it",
                line.process, line.stage
            ));
        };
        let invoked_at = process.last_line;
        process.last_ns = line.time;
        process.last_line = number;
        process.open = None;
        process.ended = line.stage == "info";
        let record = &mut self.history.operations[open];
        if record.key != key || record.call.function() != line.f {
            return Err(format!(
                "answers {} {key}, but line {invoked_at} invoked {} {}; repeat f and key of the invoke",
                line.f,
                record.call.function(),
                record.key
            ));
        }
        record.completion = parse_completion(line, key, &record.call)
            .map_err(|error| format!("{error} (the operation was invoked in line {invoked_at})"))?;
        record.response_ns = (record.completion != Completion::Unknown).then_some(line.time);
        Ok(())
    }

    /// The process of a line, after the checks that hold for every stage.
    fn process(&mut self, number: u64, line: &Line<'_>) -> Result<&mut Process, String> {
        let file = self.files.len() - 1;
        let process = self.processes.entry(line.process).or_insert(Process {
            file,
            open: None,
            last_ns: 0,
            last_line: number,
            ended: false,
        });
        let id = line.process;
        if process.file != file {
            let other = self.files[process.file].display();
            return Err(format!(
                "process {id} also appears in {other}; number processes across all files, or read one run at a time"
            ));
        }
        if process.ended {
            return Err(format!(
                "process {id} goes on after its `info` in line {}; take a new process number after an unknown outcome",
                process.last_line
            ));
        }
        if line.time < process.last_ns {
            return Err(format!(
                "time {} of process {id} is before time {} in line {}; write a process's events in order, on one clock",
                line.time, process.last_ns, process.last_line
            ));
        }
        Ok(process)
    }
}

fn describe_io(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the compressed data ends here, in the middle; its writer was not closed, so the history is incomplete: run again, or cut it off after the last whole line and compress it anew".into();
    }
    format!(
        "cannot be read on ({error}); the file is damaged or not compressed with zstd: copy it again"
    )
}

/// The operation of an `invoke`.
fn parse_call(function: &str, key: Key, value: &Value) -> Result<Call, String> {
    if key.is_account() != (function == "transfer") {
        return Err(format!(
            "{function} on {key}; only transfers use accounts (a7), all others registers (k7)"
        ));
    }
    match function {
        "put" => Ok(Call::Put { value: token(value)? }),
        "get" => null(value, Call::Get),
        "rmw" => Ok(Call::Rmw { new: token(value)? }),
        "add" => Ok(Call::Add { amount: token(value)? }),
        "append" => Ok(Call::Append { new: token(value)? }),
        "delete" => null(value, Call::Delete),
        "cas" => Ok(Call::Cas {
            expected: optional_token(field(value, "expected")?)?,
            new: token(field(value, "new")?)?,
        }),
        "transfer" => parse_transfer(key, value),
        other => Err(format!(
            "unknown f `{other}`; want put, get, cas, rmw, add, append, delete or transfer"
        )),
    }
}

fn parse_transfer(from: Key, value: &Value) -> Result<Call, String> {
    let to = field(value, "to")?;
    let to: Key =
        to.as_str().ok_or_else(|| wanted("an account such as \"a2\" as `to`", to))?.parse()?;
    if !to.is_account() || to == from {
        return Err(format!("transfer from {from} to {to}; want two different accounts"));
    }
    Ok(Call::Transfer { to, amount: token(field(value, "amount")?)? })
}

fn parse_completion(line: &Line<'_>, key: Key, call: &Call) -> Result<Completion, String> {
    let value = &line.value;
    let repeated = || match value {
        Value::Null => Ok(()),
        _ => agree(call, parse_call(&line.f, key, value)?),
    };
    match &*line.stage {
        "ok" => parse_reply(key, call, value).map(Completion::Ok),
        "fail" => repeated().map(|()| Completion::Failed),
        _ => repeated().map(|()| Completion::Unknown),
    }
}

fn parse_reply(key: Key, call: &Call, value: &Value) -> Result<Reply, String> {
    match call {
        Call::Put { .. } => {
            agree(call, Call::Put { value: token(value)? })?;
            Ok(Reply::Done)
        }
        Call::Get | Call::Delete => Ok(Reply::Found(seen(value)?)),
        Call::Rmw { .. } => {
            agree(call, Call::Rmw { new: token(field(value, "new")?)? })?;
            Ok(Reply::Found(seen(field(value, "old")?)?))
        }
        Call::Add { .. } => {
            agree(call, Call::Add { amount: token(field(value, "amount")?)? })?;
            Ok(Reply::Found(seen(field(value, "old")?)?))
        }
        Call::Append { .. } => {
            agree(call, Call::Append { new: token(field(value, "new")?)? })?;
            match value.get("full") {
                Some(full) => Ok(Reply::Full(seen(full)?)),
                None => Ok(Reply::Found(seen(field(value, "old")?)?)),
            }
        }
        Call::Cas { .. } => {
            agree(call, parse_call("cas", key, value)?)?;
            Ok(Reply::Found(seen(field(value, "found")?)?))
        }
        Call::Transfer { .. } => {
            agree(call, parse_transfer(key, value)?)?;
            let moved = field(value, "moved")?;
            Ok(Reply::Balances {
                moved: moved.as_bool().ok_or_else(|| wanted("true or false as `moved`", moved))?,
                from: token(field(value, "from_balance")?)?,
                to: token(field(value, "to_balance")?)?,
            })
        }
    }
}

fn agree(invoked: &Call, answered: Call) -> Result<(), String> {
    if *invoked == answered {
        return Ok(());
    }
    Err(format!(
        "answers {answered:?}, but {invoked:?} was invoked; repeat what the invoke asked for"
    ))
}

fn wanted(what: &str, value: &Value) -> String {
    format!("value {value}; want {what}")
}

fn null(value: &Value, call: Call) -> Result<Call, String> {
    if value.is_null() { Ok(call) } else { Err(wanted("null", value)) }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, String> {
    value.get(name).ok_or_else(|| wanted(&format!("an object with `{name}`"), value))
}

fn token(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| wanted("a number from 0 to 2^64-1", value))
}

fn optional_token(value: &Value) -> Result<Option<u64>, String> {
    if value.is_null() { Ok(None) } else { token(value).map(Some) }
}

fn seen(value: &Value) -> Result<Seen, String> {
    let Some(text) = value.as_str() else { return Ok(optional_token(value)?.into()) };
    let bytes = text.strip_prefix("corrupt:").and_then(unhex);
    bytes.map(Seen::Corrupt).ok_or_else(|| wanted("a token, null or \"corrupt:<hex>\"", value))
}

fn unhex(digits: &str) -> Option<Box<[u8]>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits.as_bytes().chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}
