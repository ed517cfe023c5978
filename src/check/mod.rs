//! Histories and verdicts.
//!
//! # The problem
//!
//! Clients on several continents read and write a replicated store, and each sees only its own
//! answers. Did the store behave as one copy would? It did if all operations can be put in one
//! order in which every answer is right and in which an operation that was answered before another
//! was asked stands before it (Herlihy & Wing, "Linearizability", 1990). An operation whose outcome
//! nobody knows may stand anywhere after it was asked, or nowhere.
//!
//! # What the verdict means for commands on several keys
//!
//! A transfer touches two accounts. Here it is one operation on both, so an order must explain it
//! whole: both balances at one place, and that place between its invocation and its response. This
//! is *strict serialisability* (Papadimitriou, "The serializability of concurrent database updates",
//! 1979): the commands have the effect of some serial execution that keeps real time, which is to
//! say that the store, taken as one object, is linearizable.
//!
//! The checker does not look at the whole store at once. Accounts that transfers connect, directly
//! or through others, are one *part*; every register, which no command on several keys touches, is
//! one. Each operation touches one part only, so the store is a composition of as many objects,
//! and linearizability is local: the whole is linearizable if and only if each part is. Nothing
//! finer would do. Of single accounts locality does not speak, for a transfer is an operation on
//! two of them; orders of the accounts, each right alone, may contradict each other in a circle
//! that real time closes. That is the weaker *per-object linearizability* of `EPaxos`;
//! [`linearizability::per_object`] decides it, and `linearizability/per_object.rs` has the example.
//! It decides no verdict: a history that has only this is a violation, and the explanation says so.
//!
//! # The idea
//!
//! To look for such an order is hard in general (Gibbons & Korach, "Testing Shared Memories", 1997,
//! show it NP-complete), so the work is to search little:
//!
//! - *Keys apart.* A history is linearizable if its restriction to each key is (Herlihy & Wing's
//!   locality; "P-compositionality" in Horn & Kroening, "Faster linearizability checking via
//!   P-compositionality", 2015). Transfers tie accounts together; each connected set is one part.
//! - *No search where values tell.* Every written value is unique, so a read names its write.
//!   Reads, writes, swaps and compare-and-sets of one register are then decided by sorting
//!   intervals, after Gibbons & Korach's zones; `linearizability/register.rs` gives the argument.
//! - *Search with a memory for the rest.* Wing & Gong ("Testing and verifying concurrent objects",
//!   1993) try orders by depth-first search; Lowe ("Testing for linearizability", 2017) adds the
//!   linked list of what may come next and the memory of situations that led nowhere. Porcupine
//!   (Athalye) made the combination known. Deletes (absence is not unique) and transfers need it, and
//!   adds and appends that were not answered: what each left depends on its place. Some tens of them on one
//!   register can be told, and more of adds, many of which are alike.
//!
//! A search has a budget of memory and time. Where it runs out the verdict is
//! [`Verdict::Unknown`], which is not a success.
//!
//! | file | does |
//! | --- | --- |
//! | `invariants/` | what must hold after every step of a run |
//! | `history.rs` | the history's format: writer, reader, pairing |
//! | `model.rs` | the sequential store, written independently of [`crate::kv`] |
//! | `linearizability.rs` | partitions, threads, verdict |
//! | `linearizability/register.rs` | one register: blocks and zones |
//! | `linearizability/accounts.rs` | transfers: a search of its own, which knows why it is stuck |
//! | `linearizability/per_object.rs` | the weaker property: each account alone |
//! | `linearizability/search.rs` | the general search, for registers with deletes, repeated values, or adds and appends that were not answered |
//! | `linearizability/explain.rs` | the smallest readable account of a violation |

pub mod history;
pub mod invariants;
pub mod linearizability;
mod model;

pub use history::{History, read_history};
pub use linearizability::{Limits, Verdict, Violation, check};
