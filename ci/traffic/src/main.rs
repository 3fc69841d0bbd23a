//! `traffic peers` and `traffic load`: see `HELP`.

use lexopt::{Arg, Parser, ValueExt};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use traffic::scenario::{Scenario, Times, NAMES};
use traffic::{clock, load, peers, report, trace};

const HELP: &str = "\
traffic peers [--port 7100] [--control 7199] [--seconds 300]
    eight peers on the ports from --port on; how they are is told on --control
traffic load SCENARIO [--gateway 8080] [--control 7199] [--seed 1] [--connections 64]
             [--warm 2] [--measured 5] [--after 2] [--dump FILE]
    plays a scenario against a gateway of those peers; prints what was measured as JSON, and writes
    what became of each request
traffic scenarios
    their names, and how long each takes
All of it on the loopback.
";

struct Options {
    words: Vec<String>,
    port: u16,
    control: u16,
    gateway: u16,
    seconds: u64,
    seed: u64,
    connections: usize,
    times: Times,
    dump: Option<OsString>,
}

fn main() -> ExitCode {
    match options().and_then(run) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("traffic: {why}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        words: Vec::new(),
        port: 7100,
        control: 7199,
        gateway: 8080,
        seconds: 300,
        seed: 1,
        connections: 64,
        times: Times { warm: 2.0, measured: 5.0, after: 2.0 },
        dump: None,
    };
    let mut parser = Parser::from_env();
    while let Some(name) = next(&mut options.words, &mut parser).map_err(|why| why.to_string())? {
        take(&mut options, &name, &mut parser).map_err(|why| why.to_string())?;
    }
    Ok(options)
}

/// The next option's name; words on the way are put aside.
fn next(words: &mut Vec<String>, parser: &mut Parser) -> Result<Option<String>, lexopt::Error> {
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long(name) => return Ok(Some(name.to_owned())),
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(None)
}

fn take(options: &mut Options, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
    let value = parser.value()?;
    match name {
        "port" => options.port = value.parse()?,
        "control" => options.control = value.parse()?,
        "gateway" => options.gateway = value.parse()?,
        "seconds" => options.seconds = value.parse()?,
        "seed" => options.seed = value.parse()?,
        "connections" => options.connections = value.parse()?,
        "warm" => options.times.warm = value.parse()?,
        "measured" => options.times.measured = value.parse()?,
        "after" => options.times.after = value.parse()?,
        "dump" => options.dump = Some(value),
        _ => return Err(format!("there is no --{name}").into()),
    }
    Ok(())
}

fn run(options: Options) -> Result<String, String> {
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    match words[..] {
        ["peers"] => {
            clock::sharpen();
            let peers = peers::Peers::new(options.port, options.control);
            peers.and_then(|mut peers| peers.run(options.seconds)).map_err(|why| format!("peers: {why}"))?;
            Ok(String::new())
        }
        ["load", name] => played(name, &options),
        ["scenarios"] => {
            let said = NAMES.into_iter().filter_map(|name| Scenario::named(name, options.times));
            Ok(said.map(|it| format!("{} {}\n", it.name, it.seconds())).collect())
        }
        _ => Err(HELP.to_owned()),
    }
}

fn played(name: &str, options: &Options) -> Result<String, String> {
    let scenario = Scenario::named(name, options.times)
        .ok_or_else(|| format!("no scenario {name:?}; there are {}", NAMES.join(", ")))?;
    let shots = trace::shots(&scenario, options.seed);
    let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    clock::sharpen();
    let played = load::play(&scenario, &shots, on(options.gateway), on(options.control), options.connections);
    let (records, peers) = played.map_err(|why| format!("{name}: {why}"))?;
    if let Some(path) = &options.dump {
        std::fs::write(path, report::dump(&records)).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let mut report = report::report(&scenario, &records);
    report["peers"] = peers;
    Ok(format!("{report}\n"))
}
