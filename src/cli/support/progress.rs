//! How far a command is with its photos.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::messages;
use super::photos::Sources;

/// A progress bar on standard error, hidden if that is not a terminal or there is only one photo. `before`
/// photos are done.
pub fn progress(sources: &Sources, photos: usize, before: u64) -> ProgressBar {
    if photos < 2 || !messages::may_draw_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let styled = |template| {
        let style = ProgressStyle::with_template(template);
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{:.1} photos/s", state.per_sec());
        };
        style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate)
    };
    bar.set_style(styled("{spinner} {pos} photos  {rate}"));
    bar.set_position(before);
    bar.reset_eta();
    if !bar.is_hidden() {
        // Counting takes a second search, which the photos do not wait for.
        let (sources, counted) = (sources.clone(), bar.clone());
        std::thread::spawn(move || {
            if let Some(count) = sources.count() {
                counted.set_length(count);
                counted.set_style(styled("{wide_bar} {pos}/{len}  {rate}  {eta} left"));
            }
        });
    }
    bar
}
