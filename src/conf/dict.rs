//! `lua_shared_dict`.

use std::rc::Rc;

use super::settings::size;
use super::MainConf;
use crate::ngx::dict::Dict;
use crate::ngx::{Args, Cf, ConfError, Directive, Setter, MAIN};

pub const DIRECTIVES: &[Directive] = &[Directive {
    name: c"lua_shared_dict",
    contexts: MAIN,
    args: Args::Two,
    set: Setter::Main(shared_dict),
    doc: "`NAME SIZE`: a dictionary in memory that all workers share, `ngx.shared.NAME`.",
}];

fn shared_dict(cf: &mut Cf, conf: &mut MainConf) -> Result<(), ConfError> {
    let name = cf.text(1)?.to_owned();
    let word = cf.text(2)?.to_owned();
    if name.is_empty() {
        return Err("invalid lua shared dict name \"\"".into());
    }
    let bytes = size(word.as_bytes())
        .ok_or_else(|| format!("invalid lua shared dict size \"{word}\": write a size such as \"10m\""))?;
    if conf.settings.dicts.iter().any(|d| d.name() == name) {
        return Err(ConfError(format!("lua_shared_dict \"{name}\" is already defined as \"{name}\"")));
    }
    let dict = Dict::new(&name, bytes)
        .map_err(|why| format!("invalid lua shared dict size \"{word}\" of \"{name}\": {why}"))?;
    let dict = Rc::new(dict);
    cf.add_zone(&name, bytes, Rc::clone(&dict))
        .map_err(|e| format!("lua_shared_dict \"{name}\" needs a name that no other zone has: {}", e.0))?;
    conf.settings.dicts.push(dict);
    Ok(())
}
