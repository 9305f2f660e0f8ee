//! One logical server.
//!
//! An endpoint has one or more addresses, of which one is in use at a time (gRFC A61). Its identity is the *set* of its
//! addresses: the same addresses in another order are the same endpoint with another preference, and any address more or less
//! makes it another endpoint.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::attributes::Attributes;

/// One logical server: its addresses in order of preference, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    key: EndpointKey,
    addresses: Arc<[Address]>,
    /// What the resolver knows of it; may change without costing the connection.
    pub attributes: Attributes,
}

/// Identifies an endpoint across resolver updates: its addresses, sorted and joined by commas.
///
/// Cheap to clone, compare and print.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct EndpointKey(Arc<str>);

/// An endpoint must have at least one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint needs at least one address")]
pub struct NoAddresses;

impl Endpoint {
    /// An endpoint with one address and default attributes.
    pub fn new(address: impl Into<Address>) -> Self {
        let address = address.into();
        Self { key: EndpointKey(address.to_string().into()), addresses: [address].into(), attributes: Attributes::default() }
    }

    /// An endpoint with several addresses in order of preference; a repeated address counts once.
    pub fn with_addresses(addresses: impl IntoIterator<Item = Address>) -> Result<Self, NoAddresses> {
        let mut unique: Vec<Address> = Vec::new();
        for address in addresses {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        if unique.is_empty() {
            return Err(NoAddresses);
        }
        Ok(Self { key: EndpointKey::of(&unique), addresses: unique.into(), attributes: Attributes::default() })
    }

    /// The same endpoint with other attributes.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// The same endpoint with another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.attributes.weight = weight;
        self
    }

    /// Its identity.
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }

    /// Its addresses, most preferred first; never empty.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attributes.id {
            Some(id) => write!(f, "{id} ({})", self.key),
            None => self.key.fmt(f),
        }
    }
}

impl EndpointKey {
    fn of(addresses: &[Address]) -> Self {
        let mut texts: Vec<String> = addresses.iter().map(Address::to_string).collect();
        texts.sort_unstable();
        Self(texts.join(",").into())
    }

    /// The key as text: the sorted addresses joined by commas.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EndpointKey {
    /// A key from its text form, with the addresses in any order.
    fn from(text: &str) -> Self {
        let mut parts: Vec<&str> = text.split(',').collect();
        parts.sort_unstable();
        Self(parts.join(",").into())
    }
}

impl From<EndpointKey> for Arc<str> {
    /// The key as text.
    fn from(key: EndpointKey) -> Self {
        key.0
    }
}

impl From<String> for EndpointKey {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_key_ignores_order_and_repetition() {
        let one = Endpoint::with_addresses(addresses(&["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"])).unwrap();
        let other = Endpoint::with_addresses(addresses(&["10.0.0.1:1", "10.0.0.2:1"])).unwrap();
        assert_eq!(one.key(), other.key());
        assert_eq!(one.addresses().len(), 2);
        assert_eq!(*one.key(), EndpointKey::from("10.0.0.2:1,10.0.0.1:1"));
    }

    #[test]
    fn an_address_more_is_another_endpoint() {
        let one = Endpoint::with_addresses(addresses(&["10.0.0.1:1"])).unwrap();
        let other = Endpoint::with_addresses(addresses(&["10.0.0.1:1", "10.0.0.2:1"])).unwrap();
        assert_ne!(one.key(), other.key());
        assert_eq!(Endpoint::with_addresses([]), Err(NoAddresses));
    }
}
