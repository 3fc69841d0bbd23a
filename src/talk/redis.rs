//! A client of Redis: a connection, a login, a few commands one after the other.

use logic::wire::resp::{self, Reply};

use super::{Server, Shown, Talk, TalkError, Turn};

pub struct Redis<'a> {
    talk: Talk<'a>,
}

impl<'a> Redis<'a> {
    /// Connects, and logs in if there is a secret.
    pub async fn connect(server: &Server<'_>, turn: &'a Turn) -> Result<Redis<'a>, TalkError> {
        let mut redis = Redis { talk: Talk::to(server, turn).await? };
        if let Some(login) = &server.login {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(login.user.as_deref().map(str::as_bytes));
            words.push(login.password.as_bytes());
            redis.ask(&words).await.map_err(|e| match e {
                // a server that does not know AUTH repeats what it was told: the words stay out of logs
                TalkError::Said(Shown(text), again) => {
                    let code = text.split(' ').next().unwrap_or_default();
                    TalkError::Said(Shown(format!("{code} (login refused)")), again)
                }
                e => e,
            })?;
        }
        Ok(redis)
    }

    /// One command, and its reply; an error of the server's is an error.
    pub async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, TalkError> {
        let mut command = Vec::new();
        resp::command(words, &mut command);
        self.talk.send(&command).await?;
        loop {
            let read = resp::reply(&self.talk.input);
            match read.map_err(|e| TalkError::Said(Shown(format!("bad reply: {e}")), false))? {
                Some((reply, length)) => {
                    self.talk.input.drain(..length);
                    return match reply {
                        Reply::Error(text) => Err(TalkError::Said(Shown::new(&text), resp::may_pass(&text))),
                        reply => Ok(reply),
                    };
                }
                None => self.talk.more().await?,
            }
        }
    }
}
