//! Experiments: the file, the plan, the deployment, the results directory.
