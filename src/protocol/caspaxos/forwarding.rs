//! Who loses leaves its clients' commands to the winner (a rule of this implementation: the paper leaves contention
//! to "random delays").
//!
//! A proposer that is far from the others loses most of its attempts against one that is near. After
//! [`super::options::CaspaxosOptions::forward_after`] losses in a row on a register it sends the commands that wait
//! there to the proposer that won, which composes them with its own: one change, one round trip. From then on what
//! is asked of that register is sent on at once ([`Winner`]), until the winner says that nobody else uses it any
//! more: then the register comes home. What the winner does is in [`super::hosting`].
//!
//! *A command is applied once.* Only what was never in an Accept is forwarded. From then on it is the winner's
//! business alone, until the winner says that it has not taken it and never will.
//!
//! *The winner's life.* What it has taken is lost when it crashes. So a Forward names a ballot that the winner was
//! heard to use, and no other life of it takes the Forward. (Not the ballot of the conflict: an acceptor may tell of
//! one that is long over. Who was not heard of lately wins nothing, and is sent nothing.) Who hears "not in this
//! life" does not know whether an earlier one has taken it: the network may have delivered the Forward twice.
//!
//! *Bounded:* [`FORWARDS_MAX`] Forwards without an answer, [`WINNERS_MAX`] winners known, one for each register. A
//! Forward is sent again until somebody answers, but not for ever: then its outcome is unknown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ballot::Ballot;
use super::message::{CaspaxosMessage, Fate};
use super::options::{CaspaxosOptions, Reads};
use super::works::Work;
use super::{Caspaxos, CaspaxosTimer};
use crate::command::{Command, Key, NodeId, Outcome};
use crate::mutants::mutant;
use crate::protocol::{Effect, Effects, Time};

/// Forwards that nobody has answered, at most.
const FORWARDS_MAX: usize = 1024;

/// Registers of which a winner is known, at most.
const WINNERS_MAX: usize = 4096;

/// Commands of one Forward, at most, and their bytes, about.
pub const FORWARDED_MAX: usize = 4096;
const FORWARDED_BYTES_MAX: usize = 1 << 20;

/// A winner that was silent so often when it was asked again is no longer believed to be one.
const SILENCES_BELIEVED: u8 = 2;

/// After so many silences the outcome is unknown.
const SILENCES_MAX: u8 = 4;

/// The same where the winner says each time that it has not come to an end: it may hear this proposer, and no quorum.
const ASKED_MAX: u8 = 40;

/// Who wins a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Winner {
    who: NodeId,
    /// The last ballot that it was heard to use, when it was believed to have won.
    ballot: Ballot,
    /// It is believed so long, unless it says more.
    until: Time,
}

/// A Forward without an answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Sent {
    to: NodeId,
    seen: Ballot,
    commands: Arc<[Command]>,
    /// Which of them are answered: a long answer comes in parts.
    told: Vec<bool>,
    at: Time,
    asked: u8,
    silences: u8,
}

/// What was forwarded, and to whom the next will be.
#[derive(Clone, Default, Hash, Debug)]
pub(super) struct Forwarding {
    /// The last ballot that each other proposer was heard to use, and when it was heard last.
    heard: BTreeMap<NodeId, (Ballot, Time)>,
    winners: BTreeMap<Key, Winner>,
    /// What leaves when the turn ends, and to whom.
    leaving: BTreeMap<Key, (NodeId, Vec<Command>)>,
    /// By number: each is one of the proposer's counters, so that no life uses it twice.
    sent: BTreeMap<u64, Sent>,
    is_armed: bool,
}

impl Forwarding {
    /// A configuration has ended, and with it who won in it.
    pub(super) fn forget_winners(&mut self) {
        self.winners.clear();
    }

    /// Nobody is believed to win this register.
    pub(super) fn forget_winner(&mut self, key: Key) {
        self.winners.remove(&key);
    }

    /// Whether it still waits for what became of a Forward.
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.sent.contains_key(&number)
    }

    fn is_full(&self) -> bool {
        self.sent.len() + self.leaving.len() >= FORWARDS_MAX
    }
}

impl CaspaxosOptions {
    /// How long it is believed that a proposer is there, or wins.
    pub(super) fn believed(&self) -> Duration {
        Duration::from_millis(2 * self.resend_ms)
    }
}

impl Caspaxos {
    /// A proposer was heard to use this ballot of its own.
    pub(super) fn note_heard(&mut self, now: Time, from: NodeId, ballot: Ballot) {
        if self.options.forward_after == 0 || from == self.me {
            return;
        }
        let (known, at) = self.forwarding.heard.entry(from).or_insert((ballot, now));
        // By their counters: a later life may not know of its last configuration yet.
        if ballot.counter() > known.counter() {
            *known = ballot;
        }
        *at = now;
    }

    /// What another proposer was heard to use, if it was heard of lately.
    fn heard_of(&self, now: Time, who: NodeId) -> Option<Ballot> {
        let (ballot, at) = self.forwarding.heard.get(&who)?;
        (now.since(*at) <= self.options.believed()).then_some(*ballot)
    }

    fn winner(&mut self, now: Time, key: Key) -> Option<Winner> {
        let winner = *self.forwarding.winners.get(&key)?;
        if now <= winner.until && self.heard_of(now, winner.who).is_some() {
            return Some(winner);
        }
        self.forwarding.forget_winner(key);
        None
    }

    /// A ballot of whom this proposer takes for the winner of a register; [`Ballot::ZERO`] if of nobody.
    pub(super) fn winners_ballot(&mut self, now: Time, key: Key) -> Ballot {
        self.winner(now, key).map_or(Ballot::ZERO, |winner| winner.ballot)
    }

    /// The proposer of this ballot has won a register, or still wins it.
    fn believe(&mut self, now: Time, key: Key, who: NodeId) -> bool {
        let is_member = self.configuration.members().contains(who);
        let Some(ballot) = self.heard_of(now, who).filter(|_| is_member && who != self.me) else {
            return false;
        };
        let winners = &mut self.forwarding.winners;
        if winners.len() >= WINNERS_MAX && !winners.contains_key(&key) {
            winners.retain(|_, winner| now <= winner.until);
            if winners.len() >= WINNERS_MAX {
                return false;
            }
        }
        let until = now.after(self.options.believed());
        winners.insert(key, Winner { who, ballot, until });
        true
    }

    /// After a loss: whether nothing is left to do here, as all was left to the winner.
    pub(super) fn leaves_after_loss(&mut self, now: Time, index: u32, rival: Ballot) -> bool {
        let enough = self.options.forward_after;
        let Some(work) = self.works.get(index) else { return false };
        if enough == 0 || work.losses < enough || rival.is_zero() {
            return false;
        }
        let (key, who) = (work.key, rival.proposer());
        // Who has itself left the register to this proposer only ends what it has begun.
        let wins = !self.hosting.has_used(who, key) && self.believe(now, key, who);
        wins && self.leave(now, index)
    }

    /// Before an attempt: whether nothing is left to do here, as the register has a winner.
    pub(super) fn leaves_instead(&mut self, now: Time, index: u32) -> bool {
        if self.forwarding.winners.is_empty() {
            return false;
        }
        let Some(work) = self.works.get(index) else { return false };
        let (key, place) = (work.key, work.place);
        if self.reads_first(work) {
            return false;
        }
        if self.registers.at(place).is_some_and(|register| register.is_prepared) {
            // It is this proposer.
            self.forwarding.forget_winner(key);
        }
        self.leave(now, index)
    }

    /// Whether all that a work is asked for are reads that disturb nobody.
    fn reads_first(&self, work: &Work) -> bool {
        let mut all = work.commands.iter().chain(&work.waiting);
        let only_reads = all.all(|command| command.operation.is_read());
        self.options.reads == Reads::Clean && work.reads < 2 && only_reads
    }

    /// A client's command: whether it leaves at once, as its register has a winner.
    pub(super) fn leaves_at_once(&mut self, now: Time, command: &Command) -> bool {
        let reads = self.options.reads == Reads::Clean && command.operation.is_read();
        if self.forwarding.winners.is_empty() || reads || self.forwarding.is_full() {
            return false;
        }
        let key = command.operation.keys().0;
        let Some(winner) = self.winner(now, key) else { return false };
        let leaving = self.forwarding.leaving.entry(key);
        leaving.or_insert((winner.who, Vec::new())).1.push(command.clone());
        true
    }

    /// Takes those commands from a work that may leave: no Accept of theirs was sent, and nobody has forwarded them
    /// here. Says whether nothing is left.
    fn leave(&mut self, now: Time, index: u32) -> bool {
        let Some(key) = self.works.get(index).map(|work| work.key) else { return false };
        let Some(winner) = self.winner(now, key).filter(|_| !self.forwarding.is_full()) else {
            return false;
        };
        let Some(work) = self.works.get_mut(index) else { return false };
        let may_leave = |command: &Command| !self.hosting.is_guest(command.id);
        let mut leaving: Vec<Command> = Vec::new();
        if work.earlier.is_empty() || mutant!(ForwardedThoughInDoubt) {
            let (go, stay): (_, Vec<_>) = work.commands.drain(..).partition(may_leave);
            (leaving, work.commands) = (go, stay.into());
            if mutant!(ForwardedThoughInDoubt) && work.commands.is_empty() {
                work.earlier.clear();
            }
        }
        let (go, stay): (VecDeque<_>, _) = work.waiting.drain(..).partition(may_leave);
        work.waiting = stay;
        leaving.extend(go);
        let is_done = work.is_done();
        if !leaving.is_empty() {
            let entry = self.forwarding.leaving.entry(key);
            entry.or_insert((winner.who, Vec::new())).1.append(&mut leaving);
        }
        is_done
    }

    /// Sends what leaves in this turn.
    pub(super) fn send_forwards(&mut self, now: Time, out: &mut Effects<Self>) {
        while let Some((_, (to, commands))) = self.forwarding.leaving.pop_first() {
            let mut rest = commands.into_iter().peekable();
            while rest.peek().is_some() {
                let commands = some_of(&mut rest);
                self.forward(now, to, commands, out);
            }
        }
    }

    fn forward(
        &mut self,
        now: Time,
        to: NodeId,
        commands: Arc<[Command]>,
        out: &mut Effects<Self>,
    ) {
        let number = self.next_counter(out);
        self.counters.forwarded += commands.len() as u64;
        let seen = self.forwarding.heard.get(&to).map_or(Ballot::ZERO, |(ballot, _)| *ballot);
        let told = vec![false; commands.len()];
        let sent = Sent { to, seen, commands, told, at: now, asked: 0, silences: 0 };
        self.forwarding.sent.insert(number, sent);
        self.send_forward(number, out);
        self.arm_forward(out);
    }

    fn send_forward(&self, number: u64, out: &mut Effects<Self>) {
        let Some(Sent { to, seen, commands, .. }) = self.forwarding.sent.get(&number) else {
            return;
        };
        let open = self.forwarding.sent.iter().find(|(_, sent)| sent.to == *to);
        let settled_below = open.map_or(number, |(first, _)| *first);
        let commands = commands.clone();
        let message = CaspaxosMessage::Forward { number, seen: *seen, settled_below, commands };
        out.send_after(*to, message, self.reserved.1);
    }

    fn arm_forward(&mut self, out: &mut Effects<Self>) {
        if !self.forwarding.is_armed && !self.forwarding.sent.is_empty() {
            self.forwarding.is_armed = true;
            let resend = Duration::from_millis(self.options.resend_ms);
            out.push(Effect::Arm(CaspaxosTimer::Forward, resend / 2..resend));
        }
    }

    /// Asks again what became of what was forwarded a while ago.
    pub(super) fn on_forward_timer(&mut self, now: Time, out: &mut Effects<Self>) {
        self.forwarding.is_armed = false;
        let patience = Duration::from_millis(self.options.resend_ms) / 2;
        let old = self.forwarding.sent.iter().filter(|(_, sent)| now.since(sent.at) >= patience);
        for number in old.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.ask_again(number, out);
        }
        self.arm_forward(out);
    }

    fn ask_again(&mut self, number: u64, out: &mut Effects<Self>) {
        let Some(sent) = self.forwarding.sent.get_mut(&number) else { return };
        (sent.asked, sent.silences) = (sent.asked + 1, sent.silences + 1);
        let (is_over, is_doubted) = (
            sent.asked > ASKED_MAX || sent.silences > SILENCES_MAX,
            sent.silences >= SILENCES_BELIEVED,
        );
        let key = key_of(&sent.commands);
        if is_doubted {
            self.forwarding.forget_winner(key);
        }
        if !is_over {
            self.counters.forwarded_again += 1;
            self.send_forward(number, out);
        } else if let Some(sent) = self.forwarding.sent.remove(&number) {
            self.tell_unknown(&sent, out);
        }
    }

    /// The winner says what became of a Forward.
    pub(super) fn on_forwarded(
        &mut self,
        now: Time,
        from: NodeId,
        number: u64,
        fate: Fate,
        out: &mut Effects<Self>,
    ) {
        let sent = self.forwarding.sent.get_mut(&number);
        let Some(sent) = sent.filter(|sent| sent.to == from) else { return };
        sent.silences = 0;
        let key = key_of(&sent.commands);
        if let Some((_, at)) = self.forwarding.heard.get_mut(&from) {
            *at = now;
        }
        match fate {
            // It takes its time where others are in its way: to come home would be one more.
            Fate::UnderWay if self.takes_for_winner(from, key) => {
                self.believe(now, key, from);
            }
            Fate::UnderWay => {}
            Fate::Done { first, outcomes, is_alone } => {
                self.take_outcomes(number, first as usize, outcomes, out);
                if self.takes_for_winner(from, key) && (is_alone || !self.believe(now, key, from)) {
                    self.forwarding.forget_winner(key);
                }
            }
            Fate::Refused { .. } | Fate::NotThisLife => {
                if self.takes_for_winner(from, key) {
                    self.forwarding.forget_winner(key);
                }
                let Some(sent) = self.forwarding.sent.remove(&number) else { return };
                match fate {
                    Fate::Refused { winner } if !winner.is_zero() => {
                        self.believe(now, key, winner.proposer());
                        self.come_home(&sent);
                    }
                    Fate::NotThisLife if !mutant!(ForgottenForwardFreed) => {
                        self.tell_unknown(&sent, out);
                    }
                    _ => self.come_home(&sent),
                }
            }
        }
    }

    fn takes_for_winner(&self, who: NodeId, key: Key) -> bool {
        self.forwarding.winners.get(&key).is_some_and(|winner| winner.who == who)
    }

    /// Tells clients what some of the commands of a Forward returned.
    fn take_outcomes(
        &mut self,
        number: u64,
        first: usize,
        outcomes: Vec<Outcome>,
        out: &mut Effects<Self>,
    ) {
        let Some(sent) = self.forwarding.sent.get_mut(&number) else { return };
        let mut told = Vec::new();
        for (place, outcome) in (first..sent.commands.len()).zip(outcomes) {
            if !std::mem::replace(&mut sent.told[place], true) {
                told.push((sent.commands[place].id, outcome));
            }
        }
        if sent.told.iter().all(|told| *told) {
            self.forwarding.sent.remove(&number);
        }
        for (id, outcome) in told {
            self.tell(id, outcome, out);
        }
    }

    /// The winner has not taken these, and never will.
    fn come_home(&mut self, sent: &Sent) {
        self.counters.forwarded_in_vain += sent.commands.len() as u64;
        let index = self.work_on(key_of(&sent.commands));
        if let Some(work) = self.works.get_mut(index) {
            work.waiting.extend(sent.commands.iter().cloned());
        }
    }

    /// Nobody knows, or will know, whether these took effect.
    fn tell_unknown(&mut self, sent: &Sent, out: &mut Effects<Self>) {
        for (command, _) in sent.commands.iter().zip(&sent.told).filter(|(_, told)| !**told) {
            self.tell(command.id, Outcome::Unknown, out);
        }
    }
}

/// The register of what is forwarded together.
pub(super) fn key_of(commands: &[Command]) -> Key {
    commands[0].operation.keys().0
}

/// As many as one Forward carries; at least one.
fn some_of(rest: &mut std::iter::Peekable<std::vec::IntoIter<Command>>) -> Arc<[Command]> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while some.len() < FORWARDED_MAX
        && bytes < FORWARDED_BYTES_MAX
        && let Some(command) = rest.next()
    {
        bytes += command.bytes();
        some.push(command);
    }
    some.into()
}
