//! Advice: what a program or a person might do about the load of the endpoints.
//!
//! Functions of plain values: the load of each endpoint ([`Load`]) and what there is to do ([`Work`]) go in, advice with its reason in words
//! comes out. Nothing here acts, nothing looks at a clock (`now` is a time since any fixed moment of the caller's), and all of it can
//! be written as JSON and read back, state included.
//!
//! | question | answer |
//! |---|---|
//! | who is overloaded? | [`detect_overload`] |
//! | what should move where? | [`suggest_migrations`] |
//! | in which order, and where to, should this queue be worked off? | [`reorder_queue`] |
//! | who gets which of these? | [`assign_batch`] |
//! | how much will it be soon? | [`Forecast`] |
//! | how many endpoints should there be? | [`ScalingSignal`] |
//!
//! **Bound.** Overload, forecast and scaling are linear in the endpoints; placing work costs endpoints times work.
//!
//! **When not.** To place a call: that is what policies are for, and they see it at once. Advice is for what a policy cannot do:
//! to move what is placed already, to look ahead, and to ask for more endpoints.
//!
//! ```
//! use lb_core::advice::{Limits, Load, suggest_migrations};
//! use serde_json::json;
//!
//! let loads: Vec<Load> = serde_json::from_value(json!([
//!     {"endpoint": "10.0.0.1:1", "inFlight": 95, "capacity": 100, "sessions": 19},
//!     {"endpoint": "10.0.0.2:1", "inFlight": 20, "capacity": 100},
//! ]))?;
//! let advice = suggest_migrations(&Limits::default(), &loads);
//! assert_eq!((advice[0].to.as_str(), advice[0].count), ("10.0.0.2:1", 5));
//! println!("{}", serde_json::to_string_pretty(&advice)?);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod forecast;
mod load;
mod migrate;
mod overload;
mod place;
#[cfg(test)]
mod place_tests;
mod scaling;
mod seconds;

pub use forecast::{Forecast, Prediction};
pub use load::{Limits, Load};
pub use migrate::{Migration, Moving, suggest_migrations};
pub use overload::{OverloadChange, detect_overload};
pub use place::{Assignment, Queued, Work, assign_batch, reorder_queue};
pub use scaling::{ScalingAdvice, ScalingConfig, ScalingSignal};
