//! The API server of a Kubernetes cluster: where it is, and how it is asked.

use logic::autoscale::outward::scale::refusal;
use logic::text::url::{bracketed, Url};

use super::call::{Answer, Ask};
use super::{files, Env, Failure, Retry};
use crate::http::Response;

/// Where a pod finds what its service account needs.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Address and credentials.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    pub api: &'a str,
    pub ca_file: Option<&'a str>,
    pub token_file: Option<&'a str>,
}

/// Fills in what a pod has, where the configuration says no `api=`, and checks what is there. The answer is a warning. An address of
/// one's own gets no credentials that are not named beside it: the token of the cluster is nobody else's.
///
/// To be called when the configuration is read, by a process that still has its environment: nginx takes it from workers.
pub fn complete(
    api: &mut Option<String>,
    ca_file: &mut Option<String>,
    token_file: &mut Option<String>,
) -> Result<Option<String>, String> {
    if api.is_none() {
        let var = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let Some(host) = var("KUBERNETES_SERVICE_HOST") else {
            return Ok(Some(
                "no api=, and this is no pod (KUBERNETES_SERVICE_HOST is not set): writes will fail".into(),
            ));
        };
        let port = var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into());
        *api = Some(format!("https://{}:{port}", bracketed(&host)));
        ca_file.get_or_insert_with(|| format!("{ACCOUNT}/ca.crt"));
        token_file.get_or_insert_with(|| format!("{ACCOUNT}/token"));
    }
    if token_file.is_some() && api.as_deref().is_some_and(|api| !api.starts_with("https://")) {
        return Err("a token would be sent in the clear: write api=https://...".into());
    }
    if let Some(api) = api {
        Url::parse(api.as_bytes()).map_err(|e| e.to_string())?;
    }
    files::check(ca_file.as_deref(), token_file.as_deref(), None)?;
    Ok(None)
}

/// What there is to ask for.
pub struct Query<'a> {
    pub method: &'static str,
    pub path: &'a str,
    /// With its type.
    pub body: Option<(&'static str, String)>,
    pub writes: bool,
    pub limit: u64,
}

impl<'a> Query<'a> {
    pub fn get(path: &'a str, limit: u64) -> Query<'a> {
        Query { method: "GET", path, body: None, writes: false, limit }
    }
}

impl<'a> Cluster<'a> {
    pub fn new(
        api: Option<&'a str>,
        ca_file: Option<&'a str>,
        token_file: Option<&'a str>,
    ) -> Result<Cluster<'a>, Failure> {
        let api = api.ok_or_else(|| Failure::never("no api= is configured, and this is no pod"))?;
        Ok(Cluster { api: api.trim_end_matches('/'), ca_file, token_file })
    }

    /// Asks, and once more with another token if the one that was sent is not taken and the file has changed meanwhile.
    pub async fn ask(&self, query: Query<'_>, env: &Env) -> Result<Answer, Failure> {
        let mut token = self.token()?;
        let mut fresh = false;
        loop {
            let answer = self.ask_with(token.as_deref(), &query, env).await?;
            if answer.status == 401 && !fresh {
                let next = self.token()?;
                if next != token {
                    (token, fresh) = (next, true);
                    continue;
                }
            }
            return Ok(answer);
        }
    }

    /// The same for what comes bit by bit: the body, of `most` bytes at most, is the caller's to read.
    pub async fn open(&self, path: &str, limit: u64, most: u64, env: &Env) -> Result<Response, Failure> {
        let mut token = self.token()?;
        let mut fresh = false;
        loop {
            let query = Query::get(path, limit);
            let response =
                self.request(token.as_deref(), &query, async |ask| ask.open(env, most).await).await?;
            if response.status.as_u16() == 401 && !fresh {
                let next = self.token()?;
                if next != token {
                    (token, fresh) = (next, true);
                    continue;
                }
            }
            return Ok(response);
        }
    }

    async fn ask_with(&self, token: Option<&str>, query: &Query<'_>, env: &Env) -> Result<Answer, Failure> {
        self.request(token, query, async |ask| ask.send(env).await).await
    }

    async fn request<T>(
        &self,
        token: Option<&str>,
        query: &Query<'_>,
        send: impl AsyncFnOnce(Ask<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let url = format!("{}{}", self.api, query.path);
        let mut headers = vec![("Accept", "application/json")];
        let authorization = token.map(|token| format!("Bearer {token}"));
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        headers.extend(query.body.as_ref().map(|(kind, _)| ("Content-Type", *kind)));
        let ask = Ask {
            method: query.method,
            url: &url,
            headers: &headers,
            body: query.body.as_ref().map(|(_, body)| body.clone()),
            ca_file: self.ca_file,
            writes: query.writes,
            limit: query.limit,
        };
        send(ask).await
    }

    fn token(&self) -> Result<Option<String>, Failure> {
        self.token_file.map(files::token).transpose()
    }
}

/// What a refusal of the API server comes to. Rights may come: while it starts it knows of none, and tokens are replaced.
pub fn refused(answer: &Answer, what: &str) -> Failure {
    let failure = answer.failure(what, refusal(&answer.body));
    match answer.status {
        401 | 403 => Failure { retry: Retry::Soon, ..failure },
        _ => failure,
    }
}

/// The same as the end of a log line.
pub fn reason(status: u16, body: &[u8], what: &str) -> String {
    let reason = refusal(body).map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{what} was answered {status}{reason}")
}
