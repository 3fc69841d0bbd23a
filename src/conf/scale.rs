//! `autoscale_zone`, `autoscale_key` and `autoscale_status`.

use std::rc::Rc;

use logic::autoscale::signal::hint;

use super::settings::size;
use super::{LocConf, MainConf};
use crate::ngx::process::Workers;
use crate::ngx::{Args, Cf, ConfError, Directive, Path, Setter, LOC, MAIN, SRV};
use crate::scale::status::Format;
use crate::scale::{KeyConf, StateFile, ZoneConf};

type Result<T = ()> = core::result::Result<T, ConfError>;

/// Values of a key that are told apart unless `top=` says otherwise.
const TOP: usize = 128;

pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"autoscale_zone",
        contexts: MAIN,
        args: Args::OneOrMore,
        set: Setter::Main(zone),
        doc: "`NAME:SIZE [tick=1s] [keys=1024] [state=FILE]`: the shared memory that holds the metrics of all upstreams, peers and keys. What policies have learnt outlives nginx in FILE.",
    },
    Directive {
        name: c"autoscale_key",
        contexts: MAIN | SRV | LOC,
        args: Args::TwoOrMore,
        set: Setter::Loc(key),
        doc: "`NAME $variable [top=N]`: counts the requests of each value of the variable; beyond N the coldest value goes.",
    },
    Directive {
        name: c"autoscale_status",
        contexts: LOC,
        args: Args::One,
        set: Setter::Loc(status),
        doc: "`json | prometheus | html`: the location shows everything that the zone knows. `external_metrics`: it is the external metrics API of Kubernetes, below `/apis/`. `keda`: the number of the signal in `?signal=`, for KEDA's scaler `metrics-api`.",
    },
];

/// `name=value` parameters from word `from` on.
fn parameters(cf: &Cf, from: usize) -> Result<Vec<(String, String)>> {
    let words = cf.args().count();
    (from..words)
        .map(|i| {
            let word = cf.text(i)?;
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("invalid parameter \"{word}\": write name=value"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn count(name: &str, value: &str, range: core::ops::RangeInclusive<usize>) -> Result<usize> {
    let n = value.parse().ok().filter(|n| range.contains(n));
    n.ok_or_else(|| {
        ConfError(format!("invalid {name}={value}: write a number from {} to {}", range.start(), range.end()))
    })
}

fn zone(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let word = cf.text(1)?.to_owned();
    let usage =
        || ConfError(format!("invalid zone \"{word}\": write a name and a size, such as \"main:8m\""));
    let (name, bytes) = word.split_once(':').ok_or_else(usage)?;
    let bytes = size(bytes.as_bytes()).ok_or_else(usage)?;
    if name.is_empty() {
        return Err(usage());
    }
    if let Some(zone) = &conf.zone {
        return Err(ConfError(format!(
            "there is one zone for all metrics, and it is \"{}\" already",
            zone.name
        )));
    }
    let (mut tick, mut keys, mut state) = (1, 1024, None);
    for (parameter, value) in parameters(cf, 2)? {
        match parameter.as_str() {
            "tick" => {
                let seconds = value.strip_suffix('s').unwrap_or(&value);
                tick = count("tick", seconds, 1..=60)?;
            }
            "keys" => keys = count("keys", &value, 0..=1_000_000)?,
            "state" => state = Some(StateFile::new(&value)?),
            other => {
                return Err(ConfError(format!(
                    "unknown parameter \"{other}\": there are tick=, keys= and state="
                )))
            }
        }
    }
    let zone = Rc::new(ZoneConf::new(name, bytes, tick as u64, keys, Workers::of(cf), state)?);
    cf.add_zone(name, bytes, Rc::clone(&zone))?;
    conf.zone = Some(zone);
    Ok(())
}

fn key(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let name = cf.text(1)?.to_owned();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(legal) {
        return Err(ConfError(format!(
            "invalid key name \"{name}\": write letters, digits, \"_\" and \"-\""
        )));
    }
    if !cf.arg(2).contains(&b'$') {
        return Err(ConfError(format!(
            "the value of key \"{name}\" never changes: write a variable, such as \"$http_x_tenant\""
        )));
    }
    let value = cf.path(2)?;
    let mut top = TOP;
    for (parameter, value) in parameters(cf, 3)? {
        match parameter.as_str() {
            "top" => top = count("top", &value, 1..=1_000_000)?,
            other => return Err(ConfError(format!("unknown parameter \"{other}\": there is top="))),
        }
    }
    if conf.keys.iter().any(|k| k.conf.name == name) {
        return Err(ConfError(format!("key \"{name}\" is duplicate")));
    }
    let conf_of = cf.main_conf().key(&name, top);
    conf.keys.push(Rc::new(Key { conf: conf_of, value }));
    Ok(())
}

fn status(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let word = cf.text(1)?;
    let names = || Format::ALL.iter().map(|(name, _)| *name);
    let format = Format::ALL.iter().find(|(name, _)| *name == word).map(|(_, format)| *format);
    let format = format.ok_or_else(|| {
        let known = names().collect::<Vec<_>>().join("\", \"");
        ConfError(format!("unknown format \"{word}\"{}: write one of \"{known}\"", hint(word, names())))
    })?;
    if conf.status.replace(format).is_some() {
        return Err("is duplicate".into());
    }
    cf.main_conf().shows_status.set(true);
    cf.handle_status();
    Ok(())
}

/// A key of a location: what it is called, and where its value comes from.
pub struct Key {
    pub conf: Rc<KeyConf>,
    pub value: Path,
}
