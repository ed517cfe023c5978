//! What a register costs an acceptor of `caspaxos`.
//!
//! `cargo test --release --test caspaxos_memory -- --ignored --nocapture` measures it.

use paxbench::command::{Key, NodeId, Value};
use paxbench::protocol::caspaxos::ballot::Ballot;
use paxbench::protocol::caspaxos::message::Change;
use paxbench::protocol::caspaxos::registers::Registers;
use paxbench::protocol::caspaxos::state::State;

const REGISTERS: u64 = 1_000_000;

/// Of which about a third is the index.
const BYTES_MAX: u64 = 128;

/// The memory that this process has in use.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it says so");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

#[test]
#[ignore = "it takes a hundred megabytes, and measures the process that it runs in"]
#[expect(clippy::print_stdout, reason = "the number is what it is for")]
fn a_million_registers_with_values_of_16_bytes_take_little_more_than_a_hundred_bytes_each() {
    let before = resident_bytes();
    let mut registers = Registers::default();
    for n in 0..REGISTERS {
        let value = Some(Value::from_slice(&[n as u8; 16]));
        let state = State { value, ..State::default() };
        let change =
            Change { key: Key::register(n), ballot: Ballot::new(0, n + 1, NodeId(0)), state };
        registers
            .accept(&change, Ballot::new(0, n + 2, NodeId(0)))
            .expect("nothing else was promised");
    }
    let each = (resident_bytes() - before) / REGISTERS;
    println!("{each} bytes for each of {} registers", registers.count());
    assert_eq!(registers.live(), REGISTERS);
    assert!(each <= BYTES_MAX, "{each} bytes each");
}
