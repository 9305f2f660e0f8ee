//! From a target's text to the stream of its endpoints.

use evenkeel::BuildError;
use evenkeel::ResolverRegistry;
use evenkeel::ResolverStream;
use evenkeel::Target;
use evenkeel::Trigger;

use crate::exit::Exit;
use crate::exit::chain;

/// A target that is being resolved.
pub(crate) struct Seek {
    pub(crate) target: Target,
    /// The `:authority` a channel to the target would use.
    pub(crate) authority: String,
    pub(crate) stream: ResolverStream,
    /// Held so that the resolver never sees its other half gone.
    _again: Trigger,
}

/// Starts resolving, with the resolvers a channel has. Must be called within a runtime.
pub(crate) fn start(text: &str) -> Result<Seek, Exit> {
    let (resolver, target) = ResolverRegistry::default().find(text).map_err(|error: BuildError| Exit::Failed(chain(&error)))?;
    let authority = resolver.authority(&target).unwrap_or_else(|| target.default_authority());
    let (again, heard) = Trigger::pair();
    let stream = resolver.resolve(&target, heard);
    Ok(Seek { target, authority, stream, _again: again })
}
