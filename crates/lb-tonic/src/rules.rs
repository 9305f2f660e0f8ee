//! What the service config in use means to calls, and what is dropped of them, as it is published with every snapshot.

use std::sync::Arc;

use lb_core::drops::Dropper;
use lb_core::retry::Throttling;
use lb_core::service_config::{MethodTable, ServiceConfig};

/// Part of a snapshot. Without method configs a call looks at one pointer that is null, and likewise without drops.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// `None` if there is nothing for any method.
    pub(crate) methods: Option<Arc<MethodTable>>,
    /// The whole config; `None` if there is none.
    pub(crate) config: Option<Arc<ServiceConfig>>,
    /// Whether the resolver has had its say. Until then these are not the last word for a call that waits for it.
    pub(crate) settled: bool,
    /// `None` if nothing was ever to be dropped; one that drops nothing any more keeps what was counted.
    pub(crate) drops: Option<Arc<Dropper>>,
}

impl Rules {
    pub(crate) fn new(config: Option<Arc<ServiceConfig>>, settled: bool) -> Self {
        let methods = config.as_ref().map(|config| &config.methods).filter(|methods| !methods.is_empty());
        Self { methods: methods.cloned(), config, settled, drops: None }
    }

    pub(crate) fn with_drops(self, drops: Option<Arc<Dropper>>) -> Self {
        Self { drops, ..self }
    }

    /// How retries are held back, if the config says.
    pub(crate) fn throttling(&self) -> Option<Throttling> {
        self.config.as_ref()?.throttling
    }
}
