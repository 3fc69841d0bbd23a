//! `ngx.run_worker_thread`: a function of a module, in a thread of an nginx thread pool.

use crate::run::{Armed, Op, Waker};
use crate::vm::Stack;

fn refuse(stack: &mut Stack<'_>, why: &str) -> Armed {
    stack.truncate(0);
    stack.push_boolean(false);
    stack.push_bytes(why.as_bytes());
    Armed::Ready(2)
}

/// `(pool, module, function, package.path, package.cpath, arguments…)`: true and what the function returned, or false
/// and why not.
#[cfg(ngx_feature = "threads")]
fn run(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    use crate::ngx::{cycle_main_conf, ThreadPool, Timer};
    use crate::vm::{CopyError, SideCall, Value};

    let text = |i| stack.bytes(i).unwrap_or_default().to_vec();
    let name = text(3);
    let Some(pool) = ThreadPool::find(&name) else {
        return refuse(stack, &format!("thread pool {} not found", String::from_utf8_lossy(&name)));
    };
    let (module, function, path, cpath) = (text(4), text(5), text(6), text(7));
    let args: Result<Vec<Value>, CopyError> = (8..=stack.len()).map(|i| stack.value(i)).collect();
    let args = match args {
        Ok(args) => args,
        Err(e) => return refuse(stack, &format!("{e} in the argument")),
    };
    let Some(main) = cycle_main_conf() else { return refuse(stack, "process exiting") };
    let setup = || setup(path, cpath);
    let Some(mut vm) = main.side_vms.take(main.settings.worker_thread_vm_pool_size, setup) else {
        return refuse(stack, "no available Lua vm");
    };
    let call = SideCall { module, function, args };
    let work = move || {
        let result = vm.call(&call);
        (vm, result)
    };
    let woken = waker.clone();
    let posted = pool.run(work, move |done| {
        let result = match done {
            Some((vm, result)) => {
                main.side_vms.give(vm);
                result
            }
            None => {
                main.side_vms.lose();
                Err("the thread panicked".into())
            }
        };
        woken.wake(move |stack| match result {
            Ok(values) => {
                stack.push_boolean(true);
                values.iter().for_each(|value| stack.push_value(value));
                values.len() as i32 + 1
            }
            Err(e) => {
                stack.push_boolean(false);
                stack.push_bytes(e.as_bytes());
                2
            }
        });
    });
    if !posted {
        main.side_vms.lose();
        return refuse(stack, "ngx_thread_task_post failed");
    }
    // a worker that is to stop waits for its timers, and so for the thread
    Armed::Wait(Box::new(Timer::after(core::time::Duration::from_secs(1_000_000), Box::new(|| ()))))
}

/// What the thread's VM is told of this nginx.
#[cfg(ngx_feature = "threads")]
fn setup(path: Vec<u8>, cpath: Vec<u8>) -> crate::vm::Value {
    use crate::ngx::process;
    use crate::vm::Value;

    let main = crate::ngx::cycle_main_conf();
    let number = |n: Option<u32>| n.map_or(Value::Nil, |n| Value::Number(n.into()));
    let dicts = main.map(|main| {
        let row = |dict: &std::rc::Rc<crate::ngx::dict::Dict>| {
            let place = std::rc::Rc::as_ptr(dict) as usize;
            (Value::Text(dict.name().into()), Value::Pointer(place))
        };
        main.settings.dicts.iter().map(row).collect()
    });
    let rows: [(&str, Value); 11] = [
        // dictionaries live as long as the configuration, and so longer than the VMs
        ("dicts", Value::Table(dicts.unwrap_or_default())),
        ("regex_cache_max_entries", number(main.and_then(|main| main.settings.regex_cache_max_entries))),
        ("regex_match_limit", number(main.and_then(|main| main.settings.regex_match_limit))),
        ("path", Value::Text(path)),
        ("cpath", Value::Text(cpath)),
        ("null", Value::Pointer(0)),
        ("debug", Value::Boolean(process::NGINX_DEBUG)),
        ("nginx_version", Value::Number(process::NGINX_VERSION.into())),
        ("ngx_lua_version", Value::Number(10023.0)),
        ("prefix", Value::Text(crate::ngx::prefix())),
        ("configure", Value::Text(process::configure_arguments().to_vec())),
    ];
    Value::Table(rows.into_iter().map(|(key, value)| (Value::Text(key.into()), value)).collect())
}

#[cfg(not(ngx_feature = "threads"))]
fn run(_: &Waker, stack: &mut Stack<'_>) -> Armed {
    refuse(stack, "this nginx was built without --with-threads")
}

pub const OPS: &[Op] = &[Op { name: "worker_thread", arm: run }];
