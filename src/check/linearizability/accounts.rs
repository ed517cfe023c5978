//! Decides a set of accounts: the general search over all their balances.
//!
//! A transfer returns both balances after it, so few fit any state, and the search seldom has to
//! choose. Where it must, it takes the one that was answered first.

use rustc_hash::FxHashMap;

use super::register::{Stop, conclude};
use super::search::{Budget, Item, search};
use crate::check::model::{AccountsModel, TransferOp};

/// Decides the transfers between `count` accounts.
pub(super) fn check_accounts(
    mut ops: Vec<TransferOp>,
    count: usize,
    budget: Budget,
) -> Result<(), Stop> {
    ops.sort_by_key(|op| op.span.begin_ns);
    let mut alike = FxHashMap::default();
    let items: Vec<Item> = (0u32..)
        .zip(&ops)
        .map(|(index, op)| {
            let mut item = op.span;
            if item.optional {
                item.after = alike.insert((op.from, op.to, op.amount), index);
            }
            item
        })
        .collect();
    conclude(search(&items, AccountsModel::new(&ops, count), budget))
}
