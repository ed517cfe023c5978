//! Measures the transport between processes on this machine: `cargo bench --bench transport`.
//!
//! | argument | measures |
//! | --- | --- |
//! | `echo` | messages a second, CPU per message and latency, by lanes and outstanding messages |
//! | `loss` | latency over the round trip at a fixed rate with and without loss, by lanes |
//! | `delays` | how exact shaped round trips are among ten processes |
//! | `timer` | how late [`PreciseTimer`] wakes |
//!
//! Without an argument all of them run. Every endpoint is a process of its own with one thread for
//! its runtime, as replicas and load generators are.
#![allow(clippy::print_stdout, reason = "a program that prints tables")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BufMut;
use hdrhistogram::Histogram;
use paxbench::cluster::{ClusterFile, Congestion, Member, ShapingPlan, TransportOptions};
use paxbench::net::{
    Endpoint, Existing, Identity, LaneSender, PreciseTimer, Purpose, Shaper, ShaperReport,
    accept_lane, generate, open_lanes,
};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MESSAGE_BYTES: usize = 64;

/// What one process does: it echoes what comes, and sends to `target` if there is one.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    file: ClusterFile,
    name: String,
    target: Option<String>,
    /// Messages outstanding; or, if `rate_per_s` is not zero, none is waited for.
    outstanding: usize,
    rate_per_s: u64,
    warmup_ms: u64,
    measure_ms: u64,
}

/// What a process measured.
#[derive(Serialize, Deserialize, Default)]
struct Report {
    messages: u64,
    seconds: f64,
    cpu_s: f64,
    p50_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    max_us: u64,
    shaper: Option<ShaperReport>,
    lost_packets: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("child") => child(),
        Some("echo") => echo_table(),
        Some("loss") => loss_table(),
        Some("delays") => delays_table(),
        Some("timer") => timer_table(),
        None => {
            echo_table()?;
            loss_table()?;
            delays_table()?;
            timer_table()
        }
        Some(other) => Err(format!("{other}: no such measurement; see the top of the file").into()),
    }
}

// ---- a process that echoes and sends ----

fn child() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let report = runtime.block_on(local.run_until(work(job)))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

async fn work(job: Job) -> Result<Report> {
    let identity = Identity::load(&job.file.certs, &job.name)?;
    let shaper = Shaper::for_member(&job.file, &job.name)?;
    let control = shaper.as_ref().map(Shaper::control);
    let me = member(&job.file, &job.name);
    let endpoint = Endpoint::bind(&identity, me.address, &job.file.transport, shaper)?;
    let options = job.file.transport.clone();
    tokio::task::spawn_local(echo(endpoint.clone(), options));
    say("ready")?;
    wait_for_line().await?;

    let mut report = match job.target.clone() {
        Some(target) => send(&job, &endpoint, &target).await?,
        None => Report::default(),
    };
    if job.target.is_some() {
        say("done")?;
    }
    // The parent tells everybody when all are done; until then this process echoes.
    let before_s = cpu_s();
    wait_for_line().await?;
    if job.target.is_none() {
        report.cpu_s = cpu_s() - before_s;
    }
    report.shaper = control.map(|control| control.lateness());
    Ok(report)
}

fn member<'a>(file: &'a ClusterFile, name: &str) -> &'a Member {
    file.replicas.iter().find(|member| member.name == name).expect("a member of the file")
}

fn say(word: &str) -> Result<()> {
    println!("{word}");
    Ok(std::io::stdout().flush()?)
}

/// Waits for the parent without holding up the runtime.
async fn wait_for_line() -> Result<()> {
    let read = || std::io::stdin().lock().read_exact(&mut [0]);
    Ok(tokio::task::spawn_blocking(read).await??)
}

async fn echo(endpoint: Endpoint, options: TransportOptions) {
    while let Ok(accepted) = endpoint.accept(|_, _| Ok(())).await {
        let options = options.clone();
        tokio::task::spawn_local(async move {
            let lanes = open_lanes(&accepted.connection, &options).await.expect("just connected");
            for lane in lanes {
                let Ok(mut reader) = accept_lane(&accepted.connection, 1000).await else {
                    return;
                };
                tokio::task::spawn_local(async move {
                    let back = |body: &[u8]| {
                        lane.push(|out| out.put_slice(body));
                        Ok(())
                    };
                    while reader.read(back).await.is_ok() {}
                });
            }
        });
    }
}

struct Tally {
    start: Instant,
    measuring: bool,
    latency_us: Histogram<u64>,
    received: u64,
}

async fn send(job: &Job, endpoint: &Endpoint, target: &str) -> Result<Report> {
    let to = member(&job.file, target);
    let connection = endpoint.connect(to.address, target, Purpose::Peer).await?;
    let lanes = Rc::new(open_lanes(&connection, &job.file.transport).await?);
    let tally = Rc::new(RefCell::new(Tally {
        start: Instant::now(),
        measuring: false,
        latency_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        received: 0,
    }));
    // The other side opens its lanes in order, and this side's become known with the first frame.
    for lane in 0..lanes.len() {
        push(&lanes[lane], &tally);
    }
    for lane in 0..lanes.len() {
        let mut reader = accept_lane(&connection, 1000).await?;
        let (lanes, tally, again) = (lanes.clone(), tally.clone(), job.rate_per_s == 0);
        tokio::task::spawn_local(async move {
            let each = |body: &[u8]| {
                note(&tally, body);
                if again {
                    push(&lanes[lane], &tally);
                }
                Ok(())
            };
            while reader.read(each).await.is_ok() {}
        });
    }
    tokio::task::spawn_local(drive(job.clone(), lanes, tally.clone()));
    tokio::time::sleep(Duration::from_millis(job.warmup_ms)).await;
    let (cpu, lost, start) = (cpu_s(), connection.stats().path.lost_packets, Instant::now());
    tally.borrow_mut().measuring = true;
    tokio::time::sleep(Duration::from_millis(job.measure_ms)).await;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_s = cpu_s() - cpu;
    let lost_packets = connection.stats().path.lost_packets - lost;
    let tally = tally.borrow();
    let late = &tally.latency_us;
    Ok(Report {
        messages: tally.received,
        seconds,
        cpu_s,
        p50_us: late.value_at_quantile(0.5),
        p99_us: late.value_at_quantile(0.99),
        p99_9_us: late.value_at_quantile(0.999),
        max_us: late.max(),
        shaper: None,
        lost_packets,
    })
}

/// Puts the messages of a closed loop on their way, or sends at the job's rate for ever.
async fn drive(job: Job, lanes: Rc<Vec<LaneSender>>, tally: Rc<RefCell<Tally>>) {
    if job.rate_per_s == 0 {
        for number in lanes.len()..job.outstanding.max(lanes.len()) {
            push(&lanes[number % lanes.len()], &tally);
        }
        return;
    }
    let mut timer = PreciseTimer::new().expect("a timer");
    let interval = Duration::from_nanos(1_000_000_000 / job.rate_per_s);
    let mut due = Instant::now();
    for number in 0.. {
        due += interval;
        timer.sleep_until(due).await;
        push(&lanes[number % lanes.len()], &tally);
    }
}

fn push(lane: &LaneSender, tally: &RefCell<Tally>) {
    let now_ns = tally.borrow().start.elapsed().as_nanos() as u64;
    lane.push(|body| {
        body.put_u64_le(now_ns);
        body.put_bytes(0, MESSAGE_BYTES - 8);
    });
}

fn note(tally: &RefCell<Tally>, body: &[u8]) {
    let mut tally = tally.borrow_mut();
    if !tally.measuring {
        return;
    }
    let sent_ns = u64::from_le_bytes(body[..8].try_into().expect("eight bytes"));
    let now_ns = tally.start.elapsed().as_nanos() as u64;
    tally.latency_us.saturating_record((now_ns - sent_ns) / 1000);
    tally.received += 1;
}

/// User and system time of this process, in seconds.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

// ---- the parent ----

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(job: &Job) -> Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        writeln!(stdin, "{}", serde_json::to_string(job)?)?;
        expect_word(&mut stdout, "ready")?;
        Ok(Process { child, stdin, stdout })
    }

    fn go(&mut self) -> Result<()> {
        self.stdin.write_all(b"g")?;
        Ok(self.stdin.flush()?)
    }

    fn finish(mut self) -> Result<Report> {
        self.go()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn expect_word(stdout: &mut impl BufRead, word: &str) -> Result<()> {
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    if line.trim() == word { Ok(()) } else { Err(format!("a process said {line:?}").into()) }
}

/// Runs the jobs side by side; the reports by name.
fn run(jobs: &[Job]) -> Result<BTreeMap<String, Report>> {
    let mut processes = Vec::new();
    for job in jobs {
        processes.push(Process::start(job)?);
    }
    for process in &mut processes {
        process.go()?;
    }
    for (process, job) in processes.iter_mut().zip(jobs) {
        if job.target.is_some() {
            expect_word(&mut process.stdout, "done")?;
        }
    }
    let mut reports = BTreeMap::new();
    for (process, job) in processes.into_iter().zip(jobs) {
        reports.insert(job.name.clone(), process.finish()?);
    }
    Ok(reports)
}

/// `count` members, each at a site of its own.
fn cluster(dir: &Path, count: usize, lanes: usize) -> Result<ClusterFile> {
    let names: Vec<String> = (0..count).map(|index| format!("m{index}")).collect();
    generate(dir, &names, Existing::Replace)?;
    let held: Vec<UdpSocket> =
        names.iter().map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let mut file: ClusterFile = serde_json::from_value(serde_json::json!({
        "name": "transport", "certs": dir, "replicas": [], "loads": [],
        "transport": { "lanes": lanes }, "protocol": { "mode": "paxos" },
    }))?;
    for (name, socket) in names.into_iter().zip(&held) {
        file.replicas.push(Member { site: name.clone(), name, address: socket.local_addr()? });
    }
    Ok(file)
}

fn shape(file: &mut ClusterFile, rtt_ms: f64, loss: f64) {
    let sites: Vec<String> = file.replicas.iter().map(|member| member.site.clone()).collect();
    let row = |from| (0..sites.len()).map(|to| if from == to { 0.0 } else { rtt_ms }).collect();
    file.shaping = Some(ShapingPlan {
        rtt_ms: (0..sites.len()).map(row).collect(),
        sites,
        jitter_ms: 0.0,
        loss,
        reorder: 0.0,
        bandwidth_bps: None,
        seed: 7,
    });
}

fn job(file: &ClusterFile, name: &str, target: Option<&str>) -> Job {
    Job {
        file: file.clone(),
        name: name.to_owned(),
        target: target.map(str::to_owned),
        outstanding: 1,
        rate_per_s: 0,
        warmup_ms: 500,
        measure_ms: 2000,
    }
}

fn echo_table() -> Result<()> {
    println!("\n64-byte messages echoed over loopback, nothing shaped, two processes");
    println!("lanes  outstanding  messages/s  CPU µs/message here  p50 µs  p99 µs");
    let dir = tempfile::tempdir()?;
    for lanes in [1, 2, 4, 8] {
        for outstanding in [1, 8, 128, 1024, 8192] {
            if outstanding < lanes {
                continue;
            }
            let file = cluster(dir.path(), 2, lanes)?;
            let jobs =
                [job(&file, "m0", None), Job { outstanding, ..job(&file, "m1", Some("m0")) }];
            let reports = run(&jobs)?;
            let Report { messages, seconds, cpu_s, p50_us, p99_us, .. } = reports["m1"];
            let (rate, cpu_us) = (messages as f64 / seconds, cpu_s * 1e6 / messages as f64);
            println!(
                "{lanes:5}  {outstanding:11}  {rate:10.0}  {cpu_us:19.2}  {p50_us:6}  {p99_us:6}"
            );
        }
    }
    Ok(())
}

fn loss_table() -> Result<()> {
    println!(
        "\n64-byte messages echoed over a shaped round trip of 50 ms; latency beyond it in ms"
    );
    println!("loss  congestion  messages/s  lanes     p50     p99   p99.9     max  lost packets");
    let lossy = [Congestion::Cubic, Congestion::Bbr].map(|congestion| (0.01, congestion));
    for rate_per_s in [2000, 20_000] {
        for (loss, congestion) in [&[(0.0, Congestion::Cubic)], &lossy[..]].concat() {
            for lanes in [1, 2, 4, 8] {
                let report = lossy_run(loss, congestion, rate_per_s, lanes)?;
                let beyond = |us: u64| (us as f64 - 50_000.0) / 1000.0;
                println!(
                    "{:3.0}%  {:10}  {rate_per_s:10}  {lanes:5}  {:6.1}  {:6.1}  {:6.1}  {:6.1}  {:12}",
                    loss * 100.0,
                    format!("{congestion:?}").to_lowercase(),
                    beyond(report.p50_us),
                    beyond(report.p99_us),
                    beyond(report.p99_9_us),
                    beyond(report.max_us),
                    report.lost_packets,
                );
            }
        }
    }
    Ok(())
}

fn lossy_run(loss: f64, congestion: Congestion, rate_per_s: u64, lanes: usize) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let mut file = cluster(dir.path(), 2, lanes)?;
    file.transport.congestion = congestion;
    shape(&mut file, 50.0, loss);
    let sender = Job { rate_per_s, measure_ms: 4000, ..job(&file, "m1", Some("m0")) };
    let mut reports = run(&[job(&file, "m0", None), sender])?;
    reports.remove("m1").ok_or_else(|| "the sender did not report".into())
}

fn delays_table() -> Result<()> {
    println!(
        "\nten processes in a ring, each sending at a fixed rate; round trip minus 50 ms, in µs"
    );
    println!("messages/s each   p50 worst  p99 worst   shaper late: p50 worst  p99 worst");
    let dir = tempfile::tempdir()?;
    for (rtt_ms, rate_per_s) in [(0.0, 100), (50.0, 100), (50.0, 500), (50.0, 1000)] {
        let mut file = cluster(dir.path(), 10, 1)?;
        if rtt_ms > 0.0 {
            shape(&mut file, rtt_ms, 0.0);
        }
        let jobs: Vec<Job> = (0..10)
            .map(|index| {
                let (name, target) = (format!("m{index}"), format!("m{}", (index + 1) % 10));
                Job { rate_per_s, measure_ms: 5000, ..job(&file, &name, Some(&target)) }
            })
            .collect();
        let reports = run(&jobs)?;
        let base_us = (rtt_ms * 1000.0) as i64;
        let worst = |of: &dyn Fn(&Report) -> u64| reports.values().map(of).max().unwrap_or(0);
        let shaper = |of: &dyn Fn(&ShaperReport) -> u64| {
            worst(&|report: &Report| report.shaper.as_ref().map_or(0, of))
        };
        let cpu_s: f64 = reports.values().map(|report| report.cpu_s / report.seconds).sum();
        println!(
            "{rate_per_s:5} (rtt {rtt_ms:2.0})   {:9}  {:9}   {:22}  {:9}   {:.0} % of a core",
            worst(&|r| r.p50_us) as i64 - base_us,
            worst(&|r| r.p99_us) as i64 - base_us,
            shaper(&|s| s.p50_us),
            shaper(&|s| s.p99_us),
            cpu_s * 100.0,
        );
    }
    Ok(())
}

fn timer_table() -> Result<()> {
    println!("\nhow late a sleep ends, in µs: asked for 100 µs to 5 ms, 2,000 times");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut timer = PreciseTimer::new()?;
        let empty = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3)?;
        let (mut precise, mut tokio_own) = (empty.clone(), empty);
        for step in 0..2000u64 {
            let ask = Duration::from_micros(100 + step * 997 % 4900);
            let due = Instant::now() + ask;
            timer.sleep_until(due).await;
            precise.saturating_record(due.elapsed().as_micros() as u64);
            let due = Instant::now() + ask;
            tokio::time::sleep_until(due.into()).await;
            tokio_own.saturating_record(due.elapsed().as_micros() as u64);
        }
        for (name, late) in [("PreciseTimer", precise), ("tokio", tokio_own)] {
            let at = |quantile| late.value_at_quantile(quantile);
            println!("{name:12}  p50 {}  p99 {}  p99.9 {}", at(0.5), at(0.99), at(0.999));
        }
        Ok(())
    })
}
