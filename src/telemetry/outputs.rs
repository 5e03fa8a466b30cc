//! Where figures go so that something remains of them when the process has ended: the textfile and the
//! Pushgateway. Written when the work begins, at intervals, and at the end; trouble with them never concerns
//! the run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

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
    /// Write the last figures.
    Tell,
    /// Leave what is there.
    Leave,
}

/// Outputs at work.
#[derive(Debug)]
pub struct Outputs {
    end: watch::Sender<End>,
    tasks: JoinSet<()>,
}

impl Outputs {
    /// Starts them. Each writes for the first time when this process speaks for the job.
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
            let keeper = Keeper { target: Arc::new(target), metrics: Arc::clone(metrics), is_well: true };
            tasks.spawn(keeper.keep(end.subscribe()));
        }
        Self { end, tasks }
    }

    /// Ends them, within five seconds; `tell` has them write the last figures.
    pub async fn finish(mut self, tell: bool) {
        self.end.send_replace(if tell { End::Tell } else { End::Leave });
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
    target: Arc<Target>,
    metrics: Arc<Metrics>,
    is_well: bool,
}

impl Keeper {
    async fn keep(mut self, mut end: watch::Receiver<End>) {
        let metrics = Arc::clone(&self.metrics);
        tokio::select! {
            () = metrics.speaks_for_job() => {}
            () = ended(&mut end) => {}
        }
        while *end.borrow() == End::NotYet {
            {
                let sending = timeout(SEND_MAX, send(Arc::clone(&self.target), Arc::clone(&self.metrics)));
                tokio::pin!(sending);
                let sent = tokio::select! {
                    sent = &mut sending => sent,
                    () = ended(&mut end) => match timeout(LAST_WAIT_MAX, &mut sending).await {
                        Ok(sent) => sent,
                        // The last one, which comes now, says whether there is trouble.
                        Err(_) => break,
                    }
                };
                self.note(sent.unwrap_or_else(|_| Err(too_slow(SEND_MAX))));
            }
            tokio::select! {
                () = tokio::time::sleep(self.target.interval()) => {}
                () = ended(&mut end) => {}
            }
        }
        if *end.borrow() == End::Tell {
            let sent =
                timeout(LAST_SEND_MAX, send(Arc::clone(&self.target), Arc::clone(&self.metrics))).await;
            self.note(sent.unwrap_or_else(|_| Err(too_slow(LAST_SEND_MAX))));
        }
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

fn too_slow(after: Duration) -> String {
    format!("it took longer than {} s", after.as_secs())
}

async fn ended(end: &mut watch::Receiver<End>) {
    // Where the sender is gone, so is who waits for the last figures.
    let _ended = end.wait_for(|end| *end != End::NotYet).await;
}

async fn send(target: Arc<Target>, metrics: Arc<Metrics>) -> Result<(), String> {
    match &*target {
        Target::Gateway(gateway) => gateway.push(metrics.render_to_keep()).await,
        Target::Textfile(path) => {
            // A file system that hangs must not take a thread of the network along.
            let path = path.clone();
            let written = tokio::task::spawn_blocking(move || textfile::write(&path, &metrics)).await;
            written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
