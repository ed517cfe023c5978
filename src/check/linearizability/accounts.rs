//! Decides a set of accounts: the general search over all their balances.
//!
//! A transfer returns both balances after it, so few fit any state, and the search seldom has to
//! choose. Where it must, it takes the one that was answered first.

use super::register::{Stop, conclude};
use super::search::{Budget, Item, link_alike, search};
use crate::check::model::{AccountsModel, TransferOp};

/// Decides the transfers between `count` accounts.
pub(super) fn check_accounts(ops: &[TransferOp], count: usize, budget: Budget) -> Result<(), Stop> {
    let mut items: Vec<Item> = ops.iter().map(|op| op.span).collect();
    link_alike(&mut items, |item| Some((ops[item].from, ops[item].to, ops[item].amount)));
    conclude(search(&items, AccountsModel::new(ops, count), budget))
}
