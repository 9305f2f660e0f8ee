//! lb-transport
