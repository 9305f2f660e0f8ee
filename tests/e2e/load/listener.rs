//! A policy that asks for what a test wants, at any time, and writes down what it hears.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel::{
    Always, ConnectivityState, Done, Feedback, LbState, LoadReport, LoadReports, Outcome, PickArgs, PickResult, Picker, Plan,
    Policy, PolicyChoice, Reported, Score, Slot, SubchannelView,
};

/// Clones are the same listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listener(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    per_call: AtomicBool,
    /// In milliseconds; 0 is none.
    period: AtomicU64,
    probes: AtomicBool,
    follows: AtomicBool,
    done: Mutex<Vec<(Outcome, Option<LoadReport>)>>,
    reported: Mutex<Vec<(bool, LoadReport)>>,
}

impl Listener {
    pub(crate) fn per_call(self) -> Self {
        self.0.per_call.store(true, Ordering::SeqCst);
        self
    }

    pub(crate) fn probing(self) -> Self {
        self.0.probes.store(true, Ordering::SeqCst);
        self
    }

    /// Sends one call in ten anywhere, so that every endpoint reports, and the others to the least busy.
    pub(crate) fn following(self) -> Self {
        self.0.follows.store(true, Ordering::SeqCst);
        self
    }

    /// Asks for reports out of band this often, from the next rebuild on.
    pub(crate) fn every(&self, period: Option<Duration>) {
        self.0.period.store(period.map_or(0, |period| period.as_millis() as u64), Ordering::SeqCst);
    }

    pub(crate) fn policy(&self, name: &str) -> PolicyChoice {
        PolicyChoice::custom(name, self.clone())
    }

    /// How calls ended so far, with the reports they brought.
    pub(crate) fn done(&self) -> Vec<(Outcome, Option<LoadReport>)> {
        self.0.done.lock().unwrap().clone()
    }

    /// The reports that came without a call: answers to probes, or not.
    pub(crate) fn reported(&self, probed: bool) -> Vec<LoadReport> {
        let reported = self.0.reported.lock().unwrap();
        reported.iter().filter(|(asked, _)| *asked == probed).map(|(_, load)| load.clone()).collect()
    }
}

impl Feedback for Heard {
    fn finished(&self, done: &Done<'_>) {
        self.done.lock().unwrap().push((done.outcome, done.load.cloned()));
    }

    fn reported(&self, report: &Reported<'_>) {
        self.reported.lock().unwrap().push((report.probed, report.load.clone()));
    }
}

impl Policy for Listener {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        plan.connect.extend(view.iter().map(|row| row.slot));
        let mut wanted = LoadReports::default();
        wanted.per_call = self.0.per_call.load(Ordering::SeqCst);
        let period = self.0.period.load(Ordering::SeqCst);
        wanted.out_of_band = (period > 0).then(|| Duration::from_millis(period));
        plan.load_reports.merge(wanted);
        // Looks at its own wishes all the time, and shows that a rebuild alone disturbs no stream.
        plan.wake_at(now + Duration::from_millis(5));
        let ready: Vec<_> = view.iter().filter(|row| row.state == ConnectivityState::Ready).cloned().collect();
        match ready.is_empty() {
            true => LbState::new(ConnectivityState::Connecting, Always::queue()),
            false => LbState::new(
                ConnectivityState::Ready,
                Arc::new(AnyOf { ready, heard: Arc::clone(&self.0) as _, own: self.clone() }),
            ),
        }
    }
}

#[derive(Debug)]
struct AnyOf {
    ready: Vec<SubchannelView>,
    heard: Arc<dyn Feedback>,
    own: Listener,
}

impl Picker for AnyOf {
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let any = &self.ready[args.scratch.below(self.ready.len() as u32) as usize];
        let follows = self.own.0.follows.load(Ordering::Relaxed) && args.scratch.below(10) > 0;
        let least =
            || self.ready.iter().min_by(|one, other| one.stats.utilization().partial_cmp(&other.stats.utilization()).unwrap());
        let slot = follows.then(least).flatten().unwrap_or(any).slot;
        args.probe = self.own.0.probes.load(Ordering::Relaxed).then_some(slot);
        PickResult::Pick(slot)
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let ready: Vec<_> = self.ready.iter().filter(|row| keep(row.slot)).cloned().collect();
        Arc::new(Self { ready, heard: Arc::clone(&self.heard), own: self.own.clone() })
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        Vec::new()
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.heard)
    }
}
