//! The rooms and who may enter them: checked on the real dependency graph and the real files, not on anybody's word.
//!
//! [`graph`] reads `cargo metadata` and fails on an edge the house plan forbids. [`files`] fails on a file that has outgrown its room, on one
//! policy that uses another, on a package outside the workspace's lints, and on text that names a registry's host or somebody's machine.
//! [`spec_tests`] fails if the list of what specifications ask for names a test that is not there.

mod files;
mod graph;
mod spec_tests;
