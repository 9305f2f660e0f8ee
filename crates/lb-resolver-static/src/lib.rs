//! lb-resolver-static
