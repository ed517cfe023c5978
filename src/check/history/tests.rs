//! What is written reads back, and what is wrong is named by file, line and remedy.

use std::path::Path;

use super::*;

fn events() -> Vec<Event> {
    let register = Key::register(7);
    let account = Key::account(1);
    let mut events = Vec::new();
    let mut push = |key, call, stage| {
        let process = events.len() as u64;
        events.push(Event { process, time_ns: 10, key, call, stage: Stage::Invoke });
        events.push(Event { process, time_ns: u64::MAX, key, call, stage });
    };
    let corrupt = Seen::Corrupt(Box::new([0, 255, 0x2a]));
    push(register, Call::Put { value: u64::MAX }, Stage::Ok(Reply::Done));
    push(register, Call::Get, Stage::Ok(Reply::Found(corrupt)));
    push(register, Call::Get, Stage::Ok(Reply::Found(Seen::Absent)));
    push(register, Call::Rmw { new: 0 }, Stage::Ok(Reply::Found(Seen::Token(100))));
    push(register, Call::Delete, Stage::Info);
    push(register, Call::Add { amount: 7 }, Stage::Ok(Reply::Found(Seen::Token(100))));
    push(register, Call::Append { new: 8 }, Stage::Ok(Reply::Found(Seen::Absent)));
    push(register, Call::Append { new: 8 }, Stage::Ok(Reply::Full(Seen::Token(5))));
    let cas = Call::Cas { expected: None, new: 9 };
    push(register, cas, Stage::Ok(Reply::Found(Seen::Token(3))));
    push(register, Call::Cas { expected: Some(4), new: 9 }, Stage::Fail);
    let transfer = Call::Transfer { to: Key::account(2), amount: 5 };
    push(account, transfer, Stage::Ok(Reply::Balances { moved: true, from: 995, to: 1005 }));
    push(account, transfer, Stage::Info);
    events
}

fn written(events: &[Event]) -> Vec<u8> {
    let mut writer = HistoryWriter::new(Vec::new(), "s\u{e3}o \"paulo\"").unwrap();
    for event in events {
        writer.write(event).unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: &str, bytes: &[u8]) -> Result<History, HistoryError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    std::fs::write(&path, bytes).unwrap();
    read_history(&[path])
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    let events = events();
    let history = read("h.jsonl.zst", &written(&events)).unwrap();
    assert_eq!(&*history.sites[0], "s\u{e3}o \"paulo\"");
    assert_eq!(history.operations.len() * 2, events.len());
    for (record, pair) in history.operations.iter().zip(events.chunks(2)) {
        assert_eq!((record.key, record.call), (pair[0].key, pair[0].call));
        let completion = match &pair[1].stage {
            Stage::Ok(reply) => Completion::Ok(reply.clone()),
            Stage::Fail => Completion::Failed,
            _ => Completion::Unknown,
        };
        assert_eq!(record.completion, completion);
        let ended = completion != Completion::Unknown;
        assert_eq!(record.response_ns, ended.then_some(u64::MAX));
    }
}

#[test]
fn a_line_is_what_the_format_says() {
    let lines = zstd::decode_all(written(&events()).as_slice()).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let replaced: Vec<_> = [11, 15].map(|line| text.lines().nth(line).unwrap()).into();
    assert!(replaced[0].contains(r#""f":"add","key":"k7","value":{"amount":7,"old":100},"#));
    assert!(replaced[1].contains(r#""f":"append","key":"k7","value":{"new":8,"full":5},"#));
    let last_ok = text.lines().nth(21).unwrap();
    assert_eq!(
        last_ok,
        r#"{"process":20,"type":"ok","f":"transfer","key":"a1","value":{"to":"a2","amount":5,"moved":true,"from_balance":995,"to_balance":1005},"time":18446744073709551615,"site":"são \"paulo\""}"#
    );
}

/// The line and message of the error for some lines.
fn error(lines: &[&str]) -> (Option<u64>, String) {
    let error = read("h.jsonl", lines.join("\n").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("h.jsonl:"), "{error}");
    (error.line, error.message)
}

fn line(process: u64, stage: &str, f: &str, key: &str, value: &str, time: u64) -> String {
    format!(
        r#"{{"process":{process},"type":"{stage}","f":"{f}","key":"{key}","value":{value},"time":{time},"site":"x"}}"#
    )
}

#[test]
fn errors_name_the_line_and_the_remedy() {
    let invoke = line(1, "invoke", "put", "k1", "5", 10);
    let ok = line(1, "ok", "put", "k1", "5", 20);
    let info = line(1, "info", "put", "k1", "null", 20);
    let cases: Vec<(Vec<String>, u64, &str)> = vec![
        (vec![ok.clone()], 1, "without an invoke"),
        (vec![invoke.clone(), invoke.clone()], 2, "is open"),
        (vec![invoke.clone(), line(1, "ok", "put", "k1", "5", 9)], 2, "before time 10 in line 1"),
        (vec![invoke.clone(), line(1, "ok", "put", "k1", "6", 11)], 2, "repeat what the invoke"),
        (vec![invoke.clone(), line(1, "ok", "get", "k1", "5", 11)], 2, "repeat f and key"),
        (vec![invoke.clone(), info, invoke.clone()], 3, "new process number"),
        (vec![invoke.clone(), ok, line(2, "invoke", "swap", "k1", "5", 1)], 3, "unknown f `swap`"),
        (vec![line(1, "begin", "put", "k1", "5", 1)], 1, "unknown type `begin`"),
        (vec![line(1, "invoke", "put", "x1", "5", 1)], 1, "k7"),
        (vec![line(1, "invoke", "put", "a1", "5", 1)], 1, "only transfers use accounts"),
        (vec![line(1, "invoke", "put", "k1", "-5", 1)], 1, "want a number"),
        (vec![line(1, "invoke", "cas", "k1", "{\"new\":1}", 1)], 1, "`expected`"),
        (
            vec![line(1, "invoke", "transfer", "a1", "{\"to\":\"a1\",\"amount\":1}", 1)],
            1,
            "two different",
        ),
        (vec![invoke, "{\"process\":".into()], 2, "not an event"),
    ];
    for (lines, number, message) in cases {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (at, told) = error(&lines);
        assert!(at == Some(number) && told.contains(message), "{lines:?}\n{at:?} {told}");
    }
}

#[test]
fn bytes_that_are_no_token_are_an_error_only_if_they_are_not_marked_corrupt() {
    let invoke = line(1, "invoke", "get", "k1", "null", 1);
    let get = |value: &str| [invoke.clone(), line(1, "ok", "get", "k1", value, 2)].join("\n");
    let good = read("h.jsonl", get("\"corrupt:0aff\"").as_bytes()).unwrap();
    let seen = Seen::Corrupt(Box::new([0x0a, 0xff]));
    assert_eq!(good.operations[0].completion, Completion::Ok(Reply::Found(seen)));
    for bad in ["\"0aff\"", "\"corrupt:0\"", "\"corrupt:é\"", "1.5", "[]", "{}"] {
        let error = read("h.jsonl", get(bad).as_bytes()).unwrap_err();
        assert_eq!(error.line, Some(2), "{bad}: {error}");
    }
}

#[test]
fn a_truncated_or_foreign_file_is_named_and_not_taken_for_a_short_history() {
    let many: Vec<Event> =
        (0..20_000).map(|process| Event { process, ..events()[0].clone() }).collect();
    let bytes = written(&many);
    let error = read("h.jsonl.zst", &bytes[..bytes.len() - 5]).unwrap_err();
    assert!(error.line.is_some() && error.message.contains("incomplete"), "{error}");
    let error = read("h.jsonl.zst", b"not compressed at all").unwrap_err();
    assert!(error.message.contains("zstd"), "{error}");
    let error = read_history(&[Path::new("/nowhere/h.jsonl")]).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_process_in_two_files_is_an_error_that_names_both() {
    let invoke = line(1, "invoke", "put", "k1", "5", 10);
    let mut reader = HistoryReader::default();
    reader.feed(Path::new("a.jsonl"), invoke.as_bytes()).unwrap();
    let error = reader.feed(Path::new("b.jsonl"), invoke.as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("b.jsonl:1: process 1 also appears in a.jsonl"));
}

#[test]
fn an_operation_still_open_at_the_end_has_an_unknown_outcome() {
    let history = read("h.jsonl", line(1, "invoke", "put", "k1", "5", 10).as_bytes()).unwrap();
    assert_eq!(history.operations[0].completion, Completion::Unknown);
    assert_eq!(history.operations[0].response_ns, None);
}
