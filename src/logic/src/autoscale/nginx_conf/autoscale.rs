//! What a configuration says about autoscaling.

use super::super::conf::{
    mode, Code, External, Leader, Log, PolicyBuilder, PolicyConf, Settings, SplitBuilder, Subject, Target,
    Zones,
};
use super::super::policy::Class;
use super::super::split::Split;
use super::tree::{Block, Statement};
use super::FileError;

/// The settings of `http {}`, and the names they may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub settings: Settings,
    pub upstreams: Vec<String>,
    pub keys: Vec<String>,
}

/// Collects the `autoscale*` directives of `http {}`, or of the whole text when it has no `http {}` (a piece of a configuration), in
/// which case names of upstreams are not checked.
pub fn settings(statements: &[Statement], zones: Zones<'_>) -> Result<Found, FileError> {
    let http: Vec<&Statement> = statements.iter().filter(|statement| statement.name() == "http").collect();
    let list: Vec<&Statement> = match http.is_empty() {
        true => statements.iter().collect(),
        false => http.iter().flat_map(|http| http.statements()).collect(),
    };
    let mut found = Found { settings: Settings::default(), upstreams: Vec::new(), keys: Vec::new() };
    for statement in &list {
        directive(statement, &mut found, zones)?;
    }
    keys(&list, &mut found.keys);
    if http.is_empty() {
        found.assume();
    }
    let names = |list: &[String]| list.to_vec();
    let (upstreams, keys) = (names(&found.upstreams), names(&found.keys));
    let upstreams: Vec<&str> = upstreams.iter().map(String::as_str).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    found.settings.finish(&upstreams, &keys).map_err(|misfit| {
        let (directive, name) = match &misfit.subject {
            Subject::Policy(name) => ("autoscale_policy", name),
            Subject::Target(name) => ("autoscale_target", name),
        };
        let is = |statement: &&&Statement| {
            statement.name() == directive && statement.args().first() == Some(&name.as_str())
        };
        match list.iter().find(is) {
            Some(statement) => statement.error(misfit.error),
            None => FileError { file: String::new(), line: 0, what: misfit.error.to_string() },
        }
    })?;
    Ok(found)
}

fn directive(statement: &Statement, found: &mut Found, zones: Zones<'_>) -> Result<(), FileError> {
    let (args, settings) = (statement.args(), &mut found.settings);
    let result = match statement.name() {
        "autoscale" => mode(&args).map(|mode| settings.mode = mode),
        "autoscale_signal" => External::parse(&args).and_then(|signal| settings.add_signal(signal)),
        "autoscale_target" => Target::parse(&args).and_then(|target| settings.add_target(target)),
        "autoscale_leader" => Leader::parse(&args).map(|leader| settings.leader = leader),
        "autoscale_log" => Log::parse(&args).map(|log| settings.log = Some(log)),
        "autoscale_policy" => {
            let policy = policy(statement, zones)?;
            settings.add_policy(policy)
        }
        "upstream" => {
            found.upstreams.extend(args.first().map(|name| (*name).to_string()));
            Ok(())
        }
        _ => Ok(()),
    };
    result.map_err(|e| statement.error(e))
}

/// `autoscale_policy` with its block.
pub fn policy(statement: &Statement, zones: Zones<'_>) -> Result<PolicyConf, FileError> {
    let mut builder = PolicyBuilder::new(&statement.args()).map_err(|e| statement.error(e))?;
    let mut scripts = Vec::new();
    if statement.block.is_none() {
        return Err(statement
            .error("autoscale_policy needs a block: write autoscale_policy NAME [target=T] { lines }"));
    }
    for line in statement.statements() {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        match &line.block {
            Some(Block::Lua(code)) => scripts.push(Code {
                text: code.as_str().into(),
                file: line.file.to_string(),
                line: line.line,
            }),
            Some(_) => return Err(line.error(format!("\"{}\" has no block", line.name()))),
            None if line.name() == "by_lua_block" => {
                return Err(line.error("by_lua_block needs a block { … }"))
            }
            None => {}
        }
        builder.line(&words, zones).map_err(|e| line.error(e))?;
    }
    let policy = builder.finish().map_err(|e| statement.error(e))?;
    Ok(PolicyConf { policy, scripts })
}

/// `autoscale_split` with its block.
pub fn split(statement: &Statement) -> Result<Split, FileError> {
    let mut builder = SplitBuilder::new(&statement.args()).map_err(|e| statement.error(e))?;
    for line in statement.statements() {
        if line.block.is_some() {
            return Err(line.error(format!("\"{}\" has no block", line.name())));
        }
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        builder.line(&words).map_err(|e| line.error(e))?;
    }
    builder.finish().map_err(|e| statement.error(e))
}

/// `autoscale_key NAME $variable`, wherever it stands.
fn keys(list: &[&Statement], found: &mut Vec<String>) {
    for statement in list {
        if let ("autoscale_key", [name, ..]) = (statement.name(), &statement.args()[..]) {
            found.push((*name).to_string());
        }
        keys(&statement.statements().iter().collect::<Vec<_>>(), found);
    }
}

impl Found {
    /// In a piece of a configuration every upstream, key and target that is named is taken to exist elsewhere.
    fn assume(&mut self) {
        use super::super::conf::Kind;
        use super::super::policy::Action;
        use super::super::signal::Scope;
        for PolicyConf { policy, .. } in &mut self.settings.policies {
            for watched in &policy.signals {
                match &watched.signal.scope {
                    Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => {
                        self.upstreams.push(name.clone())
                    }
                    Scope::Key { name, .. } => self.keys.push(name.clone()),
                    _ => {}
                }
            }
            for action in &policy.actions {
                match action {
                    Action::Route { to, class } => {
                        self.upstreams.push(to.clone());
                        self.keys.extend(class.iter().map(label));
                    }
                    Action::Throttle { key, .. } => self.keys.push(key.clone()),
                    Action::Shed(class) => self.keys.push(label(class)),
                    Action::Notify(_) => {}
                }
            }
        }
        for target in &self.settings.targets {
            if let Kind::Pool { upstream } = &target.kind {
                self.upstreams.push(upstream.clone());
            }
        }
    }
}

/// A label that a class may be of.
fn label(class: &Class) -> String {
    class.key.clone().unwrap_or_else(|| class.value.clone())
}
