//! Experiments: the file, the plan, the deployment, the results directory.

pub mod bounds;
pub mod file;
pub mod network;
pub mod plan;
pub mod run;
pub mod thresholds;
pub mod units;
