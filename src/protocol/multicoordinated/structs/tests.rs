//! Tests of the axioms, of the operators against their definitions, and of what was published wrong.

mod axioms;
mod commands;
mod graph;
mod pick;
mod published;
mod relation;
mod universe;
