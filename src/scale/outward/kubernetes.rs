//! `kubernetes:NAMESPACE/KIND/NAME`: the number of replicas in the scale subresource of a workload.
//!
//! Written is the number itself, and only if it still is needed: if somebody else has gone further in the same direction there is nothing
//! to do, and if somebody has scaled to zero that stays. The patch names the version that was read; a 409 says that it is old, and
//! everything begins again with a read. That is also what follows a timeout, so that nothing is done twice whether or not the patch
//! had arrived.
//!
//! Read is the workload itself, for its ready replicas; an account that may only read the scale subresource gets the number of its pods in
//! place of that, which runs ahead while pods start.
//!
//! `GROUP.KIND` is looked up in the API server's discovery, as kubectl does, and remembered.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::HashMap;

use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::outward::retry::Backoff;
use logic::autoscale::outward::scale::{self, Resource, Scale, Still};
use logic::autoscale::policy::Replicas;

use super::call::{persist, Tries};
use super::cluster::{refused, Cluster, Query};
use super::{Env, Failure, Order, Written};
use crate::ngx::{clock, cycle_main_conf, sleep};

/// For how long a workload that may not be read is left alone, in milliseconds: while it starts, an API server allows nothing.
const SCALE_ONLY_MS: u64 = 60_000;

/// What a worker has learnt about clusters.
#[derive(Default)]
pub struct Known {
    /// Kinds by API and `GROUP.KIND`.
    kinds: RefCell<HashMap<(String, String), Resource>>,
    /// Workloads that may not be read, by target, and when they are tried again (as [`clock::msec`]); their scale subresource is read.
    scale_only: RefCell<HashMap<String, u64>>,
}

/// One workload.
struct Workload<'a> {
    cluster: Cluster<'a>,
    target: &'a Target,
    namespace: &'a str,
    kind: &'a str,
    name: &'a str,
    env: &'a Env,
}

/// How many replicas are wanted, and ready.
pub async fn read(target: &Target, env: &Env) -> Result<Option<Replicas>, Failure> {
    let workload = Workload::of(target, env)?;
    persist(target, async |tries| {
        let replicas = match workload.read_object(tries).await? {
            Some((wanted, ready)) => Replicas { wanted, ready },
            None => {
                let scale = workload.read_scale(tries).await?;
                Replicas { wanted: scale.wanted, ready: scale.present }
            }
        };
        Ok(Some(replicas))
    })
    .await
}

/// Sets the number, if that still is needed.
pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    let workload = Workload::of(target, env)?;
    persist(target, async |tries| workload.write(order, tries).await).await
}

impl<'a> Workload<'a> {
    fn of(target: &'a Target, env: &'a Env) -> Result<Workload<'a>, Failure> {
        let Kind::Kubernetes { namespace, kind, name } = &target.kind else {
            return Err(Failure::never("this is no workload of Kubernetes"));
        };
        let (api, ca, token) =
            (target.api.as_deref(), target.ca_file.as_deref(), target.token_file.as_deref());
        Ok(Workload { cluster: Cluster::new(api, ca, token)?, target, namespace, kind, name, env })
    }

    async fn write(&self, order: &Order, tries: &Tries) -> Result<Written, Failure> {
        let mut conflicts = Backoff::of_conflicts(clock::msec(), tries.left());
        loop {
            if !(self.env.may_write)() {
                return Err(Failure::never("not the leader any more"));
            }
            let scale = self.read_scale(tries).await?;
            match scale.still(order.from, order.to) {
                Still::Needed => {}
                Still::Done => return Ok(Written { replicas: scale.wanted }),
                Still::Paused => {
                    return Err(Failure::never("somebody scaled it to zero; scale it up to resume"));
                }
            }
            if let Some(replicas) = self.patch(&scale, order.to, tries).await? {
                return Ok(Written { replicas });
            }
            match conflicts.pause(clock::msec(), None, clock::random().into()) {
                Some(pause) => sleep(Duration::from_millis(pause)).await,
                None => return Err(Failure::soon("PATCH scale: others change it all the time (409)")),
            }
        }
    }

    /// The number that the API server has taken; `None` when the object has changed since it was read.
    async fn patch(&self, scale: &Scale, to: u32, tries: &Tries) -> Result<Option<u32>, Failure> {
        let path = self.resource(tries).await?.scale(self.namespace, self.name);
        let query = Query {
            method: "PATCH",
            path: &path,
            body: Some(("application/merge-patch+json", scale.patch(to))),
            writes: true,
            limit: tries.share(),
        };
        let answer = self.cluster.ask(query, self.env).await?;
        match answer.status {
            409 => Ok(None),
            _ if answer.is_ok() => Ok(Some(Scale::parse(&answer.body).map_or(to, |scale| scale.wanted))),
            _ => Err(refused(&answer, "PATCH scale")),
        }
    }

    async fn read_scale(&self, tries: &Tries) -> Result<Scale, Failure> {
        let path = self.resource(tries).await?.scale(self.namespace, self.name);
        let answer = self.cluster.ask(Query::get(&path, tries.share()), self.env).await?;
        if !answer.is_ok() {
            self.forget_kind(answer.status);
            return Err(refused(&answer, "GET scale"));
        }
        Scale::parse(&answer.body).ok_or_else(|| Failure::never("GET scale: the answer is no Scale"))
    }

    /// Wanted and ready replicas as the workload itself says; `None` when the account may not read it, or its kind has a format of its
    /// own.
    async fn read_object(&self, tries: &Tries) -> Result<Option<(u32, u32)>, Failure> {
        let Some(resource) = Resource::known(self.kind) else { return Ok(None) };
        let scale_only = cycle_main_conf().map(|main| &main.clusters.scale_only);
        let until = scale_only.and_then(|names| names.borrow().get(&self.target.name).copied());
        if until.is_some_and(|until| clock::msec() < until) {
            return Ok(None);
        }
        let path = resource.object(self.namespace, self.name);
        let answer = self.cluster.ask(Query::get(&path, tries.share()), self.env).await?;
        match answer.status {
            403 => {
                if let Some(names) = scale_only {
                    names.borrow_mut().insert(self.target.name.clone(), clock::msec() + SCALE_ONLY_MS);
                }
                Ok(None)
            }
            _ if answer.is_ok() => {
                let replicas = scale::ready_of(&answer.body);
                replicas.map(Some).ok_or_else(|| Failure::never("GET: the answer is no workload"))
            }
            _ => Err(refused(&answer, "GET")),
        }
    }

    async fn resource(&self, tries: &Tries) -> Result<Resource, Failure> {
        if let Some(resource) = Resource::known(self.kind) {
            return Ok(resource);
        }
        let kinds = cycle_main_conf().map(|main| &main.clusters.kinds);
        let key = (self.cluster.api.to_string(), self.kind.to_string());
        if let Some(resource) = kinds.and_then(|kinds| kinds.borrow().get(&key).cloned()) {
            return Ok(resource);
        }
        let resource = self.discover(tries).await?;
        if let Some(kinds) = kinds {
            kinds.borrow_mut().insert(key, resource.clone());
        }
        Ok(resource)
    }

    /// Asks which version of a group is preferred, and what the kind is called in paths.
    async fn discover(&self, tries: &Tries) -> Result<Resource, Failure> {
        let unknown =
            || Failure::never(format!("the cluster has no kind \"{}\" that can be scaled", self.kind));
        let (group, kind) = scale::group_and_kind(self.kind).ok_or_else(unknown)?;
        let group = self.discovered(&format!("/apis/{group}"), tries).await?;
        let base = format!("/apis/{}", scale::preferred_version(&group).ok_or_else(unknown)?);
        let list = self.discovered(&base, tries).await?;
        let plural = scale::plural_of(&list, kind).ok_or_else(unknown)?;
        Ok(Resource { base, plural })
    }

    async fn discovered(&self, path: &str, tries: &Tries) -> Result<Vec<u8>, Failure> {
        let answer = self.cluster.ask(Query::get(path, tries.share()), self.env).await?;
        if answer.is_ok() {
            return Ok(answer.body);
        }
        Err(refused(&answer, &format!("GET {path}")))
    }

    /// A kind may move to another version.
    fn forget_kind(&self, status: u16) {
        if let (404, Some(main)) = (status, cycle_main_conf()) {
            let key = (self.cluster.api.to_string(), self.kind.to_string());
            main.clusters.kinds.borrow_mut().remove(&key);
        }
    }
}
