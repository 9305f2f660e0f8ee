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

/// Schemes that a feature brings, and whether it is on. Without it such a target is taken for a name in DNS, and what is wrong with that
/// helps nobody.
const BY_FEATURE: &[(&str, &str, bool)] = &[
    ("consul", "consul", cfg!(feature = "consul")),
    ("dns", "dns", cfg!(feature = "dns")),
    ("etcd", "etcd", cfg!(feature = "etcd")),
    ("kubernetes", "kubernetes", cfg!(feature = "kubernetes")),
    ("k8s", "kubernetes", cfg!(feature = "kubernetes")),
];

/// Starts resolving, with the resolvers a channel has. Must be called within a runtime.
pub(crate) fn start(text: &str) -> Result<Seek, Exit> {
    if let Some((scheme, feature)) = left_out(text) {
        return Err(Exit::Failed(format!(
            "target {text:?}: this command was built without {scheme:?}; install evenkeel-cli with the feature {feature:?}"
        )));
    }
    let (resolver, target) = ResolverRegistry::default().find(text).map_err(|error: BuildError| Exit::Failed(chain(&error)))?;
    let authority = resolver.authority(&target).unwrap_or_else(|| target.default_authority());
    let (again, heard) = Trigger::pair();
    let stream = resolver.resolve(&target, heard);
    Ok(Seek { target, authority, stream, _again: again })
}

/// The scheme and the feature of a target whose feature is off.
fn left_out(text: &str) -> Option<(&'static str, &'static str)> {
    let off = |(scheme, _, on): &&(&str, &str, bool)| {
        // `consul:8500` is a name with a port.
        !on && text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with(":/"))
    };
    BY_FEATURE.iter().find(off).map(|(scheme, feature, _)| (*scheme, *feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_whose_feature_is_off_is_told_from_a_name() {
        for (scheme, feature, on) in BY_FEATURE {
            assert_eq!(left_out(&format!("{scheme}:///orders")), (!on).then_some((*scheme, *feature)));
            assert_eq!(left_out(&format!("{scheme}:8500")), None);
        }
        assert_eq!(left_out("static:///a:1"), None);
    }
}
