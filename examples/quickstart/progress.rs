//! A progress bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::Load;

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(50);

/// Waits that long, and shows how the calls are doing.
pub(crate) async fn watch(phase: &str, length: Duration, load: &Load) {
    if !std::io::stderr().is_terminal() {
        tokio::time::sleep(length).await;
        let (calls, failed) = load.counts();
        eprintln!("{phase}: {calls} calls in {length:?}, {failed} failed");
        return;
    }
    let bar = ProgressBar::new(length.as_millis() as u64).with_prefix(phase.to_owned());
    if let Ok(style) = ProgressStyle::with_template("   {prefix:8} {bar:48} {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let began = Instant::now();
    while began.elapsed() < length {
        let (calls, failed) = load.counts();
        bar.set_position(began.elapsed().as_millis() as u64);
        bar.set_message(format!("{calls} calls, {failed} failed"));
        tokio::time::sleep(FRAME).await;
    }
    bar.finish_and_clear();
}
