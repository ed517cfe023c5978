//! Writing and reading a run's directory as a whole.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    HistogramName, IntervalLog, LatencyHistogram, Manifest, ReplicaCounters, ReplicaFileName,
    Result, ResultsError, RunSummary, SiteSummary, Summary, TimelineRow, Unit, new_histogram,
};

const PARTIAL: &str = "partial";
const MANIFEST: &str = "manifest.json";
const EXPERIMENT: &str = "experiment.yaml";
const SUMMARY: &str = "summary.json";
const SUMMARY_CSV: &str = "summary.csv";
const TIMELINE: &str = "timeline.csv";
const HISTOGRAMS: &str = "histograms";
const REPLICAS: &str = "replicas";

/// A directory that is being filled: `BASE/NAME/TIMESTAMP.partial`.
///
/// Left alone without [`RunDirectory::finish`], it stays `.partial`, for a look at what went wrong.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    partial: PathBuf,
    complete: PathBuf,
}

impl RunDirectory {
    /// Makes `base/name/TIMESTAMP.partial`, the time being now in UTC.
    pub fn create(base: &Path, name: &str) -> Result<RunDirectory> {
        let parent = base.join(name);
        let plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let why = "a name may have letters, digits, '-', '_', '.' and spaces; mend `name`";
            return Err(ResultsError::new(&parent, why));
        }
        fs::create_dir_all(&parent).map_err(|e| ResultsError::new(&parent, e))?;
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        RunDirectory::claim(&parent, &time)
    }

    /// The first of `TIME`, `TIME-2`, `TIME-3`, … that nobody has.
    fn claim(parent: &Path, time: &str) -> Result<RunDirectory> {
        for attempt in 1_u32.. {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let complete = parent.join(format!("{time}{suffix}"));
            let partial = complete.with_extension(PARTIAL);
            match fs::create_dir(&partial) {
                Ok(()) if complete.exists() => {
                    fs::remove_dir(&partial).map_err(|e| ResultsError::new(&partial, e))?;
                }
                Ok(()) => return Ok(RunDirectory { partial, complete }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(ResultsError::new(&partial, e)),
            }
        }
        unreachable!("no machine makes four thousand million runs in a second")
    }

    /// Where the files are until the run is finished.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// A directory in it, made if need be: `logs`, `history`, …
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.partial.join(name);
        fs::create_dir_all(&path).map_err(|e| ResultsError::new(&path, e))?;
        Ok(path)
    }

    /// Writes any file, by its path within the directory.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomically(&self.partial.join(name), bytes)
    }

    /// Writes `experiment.yaml`.
    pub fn write_experiment(&self, yaml: &str) -> Result<()> {
        self.write(EXPERIMENT, yaml.as_bytes())
    }

    /// Writes `manifest.json`; may be called again as more becomes known.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.write_json(MANIFEST, manifest)
    }

    /// Writes `summary.json` and `summary.csv`.
    pub fn write_summary(&self, summary: &Summary) -> Result<()> {
        self.write_csv(SUMMARY_CSV, &summary.rows())?;
        self.write_json(SUMMARY, summary)
    }

    /// Writes `timeline.csv`.
    pub fn write_timeline(&self, rows: &[TimelineRow]) -> Result<()> {
        self.write_csv(TIMELINE, rows)
    }

    /// Writes a histogram log; refuses to write over another.
    pub fn write_histogram(&self, name: &HistogramName, log: &IntervalLog) -> Result<()> {
        self.write_new(HISTOGRAMS, &name.to_string(), &log.encode())
    }

    /// Writes a replica's counters; refuses to write over another's.
    pub fn write_replica(&self, name: &ReplicaFileName, counters: &ReplicaCounters) -> Result<()> {
        let path = self.partial.join(REPLICAS).join(name.to_string());
        self.write_new(REPLICAS, &name.to_string(), &to_json(&path, counters)?)
    }

    fn write_new(&self, directory: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.subdirectory(directory)?.join(name);
        if path.exists() {
            let why = "is there already: two labels or sites differ only in special characters";
            return Err(ResultsError::new(&path, why));
        }
        write_atomically(&path, bytes)
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.partial.join(name);
        write_atomically(&path, &to_json(&path, value)?)
    }

    fn write_csv<T: Serialize>(&self, name: &str, rows: &[T]) -> Result<()> {
        let path = self.partial.join(name);
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.serialize(row).map_err(|e| ResultsError::new(&path, e))?;
        }
        let bytes = writer.into_inner().map_err(|e| ResultsError::new(&path, e))?;
        write_atomically(&path, &bytes)
    }

    /// Checks that the directory can be read as a result, and gives it its final name. Returns
    /// that.
    pub fn finish(self) -> Result<PathBuf> {
        Results::open(&self.partial)?;
        let renamed = fs::rename(&self.partial, &self.complete);
        renamed.map_err(|e| ResultsError::new(&self.complete, e))?;
        let parent = self.complete.parent().unwrap_or(Path::new("."));
        sync_directory(parent)?;
        Ok(self.complete)
    }
}

/// Writes `path.tmp`, forces it to the disk, and renames it: a reader sees the old file or the new.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, path)).map_err(|e| {
        // what is left of it is of no use; the error that counts is the first
        let _ = fs::remove_file(&beside);
        ResultsError::new(path, e)
    })
}

fn sync_directory(path: &Path) -> Result<()> {
    fs::File::open(path).and_then(|d| d.sync_all()).map_err(|e| ResultsError::new(path, e))
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| ResultsError::new(path, e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| ResultsError::new(path, e))
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read(path)?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json);
    let value = value.map_err(|e| ResultsError::new(path, e))?;
    json.end().map_err(|e| ResultsError::new(path, e))?;
    Ok(value)
}

pub(super) fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = read(path)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    reader.deserialize().collect::<csv::Result<_>>().map_err(|e| ResultsError::new(path, e))
}

/// A finished run's directory.
#[derive(Clone, Debug)]
pub struct Results {
    /// The directory.
    pub path: PathBuf,
    /// `summary.json`.
    pub summary: Summary,
    /// `manifest.json`.
    pub manifest: Manifest,
    /// `experiment.yaml`.
    pub experiment: String,
}

impl Results {
    /// Reads a finished directory; refuses one that is still `.partial` or lacks a whole summary,
    /// manifest or experiment.
    pub fn read(path: &Path) -> Result<Results> {
        let absolute = fs::canonicalize(path).map_err(|e| ResultsError::new(path, e))?;
        if absolute.extension().is_some_and(|e| e == PARTIAL) {
            return Err(ResultsError::new(path, "this run was never finished; run it again"));
        }
        Results::open(path)
    }

    fn open(path: &Path) -> Result<Results> {
        let summary = Summary::read(&path.join(SUMMARY))?;
        let manifest = Manifest::read(&path.join(MANIFEST))?;
        let file = path.join(EXPERIMENT);
        let experiment = fs::read_to_string(&file).map_err(|e| ResultsError::new(&file, e))?;
        Ok(Results { path: path.to_owned(), summary, manifest, experiment })
    }

    /// Reads `timeline.csv`.
    pub fn timeline(&self) -> Result<Vec<TimelineRow>> {
        TimelineRow::read(&self.path.join(TIMELINE))
    }

    /// Reads one histogram log.
    pub fn histogram(&self, name: &HistogramName) -> Result<IntervalLog> {
        let path = self.path.join(HISTOGRAMS).join(name.to_string());
        IntervalLog::decode(&read(&path)?).map_err(|why| ResultsError::new(&path, why))
    }

    /// The state in which each replica of a run was after it, as far as its file says: commands
    /// applied and digest. A replica that was gone has no file.
    pub fn final_states(&self, run: &RunSummary) -> Result<Vec<Option<(u64, String)>>> {
        let replicas = self.replicas(run)?.into_iter();
        Ok(replicas.map(|counters| counters.final_applied.zip(counters.final_digest)).collect())
    }

    /// The counters of a run's replicas, in the order of the sites, then of those that joined. A replica
    /// that was gone at its end has none.
    pub fn replicas(&self, run: &RunSummary) -> Result<Vec<ReplicaCounters>> {
        let mut found = Vec::new();
        let mut known = Vec::new();
        for site in run.site_names() {
            let name = ReplicaFileName {
                label: run.label.clone(),
                point_index: run.point_index,
                repeat: run.repeat,
                node: site.to_owned(),
            };
            if self.path.join(REPLICAS).join(name.to_string()).exists() {
                found.push(self.replica(&name)?);
            }
            known.push(name.to_string());
        }
        for other in self.replica_files(run).into_iter().filter(|name| !known.contains(name)) {
            found.push(read_json(&self.path.join(REPLICAS).join(other))?);
        }
        Ok(found)
    }

    /// The names of the files of a run's replicas, sorted.
    fn replica_files(&self, run: &RunSummary) -> Vec<String> {
        let nobody = ReplicaFileName {
            label: run.label.clone(),
            point_index: run.point_index,
            repeat: run.repeat,
            node: String::new(),
        };
        let (begin, end) = (nobody.to_string(), ".json");
        let begin = begin.trim_end_matches(end);
        // No hyphen is left in a label: this is the beginning of no other run's files.
        let is_of_run = |name: &String| name.starts_with(begin) && name.ends_with(end);
        let entries = fs::read_dir(self.path.join(REPLICAS)).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(is_of_run).collect();
        names.sort();
        names
    }

    /// Reads one replica's counters.
    pub fn replica(&self, name: &ReplicaFileName) -> Result<ReplicaCounters> {
        read_json(&self.path.join(REPLICAS).join(name.to_string()))
    }

    /// All operations at these sites of these runs in one histogram, in microseconds or
    /// nanoseconds as the logs say; none if nothing completed. Logs that differ in unit, or that do
    /// not hold what the summary counts, are refused.
    pub fn merged(
        &self,
        runs: &[&RunSummary],
        sites: &[&str],
    ) -> Result<Option<(LatencyHistogram, Unit)>> {
        let mut all: Option<(LatencyHistogram, Unit)> = None;
        for (run, site) in runs.iter().flat_map(|run| run.sites.iter().map(move |s| (run, s))) {
            let wanted = sites.contains(&site.site.as_str()) && site.op != SiteSummary::ALL;
            if !wanted || site.count == 0 {
                continue;
            }
            let name = run.histogram_name(site);
            let log = self.histogram(&name)?;
            let recorded = log.merged();
            if recorded.len() != site.count {
                let why =
                    format!("{} operations, but the summary has {}", recorded.len(), site.count);
                let path = self.path.join(HISTOGRAMS).join(name.to_string());
                return Err(ResultsError::new(&path, why));
            }
            let (merged, unit) = all.get_or_insert_with(|| (new_histogram(), log.unit));
            if *unit != log.unit {
                let why = format!("its unit differs from that of the logs before {name}");
                return Err(ResultsError::new(&self.path.join(HISTOGRAMS), why));
            }
            merged.add(recorded).expect("a histogram that resizes takes any value");
        }
        Ok(all)
    }
}
