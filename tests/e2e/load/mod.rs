//! Load reports from servers to policies: with calls, out of band, and asked for.

mod listener;
mod out_of_band;
mod per_call;
mod prequal;
mod probes;
mod script;
