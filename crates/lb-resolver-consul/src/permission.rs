//! Whether an empty answer means that there is nothing, or that we may not see it.
//!
//! Consul answers 200 with an empty list where the token (or its absence) may not read the service. So an empty answer is followed by
//! one question to the agent: may this token read that service? It is the question Consul's own web page asks. A server without
//! it, or without access control, is believed.

use http::Method;
use serde::Deserialize;

use crate::client::Ask;
use crate::client::Client;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict {
    allow: bool,
}

/// Whether the agent says that the token may not read the service.
pub(crate) async fn denied(client: &mut Client, service: &str) -> bool {
    let question = serde_json::json!([{ "Resource": "service", "Access": "read", "Segment": service }]);
    let ask = Ask::send(Method::POST, "/v1/internal/acl/authorize".to_owned(), question.to_string());
    let Ok(answer) = client.ask(&ask).await else { return false };
    serde_json::from_slice::<Vec<Verdict>>(&answer.body).is_ok_and(|verdicts| verdicts.iter().any(|verdict| !verdict.allow))
}
