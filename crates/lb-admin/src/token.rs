//! Who may look and who may steer.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret shorter than this can be guessed over a network by somebody with patience.
const SHORTEST: usize = 16;

/// No header of ours is longer.
const LONGEST: usize = 512;

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Look at everything.
    Reader,
    /// Look at everything and change it.
    Operator,
}

/// A token that opens the admin server: a secret, the name of who has it, and what that one may do.
///
/// Only a digest of the secret is kept, and it shows nowhere: not in `Debug`, not in logs, not in answers.
///
/// ```
/// use lb_admin::AdminToken;
///
/// let token = AdminToken::operator("night shift", "correct-horse-battery-staple")?;
/// assert!(!format!("{token:?}").contains("horse"));
/// assert!(AdminToken::operator("nobody", "short").is_err());
/// # Ok::<(), lb_admin::TokenError>(())
/// ```
#[derive(Clone)]
pub struct AdminToken {
    name: Arc<str>,
    role: Role,
    digest: [u8; 32],
}

/// A secret that cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It has another length than is allowed.
    #[error("the token has {0} characters, allowed are {SHORTEST} to {LONGEST}")]
    Length(usize),
    /// It has a character that no header can carry, or a space.
    #[error("the token has a character that is not visible ASCII")]
    Character,
}

impl AdminToken {
    /// A token whose bearer may do everything. `name` stands in the audit lines.
    ///
    /// # Errors
    /// The secret must have 16 to 512 characters of visible ASCII.
    pub fn operator(name: impl Into<Arc<str>>, secret: &str) -> Result<Self, TokenError> {
        Self::new(name.into(), Role::Operator, secret)
    }

    /// A token whose bearer may look.
    ///
    /// # Errors
    /// As for [`operator`](Self::operator).
    pub fn reader(name: impl Into<Arc<str>>, secret: &str) -> Result<Self, TokenError> {
        Self::new(name.into(), Role::Reader, secret)
    }

    fn new(name: Arc<str>, role: Role, secret: &str) -> Result<Self, TokenError> {
        if !(SHORTEST..=LONGEST).contains(&secret.len()) {
            return Err(TokenError::Length(secret.len()));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        Ok(Self { name, role, digest: digest(secret.as_bytes()) })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminToken").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The token with this secret. Takes as long whichever it is, and whether there is one: digests are compared, all of them, each whole.
pub(crate) fn find<'a>(tokens: &'a [AdminToken], secret: &[u8]) -> Option<&'a AdminToken> {
    let digest = digest(secret);
    tokens.iter().fold(None, |found, token| if bool::from(token.digest.ct_eq(&digest)) { Some(token) } else { found })
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_fits_a_header() {
        let refused = |secret: &str| AdminToken::operator("x", secret).err();
        assert_eq!(refused("0123456789abcde"), Some(TokenError::Length(15)));
        assert_eq!(refused(&"x".repeat(513)), Some(TokenError::Length(513)));
        assert_eq!(refused("0123456789abcde\n"), Some(TokenError::Character));
        assert_eq!(refused("0123456789 abcdef"), Some(TokenError::Character));
        assert_eq!(refused("0123456789abcdef"), None);
    }

    #[test]
    fn only_the_whole_secret_opens() {
        let tokens =
            [AdminToken::reader("look", "0123456789abcdef").unwrap(), AdminToken::operator("steer", "fedcba9876543210").unwrap()];
        let name = |secret: &str| find(&tokens, secret.as_bytes()).map(|token| (token.name().to_string(), token.role()));
        assert_eq!(name("0123456789abcdef"), Some(("look".into(), Role::Reader)));
        assert_eq!(name("fedcba9876543210"), Some(("steer".into(), Role::Operator)));
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0", "fedcba987654321"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
