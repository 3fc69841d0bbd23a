//! A publisher for RabbitMQ: one message, on a connection of its own, until the server has confirmed it.

use core::time::Duration;

use logic::wire::amqp::{Fault, Message, Session, Step, HELLO};
use logic::wire::login::Login;

use super::{Server, Shown, Talk, TalkError, Turn};
use crate::http::{self, Deadline};

/// How long a server may take to answer a farewell.
const FAREWELL: Duration = Duration::from_millis(500);

/// Publishes a message within its turn, if `may_write` agrees when everything else is ready.
pub async fn publish(
    server: &Server<'_>,
    turn: &Turn,
    message: &Message<'_>,
    may_write: &dyn Fn() -> bool,
) -> Result<(), TalkError> {
    // RabbitMQ's own, which it takes from loopback only
    let login = server.login.clone().unwrap_or_else(|| Login { user: None, password: "guest".into() });
    let mut session = Session::new(login);
    let work = async {
        let mut talk = Talk::to(server, turn).await?;
        talk.send(HELLO).await?;
        let result = converse(&mut talk, &mut session, message, may_write).await;
        Ok((talk, result))
    };
    let (mut talk, result) = turn.within(work).await?;
    if matches!(result, Ok(()) | Err(TalkError::Said(..) | TalkError::Deposed)) {
        // whatever it comes to: the message is where it is
        let farewell = async { Ok(leave(&mut talk, &mut session).await) };
        let _ = http::within(FAREWELL, Deadline::default(), &turn.part, farewell).await;
    }
    result
}

async fn converse(
    talk: &mut Talk<'_>,
    session: &mut Session,
    message: &Message<'_>,
    may_write: &dyn Fn() -> bool,
) -> Result<(), TalkError> {
    loop {
        match next(talk, session).await? {
            Step::More => {}
            Step::Send(bytes) => talk.send(&bytes).await?,
            Step::Ready => {
                let bytes = session.publish(message).map_err(said)?;
                if !may_write() {
                    return Err(TalkError::Deposed);
                }
                talk.send(&bytes).await?;
            }
            Step::Confirmed | Step::Closed => return Ok(()),
        }
    }
}

/// Ends the connection so that the server has nothing to complain of.
async fn leave(talk: &mut Talk<'_>, session: &mut Session) -> Result<(), TalkError> {
    let farewell = session.farewell();
    talk.send(&farewell).await?;
    while session.awaits_end() {
        next(talk, session).await?;
    }
    Ok(())
}

/// What the next frame comes to.
async fn next(talk: &mut Talk<'_>, session: &mut Session) -> Result<Step, TalkError> {
    loop {
        if let Some((step, length)) = session.take(&talk.input).map_err(said)? {
            talk.input.drain(..length);
            return Ok(step);
        }
        talk.more().await?;
    }
}

fn said(fault: Fault) -> TalkError {
    let again = fault.may_pass();
    TalkError::Said(Shown::new(&fault.to_string()), again)
}
