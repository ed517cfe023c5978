//! Each key alone: the weaker property that a violation may have kept.
//!
//! The projection of a history to a key has the operations that touch the key, each with its times
//! and with what its outcome says of that key. An operation on a register touches nothing else. A
//! transfer has two *sides*, the payer's and the receiver's. The side of a transfer that was
//! answered found one balance and left another, or found one and left it (refused, or nothing to
//! move). Which other balance is unknown to the side, but the answer as a whole must be one that
//! some two balances give. The side of a transfer of unknown outcome pays or receives the amount if
//! the balance allows it, or does nothing, and the two sides need not agree on that.
//!
//! A history is *per-object linearizable* if each projection is linearizable. Whatever is
//! linearizable as a whole is so too: leave out of its order all that does not touch the key. The
//! converse fails, because the orders of two keys may contradict each other through real time. Let
//! t1 move from a1 to a2, t2 from a2 to a3, t3 from a3 to a4; by the balances t3 comes before t2 on
//! a3, and t2 before t1 on a2, but t1 was answered before t3 was asked for. No two of them that
//! share an account contradict the clock. This is what `EPaxos` allows where a client is answered
//! before all that its command depends on is committed (Moraru, Andersen & Kaminsky, "A Proof of
//! Correctness for Egalitarian Paxos", 2013, §7, table 1).

use super::register::{Fault, Stop, conclude};
use super::search::{Budget, Item, Model, fingerprint, link_alike, search};
use crate::check::model::TransferOp;
use crate::kv::OPENING_BALANCE;

/// Decides the account that is number 0 in all of `ops`.
pub(super) fn check_account(ops: &[TransferOp], budget: Budget) -> Result<(), Stop> {
    if let Some(op) = ops.iter().find(|op| op.contradicts_itself()) {
        return Err(Stop::Fault(Fault::Contradiction { op: op.id }));
    }
    // One that may have moved nothing, and would have moved nothing, is not there.
    let seen = || ops.iter().filter(|op| op.outcome.is_some() || !op.is_idle());
    let sides: Vec<Side> = seen().map(Side::of).collect();
    let mut items: Vec<Item> = seen().map(|op| op.span).collect();
    link_alike(&mut items, |item| Some(sides[item]));
    conclude(search(&items, AccountModel { sides: &sides, balance: OPENING_BALANCE }, budget))
}

/// What a transfer does to one of its accounts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Side {
    /// It was answered.
    Answered { before: u64, after: u64 },
    /// Its outcome is unknown, and it is the payer.
    Pays(u64),
    /// Its outcome is unknown, and it is the receiver.
    Receives(u64),
}

impl Side {
    /// The side of account 0.
    fn of(op: &TransferOp) -> Side {
        let pays = op.from == 0;
        match (op.needs(), op.outcome) {
            (Some((payer, _)), Some((_, from, _))) if pays => {
                Side::Answered { before: payer, after: from }
            }
            (Some((_, receiver)), Some((_, _, to))) => {
                Side::Answered { before: receiver, after: to }
            }
            _ if pays => Side::Pays(op.amount),
            _ => Side::Receives(op.amount),
        }
    }
}

/// The balance of one account.
struct AccountModel<'a> {
    sides: &'a [Side],
    balance: u64,
}

impl Model for AccountModel<'_> {
    type Undo = u64;

    fn apply(&mut self, item: usize) -> Option<u64> {
        let after = match self.sides[item] {
            Side::Answered { before, after } => (before == self.balance).then_some(after),
            Side::Pays(amount) => self.balance.checked_sub(amount),
            Side::Receives(amount) => self.balance.checked_add(amount),
        };
        after.map(|after| std::mem::replace(&mut self.balance, after))
    }

    fn undo(&mut self, _item: usize, before: u64) {
        self.balance = before;
    }

    /// What finds this balance and leaves it changes nothing wherever it stands.
    fn free(&self, item: usize) -> bool {
        self.sides[item] == Side::Answered { before: self.balance, after: self.balance }
    }

    fn rank(&self, _item: usize) -> u8 {
        0
    }

    fn fingerprint(&self) -> u128 {
        fingerprint(1, self.balance)
    }
}
