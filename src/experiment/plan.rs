//! The runs of an experiment.
