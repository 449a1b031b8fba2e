//! A progress line with virtual and real time, for runs longer than a second, only when stderr is a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rt_lab::{Progress, Watch};

/// How long a run must last before the line appears.
const PATIENCE: Duration = Duration::from_secs(1);

/// What to call with each progress report; `None` when nobody looks.
pub(crate) fn watcher() -> Option<Watch> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let begun = Instant::now();
    let mut bar: Option<ProgressBar> = None;
    Some(Box::new(move |progress| {
        if progress.finished {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        if begun.elapsed() < PATIENCE {
            return;
        }
        let bar = bar.get_or_insert_with(|| new_bar(progress));
        bar.set_position(progress.position());
        bar.set_message(format!(
            "virtual {}  real {:.1} s  step {} of {}",
            progress.now,
            begun.elapsed().as_secs_f64(),
            progress.step,
            progress.steps
        ));
    }))
}

fn new_bar(progress: &Progress) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(progress.length()), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {msg}") {
        bar.set_style(style);
    }
    bar
}
