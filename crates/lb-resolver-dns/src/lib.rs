//! lb-resolver-dns
