//! Messages and records in one line each, for transcripts that people read and compare: rounds as the
//! paper's `k4`, instances as `i0`, parcels as `p0.1.2` (origin, incarnation, number). Of a list the
//! first few are shown, and how many more there are.

use std::fmt::{Display, Formatter, Result};

use super::message::{Decided, MsgSet, Parcel, ParcelId, PaxosMessage, PaxosRecord, Written};
use super::parcels::ParcelSet;
use crate::protocol::show::few;

fn value(value: &MsgSet, f: &mut Formatter<'_>) -> Result {
    few(f, ("{", "}"), value.iter(), Display::fmt)
}

/// As the name of the first parcel that is not held in a row, and how many are held beyond it.
fn delivered(sets: &[ParcelSet], f: &mut Formatter<'_>) -> Result {
    few(f, ("[", "]"), sets.iter().enumerate(), |(origin, set), f| {
        write!(f, "p{origin}.{}.{}", set.incarnation, set.floor)?;
        if set.above.is_empty() { Ok(()) } else { write!(f, "+{}", set.above.len()) }
    })
}

impl Display for ParcelId {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}.{}", self.origin, self.incarnation, self.number)
    }
}

impl Display for Parcel {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} ", self.id)?;
        few(f, ("[", "]"), self.commands.iter(), Display::fmt)
    }
}

impl Display for Decided {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "k{}, i{}..{}", self.round.0, self.from, self.below)
    }
}

impl Display for Written {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "i{}: k{} ", self.instance, self.write.0)?;
        value(&self.value, f)
    }
}

impl Display for PaxosMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PaxosMessage::Heartbeat { epoch, next_batch, written_below, hears_majority } => {
                let hears = if *hears_majority { "majority" } else { "no majority" };
                write!(f, "heartbeat(epoch {epoch}, next {next_batch}, ")?;
                write!(f, "written below {written_below}, {hears})")
            }
            PaxosMessage::Forward(parcel) => write!(f, "forward({parcel})"),
            PaxosMessage::Read { round, instance, onwards } => {
                let onwards = if *onwards { " onwards" } else { "" };
                write!(f, "read(k{}, i{instance}{onwards})", round.0)
            }
            PaxosMessage::AckRead { round, instance, next_batch, written } => {
                write!(f, "ack_read(k{}, i{instance}, next {next_batch}, ", round.0)?;
                few(f, ("[", "]"), written.iter(), Display::fmt)?;
                write!(f, ")")
            }
            PaxosMessage::Write { round, instance, value: written, decided } => {
                write!(f, "write(k{}, i{instance}, ", round.0)?;
                value(written, f)?;
                decided.map_or(Ok(()), |decided| write!(f, ", decided {decided}"))?;
                write!(f, ")")
            }
            PaxosMessage::AckWrite { round, instance, permission } => {
                let permission = if *permission { ", permission" } else { "" };
                write!(f, "ack_write(k{}, i{instance}{permission})", round.0)
            }
            PaxosMessage::Nack { round, instance, promised } => {
                write!(f, "nack(k{}, i{instance}, promised k{})", round.0, promised.0)
            }
            PaxosMessage::Decision(decided) => write!(f, "decision({decided})"),
            PaxosMessage::Lagging { next_batch } => write!(f, "lagging(next {next_batch})"),
            PaxosMessage::Update { from, values } => {
                write!(f, "update(i{from}, ")?;
                few(f, ("[", "]"), values.iter(), value)?;
                write!(f, ")")
            }
            PaxosMessage::State { next_batch, delivered: sets } => {
                write!(f, "state(next {next_batch}, delivered ")?;
                delivered(sets, f)?;
                write!(f, ")")
            }
        }
    }
}

impl Display for PaxosRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PaxosRecord::Incarnation(number) => write!(f, "Incarnation({number})"),
            PaxosRecord::Read { instance: Some(instance), round } => {
                write!(f, "Read(i{instance}, k{})", round.0)
            }
            PaxosRecord::Read { instance: None, round } => write!(f, "Read(onwards, k{})", round.0),
            PaxosRecord::Write { instance, round, value: written } => {
                write!(f, "Write(i{instance}, k{}, ", round.0)?;
                value(written, f)?;
                write!(f, ")")
            }
            PaxosRecord::Delivered { instance, value: None } => write!(f, "Delivered(i{instance})"),
            PaxosRecord::Delivered { instance, value: Some(stored) } => {
                write!(f, "Delivered(i{instance}, ")?;
                value(stored, f)?;
                write!(f, ")")
            }
            PaxosRecord::Installed { next_batch, delivered: sets } => {
                write!(f, "Installed(next {next_batch}, delivered ")?;
                delivered(sets, f)?;
                write!(f, ")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::command::{ClientId, Command, CommandId, Key, NodeId, Operation, Value};
    use crate::protocol::ballot::Round;

    const K: Round = Round(4);

    /// A parcel of that many puts.
    fn parcel(number: u64, commands: u64) -> Parcel {
        let put = |sequence| Command {
            id: CommandId { client: ClientId(1), sequence },
            answered_below: 0,
            operation: Operation::Put { key: Key::register(0), value: Value::from_slice(b"v") },
        };
        let id = ParcelId { origin: NodeId(0), incarnation: 1, number };
        Parcel { id, commands: (0..commands).map(put).collect() }
    }

    fn one() -> MsgSet {
        Arc::from([parcel(0, 1)])
    }

    fn sets() -> Vec<ParcelSet> {
        let dense = ParcelSet { incarnation: 1, floor: 5, above: BTreeSet::new() };
        let loose = ParcelSet { incarnation: 2, floor: 0, above: BTreeSet::from([3, 4]) };
        vec![dense, loose, ParcelSet::default()]
    }

    fn assert_texts<T: Display>(texts: Vec<(T, &str)>) {
        for (shown, text) in texts {
            assert_eq!(shown.to_string(), text);
        }
    }

    #[test]
    fn messages_of_the_register_in_one_line() {
        let read = |onwards| PaxosMessage::Read { round: K, instance: 0, onwards };
        let ack = |written| PaxosMessage::AckRead { round: K, instance: 0, next_batch: 0, written };
        let found = Written { instance: 0, write: Round(2), value: one() };
        let write = |decided| PaxosMessage::Write { round: K, instance: 3, value: one(), decided };
        let decided = Decided { round: K, from: 0, below: 3 };
        let ack_write = |permission| PaxosMessage::AckWrite { round: K, instance: 0, permission };
        assert_texts(vec![
            (read(false), "read(k4, i0)"),
            (read(true), "read(k4, i0 onwards)"),
            (ack(vec![]), "ack_read(k4, i0, next 0, [])"),
            (ack(vec![found]), "ack_read(k4, i0, next 0, [i0: k2 {p0.1.0 [c1.0 put k0]}])"),
            (write(None), "write(k4, i3, {p0.1.0 [c1.0 put k0]})"),
            (write(Some(decided)), "write(k4, i3, {p0.1.0 [c1.0 put k0]}, decided k4, i0..3)"),
            (ack_write(false), "ack_write(k4, i0)"),
            (ack_write(true), "ack_write(k4, i0, permission)"),
            (
                PaxosMessage::Nack { round: K, instance: 0, promised: Round(8) },
                "nack(k4, i0, promised k8)",
            ),
        ]);
    }

    #[test]
    fn messages_of_broadcast_and_election_in_one_line() {
        let heartbeat = |hears_majority| PaxosMessage::Heartbeat {
            epoch: 1,
            next_batch: 3,
            written_below: 5,
            hears_majority,
        };
        assert_texts(vec![
            (heartbeat(true), "heartbeat(epoch 1, next 3, written below 5, majority)"),
            (heartbeat(false), "heartbeat(epoch 1, next 3, written below 5, no majority)"),
            (PaxosMessage::Forward(parcel(7, 1)), "forward(p0.1.7 [c1.0 put k0])"),
            (
                PaxosMessage::Decision(Decided { round: K, from: 2, below: 3 }),
                "decision(k4, i2..3)",
            ),
            (PaxosMessage::Lagging { next_batch: 3 }, "lagging(next 3)"),
            (
                PaxosMessage::Update { from: 3, values: vec![one(), Arc::from([])] },
                "update(i3, [{p0.1.0 [c1.0 put k0]}, {}])",
            ),
            (
                PaxosMessage::State { next_batch: 9, delivered: sets() },
                "state(next 9, delivered [p0.1.5, p1.2.0+2, p2.0.0])",
            ),
        ]);
    }

    #[test]
    fn records_in_one_line() {
        let read = |instance| PaxosRecord::Read { instance, round: K };
        let delivered = |value| PaxosRecord::Delivered { instance: 2, value };
        assert_texts(vec![
            (PaxosRecord::Incarnation(2), "Incarnation(2)"),
            (read(Some(0)), "Read(i0, k4)"),
            (read(None), "Read(onwards, k4)"),
            (
                PaxosRecord::Write { instance: 0, round: K, value: one() },
                "Write(i0, k4, {p0.1.0 [c1.0 put k0]})",
            ),
            (delivered(None), "Delivered(i2)"),
            (delivered(Some(one())), "Delivered(i2, {p0.1.0 [c1.0 put k0]})"),
            (
                PaxosRecord::Installed { next_batch: 9, delivered: sets() },
                "Installed(next 9, delivered [p0.1.5, p1.2.0+2, p2.0.0])",
            ),
        ]);
    }

    #[test]
    fn of_a_long_list_the_first_few_and_how_many_more() {
        let first = "c1.0 put k0, c1.1 put k0, c1.2 put k0";
        assert_eq!(parcel(0, 3).to_string(), format!("p0.1.0 [{first}]"));
        assert_eq!(parcel(0, 15).to_string(), format!("p0.1.0 [{first}, +12]"));
        let values = PaxosMessage::Update { from: 0, values: vec![Arc::from([]); 5] };
        assert_eq!(values.to_string(), "update(i0, [{}, {}, {}, +2])");
    }
}
