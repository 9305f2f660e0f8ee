//! What a single call says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::{ConfigError, LoadReport};

use crate::values;

/// Lets a handler say what its call means for the load of the server, and what it cost; only with the response of this call.
///
/// The [layer](crate::LoadReportLayer) puts one into the extensions of every request. Where the call and the
/// [server](crate::LoadRecorder) name the same, the call wins. A response whose handler has recorded something always carries the report.
///
/// ```
/// # struct Order;
/// use lb_server::CallRecorder;
///
/// async fn place(request: tonic::Request<Order>) -> Result<tonic::Response<()>, tonic::Status> {
///     if let Some(call) = request.extensions().get::<CallRecorder>() {
///         // An error here is a value out of range; the call itself is fine.
///         drop(call.set_request_cost("rows", 1200.0));
///     }
///     Ok(tonic::Response::new(()))
/// }
/// ```
#[derive(Clone, Default)]
pub struct CallRecorder(Arc<Mutex<Option<Box<Said>>>>);

/// What a call has said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    load: LoadReport,
    pub(crate) request_cost: BTreeMap<Arc<str>, f64>,
}

impl CallRecorder {
    /// Sets the share of the CPU in use, from 0, above 1 while the server does more than it was given.
    pub fn set_cpu_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::load("cpu_utilization", share)?;
        self.change(|said| said.load.cpu_utilization = share);
        Ok(())
    }

    /// Sets the share of the memory in use, 0 to 1.
    pub fn set_mem_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::share("mem_utilization", share)?;
        self.change(|said| said.load.mem_utilization = share);
        Ok(())
    }

    /// Sets the application's own measure of how busy it is, from 0, above 1 while overloaded.
    pub fn set_application_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::load("application_utilization", share)?;
        self.change(|said| said.load.application_utilization = share);
        Ok(())
    }

    /// Sets the utilisation of a named resource, 0 to 1.
    pub fn set_utilization(&self, name: &str, share: f64) -> Result<(), ConfigError> {
        let share = values::share("utilization", share)?;
        self.change(|said| values::put(&mut said.load.utilization, "utilization", name, share))
    }

    /// Sets what this call cost in something, any finite number.
    pub fn set_request_cost(&self, name: &str, cost: f64) -> Result<(), ConfigError> {
        let cost = values::metric("request_cost", cost)?;
        self.change(|said| values::put(&mut said.request_cost, "request_cost", name, cost))
    }

    /// Sets a metric of the application's own, any finite number.
    pub fn set_named_metric(&self, name: &str, value: f64) -> Result<(), ConfigError> {
        let value = values::metric("named_metrics", value)?;
        self.change(|said| values::put(&mut said.load.named_metrics, "named_metrics", name, value))
    }

    /// What has been said, if anything.
    pub(crate) fn take(&self) -> Option<Box<Said>> {
        self.lock().take()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Said) -> T) -> T {
        change(self.lock().get_or_insert_default())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Said>>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CallRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallRecorder").field(&*self.lock()).finish()
    }
}

impl Said {
    /// Puts what the call said over what the server says.
    pub(crate) fn merge_into(&self, server: &mut LoadReport) {
        let over = |server: &mut f64, call: f64| {
            if call > 0.0 {
                *server = call;
            }
        };
        over(&mut server.cpu_utilization, self.load.cpu_utilization);
        over(&mut server.mem_utilization, self.load.mem_utilization);
        over(&mut server.application_utilization, self.load.application_utilization);
        let extend = |server: &mut BTreeMap<Arc<str>, f64>, call: &BTreeMap<Arc<str>, f64>| {
            server.extend(call.iter().map(|(name, value)| (Arc::clone(name), *value)));
        };
        extend(&mut server.utilization, &self.load.utilization);
        extend(&mut server.named_metrics, &self.load.named_metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadRecorder;

    #[test]
    fn the_call_wins_and_adds() {
        let (server, call) = (LoadRecorder::new(), CallRecorder::default());
        server.set_cpu_utilization(0.5).unwrap();
        server.set_mem_utilization(0.25).unwrap();
        server.set_named_metric("a", 1.0).unwrap();
        server.set_named_metric("b", 1.0).unwrap();
        assert!(call.take().is_none());
        call.set_cpu_utilization(0.75).unwrap();
        call.set_named_metric("b", 2.0).unwrap();
        call.set_named_metric("c", 2.0).unwrap();
        call.set_utilization("gpu", 0.125).unwrap();
        call.set_request_cost("rows", 7.0).unwrap();
        let mut report = server.report();
        let said = call.take().unwrap();
        said.merge_into(&mut report);
        assert_eq!((report.cpu_utilization, report.mem_utilization), (0.75, 0.25));
        assert_eq!(report.named_metrics, [("a".into(), 1.0), ("b".into(), 2.0), ("c".into(), 2.0)].into());
        assert_eq!(report.utilization, [("gpu".into(), 0.125)].into());
        assert_eq!(said.request_cost, [("rows".into(), 7.0)].into());
    }
}
