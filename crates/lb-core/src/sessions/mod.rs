//! Sessions: calls that belong together go to one endpoint.
//!
//! A server that keeps something of a user in memory (a model loaded for them, a half-finished upload, a warm cache) is fast, or
//! right, only if the user's calls come back to it. A policy spreads calls without knowing that. A [`SessionTable`] remembers
//! instead where the policy placed the first call of a session, and sends the others there too:
//!
//! - A call asks with [`SessionTable::seek`] and says how the remembered endpoint *stands* towards it ([`Standing`]): serving,
//!   coming up, failing, drained, hidden by a stage, not fit for this call, gone. [`SessionRules`] turn that into one of: go there, wait,
//!   fail, be *lent* to another endpoint for now, or *move* for good.
//! - If another endpoint has to be found the policy picks it, and [`SessionTable::settle`] remembers it. Of several first calls at
//!   once one settles and the others are told to ask again, so that a session never has two homes.
//! - A lent session goes to the same guest endpoint each time, and home as soon as home can take its calls.
//!
//! **Time.** A session ends after an idle time (default 5 min) in which it had no call in progress, and at an absolute age (default
//! 30 min), whatever it does. A session at its age is placed anew by its next call; calls in progress finish where they are.
//!
//! **Bound.** At most [`max_sessions`](SessionLimits::max_sessions), and at most about 300 bytes for each: ids longer than 64 bytes are
//! kept as a hash of 128 bits. Looking up is O(1) and takes no memory; placing and ending one is O(log n); cleaning up does not look at
//! sessions that stay.
//!
//! **Fairness.** One caller that invents a session per call must not push out everybody's. A session is *new* until its second
//! call, then *proven*. When the table is full the idlest new session goes; a proven one goes, idlest first, only while proven sessions
//! have more than four fifths of the room. So any number of ids used once cannot push out a proven session that is within
//! those four fifths. (Segmented LRU: Karedla, Love and Wherry, "Caching Strategies to Improve Disk System Performance", Computer
//! 1994; here without its demotions, so that both segments stay in order of use and can be cleaned up from one end.)
//!
//! **When not.** If any endpoint can serve any call, because sessions load the endpoints unevenly: twice the mean is common with a
//! hundred sessions each. If several clients, or a client after a restart, must agree without sharing a table: hash the session with a
//! hashing policy instead, or let the caller carry a token. Against a caller that *uses* its many ids, nothing here helps but a limit
//! on that caller.
//!
//! ```
//! use std::time::Instant;
//! use lb_core::sessions::{SessionLimits, SessionRules, SessionTable, Settled, Sought, Standing};
//!
//! let (mut table, rules) = (SessionTable::new(SessionLimits::default(), 1), SessionRules::default());
//! let now = Instant::now();
//! let Sought::Choose(choice) = table.seek(now, "user-1", &rules, |_| (Standing::Serving, ())) else { panic!() };
//! // The policy picks 10.0.0.1:50051.
//! assert!(matches!(table.settle(now, "user-1", &choice, "10.0.0.1:50051"), Settled::Placed { .. }));
//! // From now on calls of the session find it.
//! let sought = table.seek(now, "user-1", &rules, |home| (Standing::Serving, home.to_owned()));
//! assert!(matches!(sought, Sought::Use { place, .. } if place == "10.0.0.1:50051"));
//! ```

mod config;
mod homes;
mod listing;
mod name;
mod record;
mod rules;
mod shelves;
mod table;

#[cfg(test)]
mod tests;

pub use config::SessionLimits;
pub use record::{SessionInfo, SessionRecord, SessionStats};
pub use rules::{SessionFate, SessionRules, SessionVerdict, Standing};
pub use shelves::SessionTicket;
pub use table::{SessionChoice, SessionTable, Settled, Sought};
