//! `autoscale_split`.

use std::rc::Rc;

use logic::autoscale::nginx_conf::{parse, split as read_split, FileError};
use logic::autoscale::signal::hint;
use logic::autoscale::split::Split;

use super::policies::NoFiles;
use super::MainConf;
use crate::ngx::{Args, Cf, ConfError, Directive, Path, Place, Setter, MAIN};

type Result<T = ()> = core::result::Result<T, ConfError>;

pub const DIRECTIVES: &[Directive] = &[Directive {
    name: c"autoscale_split",
    contexts: MAIN,
    args: Args::BlockOne,
    set: Setter::Main(split),
    doc: "`$variable { UPSTREAM 95%; UPSTREAM 5%; lines }`: a variable that shares requests out between upstreams. `guard UPSTREAM.METRIC <= UPSTREAM.METRIC + 1% min=200r;` takes everything from an upstream for which it does not hold, `step +10% every=5m [max=50%];` gives it more while it does, `key $cookie_user;` keeps users where they are.",
}];

/// One split, and the text that tells its users apart.
pub struct SplitConf {
    pub split: Split,
    /// [`Split::mark`]
    pub mark: u64,
    pub key: Option<Path>,
    place: Place,
}

fn split(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let (place, (file, _), word) = (cf.place(), cf.position(), cf.text(1)?.to_owned());
    let block = cf.raw_block().inspect_err(|_| cf.stand_at(&place))?;
    let text =
        String::from_utf8(block).map_err(|_| ConfError("the lines of a split are text in UTF-8".into()))?;
    // so that lines have the numbers they have in the file
    let text = format!("{}autoscale_split {{{text}}}", "\n".repeat(place.line.saturating_sub(1)));
    let read = parse(&file, &text, &NoFiles).and_then(|mut statements| {
        let mut statement = statements.swap_remove(0);
        statement.words.push(word);
        read_split(&statement)
    });
    let split = read.map_err(|FileError { line, what, .. }| {
        let mut at = place;
        at.line = line;
        cf.stand_at(&at);
        ConfError(what)
    })?;
    let splits = conf.splits.get_mut();
    if splits.iter().any(|other| other.split.variable == split.variable) {
        cf.stand_at(&place);
        return Err(ConfError(format!("split \"${}\" is duplicate", split.variable)));
    }
    cf.add_split_variable(&split.variable, splits.len())?;
    let key = split.key.as_ref().map(|key| cf.compile(key.as_bytes())).transpose()?;
    splits.push(Rc::new(SplitConf { mark: split.mark(), split, key, place }));
    Ok(())
}

impl MainConf {
    /// Checks what only the whole configuration can tell.
    pub fn finish_splits(&self, cf: &mut Cf) -> Result {
        let splits = self.splits.borrow();
        for (i, conf) in splits.iter().enumerate() {
            let checked = self.check_split(&conf.split, splits[..i].iter().map(|other| &other.split));
            checked.inspect_err(|_| cf.stand_at(&conf.place))?;
        }
        Ok(())
    }

    fn check_split<'s>(&self, split: &Split, mut others: impl Iterator<Item = &'s Split>) -> Result {
        if self.zone.is_none() {
            return Err(ConfError(
                "\"autoscale_split\" needs the memory that all workers share: write \"autoscale_zone main:8m;\" in http {}".into(),
            ));
        }
        let known = || self.observed().iter().map(|o| &*o.name);
        for arm in &split.arms {
            if !known().any(|name| name == arm.upstream) {
                let hint = hint(&arm.upstream, known());
                return Err(ConfError(format!("there is no upstream \"{}\"{hint}", arm.upstream)));
            }
        }
        let moving = &split.arms[split.moving].upstream;
        if let Some(other) = others.find(|other| other.arms[other.moving].upstream == *moving) {
            return Err(ConfError(format!(
                "upstream \"{moving}\" is moved by split \"${}\" already: have both locations use that variable",
                other.variable
            )));
        }
        Ok(())
    }
}
