//! Leader-based Paxos, deconstructed.
