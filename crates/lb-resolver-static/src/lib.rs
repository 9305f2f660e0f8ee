//! Resolvers for targets that need no registry: addresses in the target, a watched file, or the program itself.
//!
//! | scheme | resolver | example |
//! |---|---|---|
//! | `static` | [`StaticResolver`] | `static:///10.0.0.1:50051,orders.internal:50051;weight=3` |
//! | `ipv4`, `ipv6` | [`StaticResolver`] | `ipv4:10.0.0.1:50051,10.0.0.2`, `ipv6:[2001:db8::1]:50051` |
//! | `unix`, `unix-abstract` | [`StaticResolver`] | `unix:/run/orders.sock`, `unix-abstract:orders` |
//! | `file` | [`FileResolver`] | `file:///etc/orders.json`, `file:orders.yaml` |
//! | any | [`ManualResolver`], [`StaticResolver::of`] | endpoints given by the program, changed at run time |
//!
//! Source: gRPC naming. The port of an address that has none is 443, as gRPC has it. What [`StaticResolver`] is given
//! does not change, so asking it to look again does nothing.

mod file;
mod fixed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod list;
mod manual;

pub use file::FileResolver;
pub use file::WatchedFile;
pub use file::endpoints_from_json;
pub use fixed::StaticResolver;
pub use manual::ManualHandle;
pub use manual::ManualResolver;
