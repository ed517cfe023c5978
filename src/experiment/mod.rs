//! Experiments: the file, the plan, the deployment, the results directory.

pub mod results;
