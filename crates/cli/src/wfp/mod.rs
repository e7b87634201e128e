//! `ebpf-blocks wfp`: transactions of the Windows Filtering Platform, on the model of its engine.

mod report;
mod strategy;
mod stress;
mod worker;

pub(crate) use stress::stress;
