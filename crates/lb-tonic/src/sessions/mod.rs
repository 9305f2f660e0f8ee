//! Sessions on a channel: calls that belong together go to one endpoint, whatever the policy.
//!
//! Three ways, chosen with [`LbChannelBuilder::sessions`](crate::LbChannelBuilder::sessions):
//!
//! | way | remembers | moves when | after a restart | several clients |
//! |---|---|---|---|---|
//! | [`SessionConfig::table`] | each session, in this process | its endpoint goes | by export and import | by a shared [`SessionStore`], in one process |
//! | [`SessionConfig::hash`] | nothing | the set of endpoints changes, for a few sessions each time | as before | agree, if they see the same endpoints |
//! | [`SessionConfig::token`] | nothing; the caller carries a signed token | its endpoint goes | as before | agree, if they share a key |
//!
//! With the first two a call says which session it is of, by [`PickOptions`](crate::PickOptions); a call that does not is none of their
//! business and costs one branch. With the last the token in the call's metadata says where it belongs.
//!
//! **When the endpoint of a session cannot take a call**, the [`SessionRules`](lb_core::sessions::SessionRules) say what becomes of
//! it, with a default for each case: drained, hidden by a stage, excluded by the call's own wishes, failing, gone. While it connects
//! it is waited for, 2 s by default. Another attempt of the same call goes to the same endpoint again, as gRPC prescribes (gRFC A55): the
//! server may have kept something of the first. A stream stays where it began; a session that moves meanwhile moves its later calls.
//!
//! **What it costs.** A call of a session in a table takes the lock of one shard of sixteen twice, to find its endpoint and when it has
//! ended: both together .3 to .5 µs in a table of a thousand, and about 3 µs in one of a hundred thousand visited at random, most of it
//! waiting for memory. The first such call after a change of the channel makes an index of its endpoints, linear in their number.
//!
//! **Nobody has to clean up.** Sessions whose time is over are dropped by the channel's own task, with or without traffic.

mod carrier;
mod config;
mod index;
mod moved;
mod seek;
mod store;
mod sweep;
mod token;

pub use config::SessionConfig;
pub use store::{SessionCursor, SessionExport, SessionPage, SessionStore};
pub use token::{SessionTokens, TokenStats};

pub(crate) use config::Prepared;
pub(crate) use moved::Moved;
pub(crate) use seek::{ChannelSessions, Tie};
pub(crate) use sweep::Sweep;
