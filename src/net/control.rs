//! One request and its response, as JSON, on a stream of their own. For the driver's rare words;
//! nothing that is measured goes this way.

use std::future::Future;
use std::rc::Rc;

use quinn::{Connection, ReadToEndError, RecvStream, SendStream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::NetError;

/// The longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// The longest response, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Ok(T),
    Error(String),
}

/// Asks the other side, and waits for its answer for as long as the connection lives.
///
/// # Errors
/// [`NetError::Remote`] with what the other side says if it cannot do it; else if the connection is
/// lost, the answer is not understood, or something is too long.
pub async fn request<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    request: &Q,
) -> Result<A, NetError> {
    let bytes = to_json(request)?;
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(NetError::TooLong { what: "request", bytes_max: REQUEST_BYTES_MAX });
    }
    let (mut send, mut receive) = connection.open_bi().await?;
    send_all(&mut send, &bytes).await?;
    let answer = receive_all(&mut receive, "response", RESPONSE_BYTES_MAX).await?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(answer)) => Ok(answer),
        Ok(Answer::Error(error)) => Err(NetError::Remote(error)),
        Err(e) => Err(NetError::Remote(format!("the response is not understood: {e}"))),
    }
}

/// Answers the other side's requests with `handle`, several at a time, until the connection is
/// lost; an error of `handle` is told to the other side. Must be called where
/// [`tokio::task::spawn_local`] works.
///
/// # Errors
/// Always returns with the reason why the connection is no more.
pub async fn serve<Q, A, F>(
    connection: &Connection,
    handle: impl Fn(Q) -> F + 'static,
) -> Result<(), NetError>
where
    Q: DeserializeOwned + 'static,
    A: Serialize + 'static,
    F: Future<Output = Result<A, String>> + 'static,
{
    let handle = Rc::new(handle);
    loop {
        let (send, receive) = connection.accept_bi().await?;
        let handle = handle.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = respond(send, receive, &*handle).await {
                tracing::debug!(%error, "control request not answered");
            }
        });
    }
}

async fn respond<Q, A, F>(
    mut send: SendStream,
    mut receive: RecvStream,
    handle: &impl Fn(Q) -> F,
) -> Result<(), NetError>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A, String>>,
{
    let asked = receive_all(&mut receive, "request", REQUEST_BYTES_MAX).await;
    let result = match asked.as_deref().map(serde_json::from_slice) {
        Ok(Ok(request)) => handle(request).await,
        Ok(Err(e)) => Err(format!("the request is not understood: {e}")),
        Err(e) => Err(e.to_string()),
    };
    let mut answer = to_json(&match result {
        Ok(answer) => Answer::Ok(answer),
        Err(error) => Answer::Error(error),
    })?;
    if answer.len() > RESPONSE_BYTES_MAX {
        let error = NetError::TooLong { what: "response", bytes_max: RESPONSE_BYTES_MAX };
        answer = to_json(&Answer::<()>::Error(error.to_string()))?;
    }
    send_all(&mut send, &answer).await
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, NetError> {
    serde_json::to_vec(value).map_err(|e| NetError::Remote(format!("cannot be sent: {e}")))
}

async fn send_all(stream: &mut SendStream, bytes: &[u8]) -> Result<(), NetError> {
    stream.write_all(bytes).await.map_err(|e| NetError::Lost(e.to_string()))?;
    stream.finish().map_err(|e| NetError::Lost(e.to_string()))
}

async fn receive_all(
    stream: &mut RecvStream,
    what: &'static str,
    bytes_max: usize,
) -> Result<Vec<u8>, NetError> {
    stream.read_to_end(bytes_max).await.map_err(|e| match e {
        ReadToEndError::TooLong => NetError::TooLong { what, bytes_max },
        ReadToEndError::Read(e) => NetError::Lost(e.to_string()),
    })
}
