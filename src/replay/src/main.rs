//! `autoscale-replay`: see `--help`.

use lexopt::{Arg, Parser, ValueExt};
use logic::autoscale::conf::unit;
use logic::autoscale::policy::{Does, Policy};
use replay::contest::{self, Bounds, Contender, GOALS, USUAL};
use replay::report::{table, Series};
use replay::run::{run, Tell};
use replay::service::Shape;
use replay::trace::{Taken, Trace};
use replay::{chart, conf};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = include_str!("help.txt");
/// By what the `per=` of a policy out of a file is multiplied.
const FACTORS: [f64; 7] = [0.6, 0.75, 0.9, 1.0, 1.1, 1.2, 1.35];

struct Options {
    trace: String,
    conf: Option<String>,
    policy: Option<String>,
    shape: Shape,
    bounds: Bounds,
    /// What `--min` said; a policy may go below the default.
    min: Option<u32>,
    taken: Taken,
    actions: bool,
    rivals: bool,
    sweep: bool,
    svg: Option<String>,
}

enum Wanted {
    Run(Box<Options>),
    Print(String),
}

fn main() -> ExitCode {
    let result = options().and_then(|wanted| match wanted {
        Wanted::Print(text) => Ok(text),
        Wanted::Run(options) => contest(&options),
    });
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("autoscale-replay: {why}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Wanted, String> {
    let mut parser = Parser::from_env();
    let shape = Shape { rate: 100.0, service_s: 0.02, start_s: 30, queue_s: 1.0, slo_s: 0.5 };
    let mut options = Options {
        trace: String::new(),
        conf: None,
        policy: None,
        shape,
        bounds: Bounds { min: 1, max: 1000 },
        min: None,
        taken: Taken { speed: 1.0, peak: None, per_s: None, linear: false },
        actions: false,
        rivals: true,
        sweep: true,
        svg: None,
    };
    let mut print = false;
    while let Some(arg) = parser.next().map_err(text)? {
        let name = match arg {
            Arg::Short(letter) => format!("-{letter}"),
            Arg::Long(name) => format!("--{name}"),
            Arg::Value(path) if options.trace.is_empty() => {
                options.trace = path.string().map_err(text)?;
                continue;
            }
            Arg::Value(path) => {
                return Err(format!("one trace at a time, not also {}", path.to_string_lossy()))
            }
        };
        let mut value = || parser.value().and_then(|v| v.string()).map_err(text);
        match name.as_str() {
            "-h" | "--help" => return Ok(Wanted::Print(HELP.into())),
            "--conf" => options.conf = Some(value()?),
            "--policy" => options.policy = Some(value()?),
            "--rate" => options.shape.rate = positive("rate", &value()?)?,
            "--service-time" => options.shape.service_s = seconds(&value()?)?,
            "--start" => options.shape.start_s = seconds(&value()?)?.round() as u32,
            "--queue" => options.shape.queue_s = seconds(&value()?)?,
            "--slo" => options.shape.slo_s = seconds(&value()?)?,
            "--min" => {
                options.bounds.min = unit::count(&value()?).map_err(text)?;
                options.min = Some(options.bounds.min);
            }
            "--max" => options.bounds.max = unit::count(&value()?).map_err(text)?,
            "--speed" => options.taken.speed = positive("speed", &value()?)?,
            "--peak" => options.taken.peak = Some(positive("peak", &value()?)?),
            "--per" => options.taken.per_s = Some(seconds(&value()?)?),
            "--linear" => options.taken.linear = true,
            "--actions" => options.actions = true,
            "--alone" => options.rivals = false,
            "--once" => options.sweep = false,
            "--svg" => options.svg = Some(value()?),
            "--print-policy" => print = true,
            other => return Err(format!("unknown option {other}; see --help")),
        }
    }
    if print {
        let Bounds { min, max } = options.bounds;
        return Ok(Wanted::Print(conf::built_in(options.shape.rate, USUAL, min, max)));
    }
    if options.trace.is_empty() {
        return Err("which trace? Give a CSV or an access log; see --help".into());
    }
    if options.bounds.min > options.bounds.max || options.bounds.max == 0 {
        return Err("--min must not be more than --max, and --max at least 1".into());
    }
    Ok(Wanted::Run(Box::new(options)))
}

fn contest(options: &Options) -> Result<String, String> {
    let text = std::fs::read_to_string(&options.trace).map_err(|e| format!("{}: {e}", options.trace))?;
    let trace = Trace::parse(&text, options.taken).map_err(|e| format!("{}: {e}", options.trace))?;
    let shape = options.shape;
    let policy = chosen(options)?;
    let (bounds, mut out) = (Bounds { min: policy.limits.least(), max: policy.limits.max }, String::new());
    warnings(&policy, &trace, &mut out);
    let settings: &[f64] = match options.sweep {
        true => &GOALS,
        false => &[USUAL],
    };
    let usual = settings.iter().position(|goal| *goal == USUAL).unwrap_or(0);
    let mut all = vec![sweep(&trace, shape, &own(options, &policy), usual)];
    if options.rivals {
        let rivals: [&dyn Fn(f64) -> Contender; 4] = [
            &|goal| contest::hpa_cpu(goal, bounds),
            &|goal| contest::hpa_rate(goal, shape, bounds),
            &|goal| contest::kpa(goal, shape, bounds),
            &|goal| contest::kpa_rate(goal, shape, bounds),
        ];
        for rival in rivals {
            let contenders: Vec<Contender> = settings.iter().map(|goal| rival(*goal)).collect();
            all.push(sweep(&trace, shape, &contenders, usual));
        }
    }
    let usual: Vec<usize> = all.iter().map(|series| usual.min(series.runs.len() - 1)).collect();
    if options.actions {
        for (s, from, to, why) in &all[0].runs[usual[0]].1.actions {
            out += &format!("{s:>8} s  {from:>3} -> {to:<3}  {why}\n");
        }
    }
    out += &format!(
        "{} s of trace at speed {}, peak {:.1} requests/s; a replica: {} requests/s, {} ms, ready after {} s; queue {} s, SLO {} s\n",
        trace.seconds(),
        options.taken.speed,
        trace.peak(),
        shape.rate,
        shape.service_s * 1e3,
        shape.start_s,
        shape.queue_s,
        shape.slo_s
    );
    out += &table(&all);
    if let Some(file) = &options.svg {
        let title = format!("{}, {} s at speed {}", options.trace, trace.seconds(), options.taken.speed);
        std::fs::write(file, chart::draw(&title, &all, &usual, shape)).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(out)
}

/// The policy that was asked for.
fn chosen(options: &Options) -> Result<Policy, String> {
    let Bounds { min, max } = options.bounds;
    let found = match &options.conf {
        Some(file) => conf::load(file)?,
        None => {
            conf::parsed("built-in", &conf::built_in(options.shape.rate, USUAL, min, max), PathBuf::new())
                .map_err(|e| e.to_string())?
        }
    };
    let policies = found.settings.policies.into_iter().map(|conf| conf.policy);
    let mut policies: Vec<Policy> = policies.filter(|policy| policy.target.is_some()).collect();
    if let Some(name) = &options.policy {
        policies.retain(|policy| policy.name == *name);
    }
    let names = policies.iter().map(|policy| policy.name.clone()).collect::<Vec<_>>().join(", ");
    let mut policy = match policies.len() {
        1 => policies.remove(0),
        0 => return Err("no such policy that scales a target; see --help".into()),
        _ => return Err(format!("several policies: choose one with --policy: {names}")),
    };
    policy.within(options.min, Some(max));
    // what only observes would do nothing here
    policy.observe = false;
    for rule in &mut policy.rules {
        if let Does::Forecast(ahead) = &mut rule.does {
            ahead.period_ms = (ahead.period_ms as f64 / options.taken.speed) as u64;
        }
    }
    Ok(policy)
}

fn own(options: &Options, policy: &Policy) -> Vec<Contender> {
    let built_in = options.conf.is_none();
    let factor = |setting: f64| if built_in { setting / USUAL } else { setting };
    let settings: &[f64] = match (options.sweep && contest::turns(policy), built_in) {
        (true, true) => &GOALS,
        (true, false) => &FACTORS,
        (false, true) => &[USUAL],
        (false, false) => &[1.0],
    };
    settings
        .iter()
        .map(|setting| Contender { setting: *setting, ..contest::own(policy, factor(*setting)) })
        .collect()
}

fn sweep(trace: &Trace, shape: Shape, contenders: &[Contender], usual: usize) -> Series {
    let tell =
        |n: usize| if n == usual.min(contenders.len() - 1) { Tell::All { points: 1500 } } else { Tell::Sums };
    let runs = contenders.iter().enumerate();
    let runs =
        runs.map(|(n, contender)| (contender.setting, run(trace, shape, contender, tell(n)))).collect();
    Series { name: contenders[0].name, runs }
}

/// What of the policy the simulation cannot show.
fn warnings(policy: &Policy, trace: &Trace, out: &mut String) {
    use logic::autoscale::signal::{Metric, Scope};
    for rule in policy.rules.iter().filter(|rule| matches!(rule.does, Does::Script(_))) {
        *out += &format!("note: \"{}\" is not run here: it holds what there is\n", rule.text);
    }
    for watched in &policy.signals {
        let name = match watched.signal.metric {
            Metric::Value => watched.signal.scope.to_string(),
            metric => format!("{}.{}", watched.signal.scope, metric.word()),
        };
        let simulated = matches!(watched.signal.scope, Scope::Upstream(_))
            || matches!(watched.signal.scope, Scope::Gateway)
                && !matches!(watched.signal.metric, Metric::Cpu | Metric::Mem);
        if !simulated && !trace.columns().any(|column| column == name) {
            *out += &format!(
                "note: the trace has no column \"{name}\": {} is stale throughout\n",
                watched.signal
            );
        }
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn seconds(value: &str) -> Result<f64, String> {
    unit::duration_ms(value).map(|ms| ms as f64 / 1000.0).map_err(text)
}

fn positive(name: &str, value: &str) -> Result<f64, String> {
    let number = unit::quantity(value).ok().filter(|q| q.unit == unit::Unit::Plain && q.value > 0.0);
    number.map(|q| q.value).ok_or_else(|| format!("--{name} {value}: write a number greater than 0"))
}
