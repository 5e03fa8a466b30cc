//! What Linux tells of this process.
//!
//! Read from `/proc/self` by hand: the collector of the metrics library knows whole seconds of CPU only,
//! which is too coarse for short runs. Elsewhere than on Linux there are no such figures.

use std::fs;

use prometheus::{Counter, Gauge};

use super::registry::Builder;

/// The figures of one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct ProcessFigures {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
    pub(super) virtual_bytes: f64,
    pub(super) open_fds: f64,
    /// Not a number where there is no limit.
    pub(super) max_fds: f64,
    pub(super) threads: f64,
    /// Not a number where the system hides when it was booted, as systemd's `ProcSubset=pid` does.
    pub(super) start_time_seconds: f64,
}

impl ProcessFigures {
    /// This process now; `None` where the system does not tell.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        // The directory that is read is open itself.
        let fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        let ticks = rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "small numbers of the system")]
        let (ticks, page, fds) = (ticks as f64, rustix::param::page_size() as f64, fds as f64);
        Some(Self { open_fds: fds, ..Self::parse(&stat, &limits, &system, ticks, page)? })
    }

    /// From the text of `/proc/self/stat`, `/proc/self/limits` and `/proc/stat`.
    fn parse(stat: &str, limits: &str, system: &str, ticks: f64, page_bytes: f64) -> Option<Self> {
        // The program's name stands in parentheses and may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is the third field, the state.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let booted = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let soft = open_files.split_ascii_whitespace().next()?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            start_time_seconds: booted.unwrap_or(f64::NAN) + field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_bytes,
            max_fds: soft.parse().unwrap_or(f64::NAN),
            open_fds: 0.0,
        })
    }
}

/// The series of these figures.
#[derive(Debug)]
pub(super) struct ProcessGauges {
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start_time: Gauge,
}

impl ProcessGauges {
    pub(super) fn new(make: &mut Builder) -> prometheus::Result<Self> {
        Ok(Self {
            cpu: make.seconds_counter("process_cpu_seconds_total")?,
            resident: make.gauge("process_resident_memory_bytes")?,
            virtual_memory: make.gauge("process_virtual_memory_bytes")?,
            open_fds: make.gauge("process_open_fds")?,
            max_fds: make.gauge("process_max_fds")?,
            threads: make.gauge("process_threads")?,
            start_time: make.gauge("process_start_time_seconds")?,
        })
    }

    pub(super) fn set(&self, figures: &ProcessFigures) {
        self.cpu.inc_by((figures.cpu_seconds - self.cpu.get()).max(0.0));
        self.resident.set(figures.resident_bytes);
        self.virtual_memory.set(figures.virtual_bytes);
        self.open_fds.set(figures.open_fds);
        self.max_fds.set(figures.max_fds);
        self.threads.set(figures.threads);
        self.start_time.set(figures.start_time_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "17 (a) b (c) S 1 1 1 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 6 0 3000 4096000 100 18446744073709551615";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        let system = "cpu  1 2 3\nbtime 1000\nprocesses 5\n";
        let figures = ProcessFigures::parse(stat, limits, system, 100.0, 4096.0).unwrap();
        assert_eq!(
            figures,
            ProcessFigures {
                cpu_seconds: 2.0,
                resident_bytes: 409_600.0,
                virtual_bytes: 4_096_000.0,
                open_fds: 0.0,
                max_fds: 1024.0,
                threads: 6.0,
                start_time_seconds: 1030.0,
            }
        );
        let unlimited = limits.replace("1024", "unlimited");
        assert!(ProcessFigures::parse(stat, &unlimited, system, 100.0, 4096.0).unwrap().max_fds.is_nan());
        let hidden = ProcessFigures::parse(stat, limits, "", 100.0, 4096.0).unwrap();
        assert!(hidden.start_time_seconds.is_nan() && hidden.threads == 6.0, "the rest is told: {hidden:?}");
        assert_eq!(ProcessFigures::parse("17 (a", limits, system, 100.0, 4096.0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_beginning() {
        let figures = ProcessFigures::read().unwrap();
        assert!(
            figures.resident_bytes > 1e6 && figures.virtual_bytes >= figures.resident_bytes,
            "{figures:?}"
        );
        assert!(figures.start_time_seconds > 1.6e9 && figures.open_fds >= 3.0 && figures.threads >= 1.0);
    }
}
