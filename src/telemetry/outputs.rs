//! Where figures go so that something remains of them when the process has ended: the textfile and the
//! Pushgateway. Written when the run is known, at intervals, and at the end; trouble with them never concerns
//! the run.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::pushgateway::{GatewaySettings, Pushgateway};
use super::{Event, Metrics, Part, textfile};

/// How often the textfile is written: as often as Prometheus usually looks.
const TEXTFILE_INTERVAL: Duration = Duration::from_secs(15);
/// How long one writing or pushing may take.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How much longer what is under way may take when the end has come. To cut it off could let it arrive after
/// the last one.
const LAST_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How long the last one may take.
const LAST_SEND_MAX: Duration = Duration::from_secs(3);

/// Where figures go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutputSettings {
    /// A file for node_exporter.
    pub textfile: Option<PathBuf>,
    /// A Pushgateway.
    pub gateway: Option<GatewaySettings>,
}

/// What an output is told at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    NotYet,
    /// Leave what is there.
    Leave,
    /// Write the last figures.
    Tell,
    /// The last figures are those that were written when it said [`End::Tell`].
    Over,
    /// Write them once more where there was trouble since.
    Amend,
}

/// Outputs at work.
#[derive(Debug)]
pub struct Outputs {
    end: watch::Sender<End>,
    tasks: JoinSet<()>,
}

impl Outputs {
    /// Starts them. Each writes for the first time when the run is known: before, this process has nothing to say
    /// in the job's name.
    pub fn start(settings: OutputSettings, metrics: &Arc<Metrics>) -> Self {
        let (end, mut tasks) = (watch::Sender::new(End::NotYet), JoinSet::new());
        let mut targets = Vec::new();
        targets.extend(settings.textfile.map(Target::Textfile));
        match settings.gateway.map(|settings| Pushgateway::new(&settings, metrics.job())) {
            None => {}
            Some(Ok(gateway)) => targets.push(Target::Gateway(gateway)),
            Some(Err(why)) => {
                let text = format!("nothing is pushed: {why}");
                metrics.emit(&Event::Trouble { part: Part::Pushgateway, is_first: true, text: &text });
            }
        }
        for target in targets {
            tasks.spawn(Keeper::new(target, Arc::clone(metrics)).keep(end.subscribe()));
        }
        Self { end, tasks }
    }

    /// The work has ended. With `tell` they write the last figures, at once and within five seconds; without it
    /// they leave what is there. Returns without waiting.
    pub fn end(&self, tell: bool) {
        self.end.send_replace(if tell { End::Tell } else { End::Leave });
    }

    /// Waits until they have written what [`Outputs::end`] asked for. With `amend` they write once more, within
    /// three seconds, where there was trouble since.
    pub async fn finish(mut self, amend: bool) {
        self.end.send_modify(|end| {
            *end = match *end {
                End::NotYet | End::Leave => End::Leave,
                _ if amend => End::Amend,
                _ => End::Over,
            };
        });
        while self.tasks.join_next().await.is_some() {}
    }
}

#[derive(Debug)]
enum Target {
    Textfile(PathBuf),
    Gateway(Pushgateway),
}

impl Target {
    const fn part(&self) -> Part {
        match self {
            Self::Textfile(_) => Part::Textfile,
            Self::Gateway(_) => Part::Pushgateway,
        }
    }

    fn interval(&self) -> Duration {
        match self {
            Self::Textfile(_) => TEXTFILE_INTERVAL,
            Self::Gateway(gateway) => gateway.interval(),
        }
    }

    /// For the log.
    fn name(&self) -> String {
        match self {
            Self::Textfile(path) => format!("the metrics textfile {}", path.display()),
            Self::Gateway(gateway) => gateway.name(),
        }
    }
}

/// Keeps one target up to date.
struct Keeper {
    target: Target,
    metrics: Arc<Metrics>,
    is_well: bool,
    /// A writing of the textfile under way. A file system that hangs keeps its thread, so there is never a second.
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Keeper {
    const fn new(target: Target, metrics: Arc<Metrics>) -> Self {
        Self { target, metrics, is_well: true, writing: None }
    }

    async fn keep(mut self, mut end: watch::Receiver<End>) {
        let metrics = Arc::clone(&self.metrics);
        tokio::select! {
            () = metrics.run_is_known() => {}
            () = ended(&mut end) => {}
        }
        while *end.borrow() == End::NotYet {
            let sent = {
                let sending = self.send(SEND_MAX);
                tokio::pin!(sending);
                tokio::select! {
                    sent = &mut sending => sent,
                    () = ended(&mut end) => match timeout(LAST_WAIT_MAX, &mut sending).await {
                        Ok(sent) => sent,
                        // The last one, which comes now, says whether there is trouble.
                        Err(_) => break,
                    }
                }
            };
            self.note(sent);
            tokio::select! {
                () = tokio::time::sleep(self.target.interval()) => {}
                () = ended(&mut end) => {}
            }
        }
        if *end.borrow() == End::Leave {
            return;
        }
        let told = metrics.troubles();
        let sent = self.send(LAST_SEND_MAX).await;
        self.note(sent);
        // Where the sender is gone, so is who waits for more.
        let Ok(last) = end.wait_for(|end| *end != End::Tell).await.map(|end| *end) else { return };
        if last == End::Amend && self.is_well && metrics.troubles() != told {
            let sent = self.send(LAST_SEND_MAX).await;
            self.note(sent);
        }
    }

    /// Writes or pushes the figures. May be cut off: what is under way then is waited for the next time.
    async fn send(&mut self, at_most: Duration) -> Result<(), String> {
        let too_slow = |_| format!("it took longer than {} s", at_most.as_secs());
        let path = match &self.target {
            Target::Gateway(gateway) => {
                let pushed = timeout(at_most, gateway.push(self.metrics.render_to_keep())).await;
                return pushed.map_err(too_slow)?;
            }
            Target::Textfile(path) => path.clone(),
        };
        let until = Instant::now() + at_most;
        if let Some(former) = &mut self.writing {
            let _written =
                timeout_at(until, former).await.map_err(|_| "the writing before hangs still".to_owned())?;
            self.writing = None;
        }
        // A file system that hangs must not take a thread of the network along.
        let metrics = Arc::clone(&self.metrics);
        let writing =
            self.writing.insert(tokio::task::spawn_blocking(move || textfile::write(&path, &metrics)));
        let written = timeout_at(until, writing).await.map_err(too_slow)?;
        self.writing = None;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn note(&mut self, sent: Result<(), String>) {
        let (part, name) = (self.target.part(), self.target.name());
        match sent {
            Ok(()) if self.is_well => {}
            Ok(()) => {
                self.is_well = true;
                self.metrics.emit(&Event::TroubleOver { part, text: &format!("{name}: written again") });
            }
            Err(why) => {
                let text = format!("{name} is not written, the run goes on: {why}");
                self.metrics.emit(&Event::Trouble { part, is_first: self.is_well, text: &text });
                self.is_well = false;
            }
        }
    }
}

async fn ended(end: &mut watch::Receiver<End>) {
    // Where the sender is gone, so is who waits for the last figures.
    let _ended = end.wait_for(|end| *end != End::NotYet).await;
}

#[cfg(test)]
mod tests;
