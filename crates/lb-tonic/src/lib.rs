//! lb-tonic
