//! Whether an empty answer means that there is nothing, or that we may not see it.
//!
//! Consul answers 200 with an empty list where the token (or its absence) may not read the service. So an empty answer is followed by
//! one question to the agent: may this token read that service, and agents (Consul shows an entry only to who may read both)? It is the
//! question Consul's own web page asks. A server without it, or without access control, is believed. Who may read the agents of
//! some names only is taken for one who may read none, as long as the answer is empty.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::Ask;
use crate::client::Client;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict {
    allow: bool,
}

/// What the agent says that the token may not read, of what is needed to see the service.
pub(crate) async fn denied(client: &mut Client, service: &str) -> Option<&'static str> {
    let read = |resource: &str, segment: &str| json!({ "Resource": resource, "Access": "read", "Segment": segment });
    let question = json!([read("service", service), read("node", "")]);
    let ask = Ask::send(Method::POST, "/v1/internal/acl/authorize".to_owned(), question.to_string());
    let answer = client.ask(&ask).await.ok()?;
    let verdicts = serde_json::from_slice::<Vec<Verdict>>(&answer.body).ok()?;
    match verdicts.as_slice() {
        [Verdict { allow: false }, ..] => Some("the service"),
        [_, Verdict { allow: false }] => Some("nodes"),
        _ => None,
    }
}
