//! `paxbench check` on the directory of a finished run.

mod common;

use std::path::Path;

use common::Lab;

/// A history of the corpus, on keys and by processes that no run has.
fn apart(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("\"process\":", "\"process\":99000");
    (0..5).fold(text, |text, n| text.replace(&format!("\"a{n}\""), &format!("\"a99000{n}\"")))
}

#[test]
fn a_history_in_which_only_each_key_alone_is_linearizable_is_a_violation() {
    let lab = Lab::new();
    let ended = lab.paxbench(&["run", "e2e.yaml", "--backend", "sim", "--out", "out"]).wait();
    assert_eq!(ended.code(), 0, "{ended:?}");
    let dir = lab.finished();
    let history = dir.join("history/paxos-0-0-rome.jsonl.zst");
    let whole = std::fs::read(&history).unwrap();
    let with = |name: &str| {
        // Readers take a second compressed frame for the file's continuation.
        let more = zstd::encode_all(apart(name).as_bytes(), 0).unwrap();
        std::fs::write(&history, [&whole[..], &more].concat()).unwrap();
        lab.paxbench(&["check", dir.to_str().unwrap()]).wait()
    };

    let good = with("good/three_transfers_that_overlap_in_the_order_of_their_balances.jsonl");
    assert_eq!(good.code(), 0, "{good:?}");
    let bad = with("bad/three_transfers_in_a_circle_through_real_time.jsonl");
    assert_eq!(bad.code(), 3, "{bad:?}");
    let words = [
        "paxos, repeat 1: invalid, replicas converged",
        "a990001, a990002, a990003, a990004: ",
        "each key alone is linearizable: the commands on several keys are not strictly serialisable",
    ];
    assert!(words.iter().all(|word| bad.stdout.contains(word)), "{bad:?}");
}
