//! Watching a file that changes under the command.

use serde_json::Value;

use crate::support::Running;
use crate::support::Scratch;
use crate::support::code;

/// The line without the time in front.
fn timeless(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
    rest
}

#[tokio::test]
async fn lines_follow_the_file() {
    let scratch = Scratch::new();
    let path = scratch.write("orders.json", r#"[{"address":"10.0.0.1:1","weight":3,"locality":{"region":"eu"}},"10.0.0.2:1"]"#);
    let mut watch = Running::start(&["watch", &format!("file:{path}")]);
    assert_eq!(timeless(&watch.line().await), "+ 10.0.0.1:1  weight=3 locality=eu");
    assert_eq!(timeless(&watch.line().await), "+ 10.0.0.2:1");
    assert_eq!(timeless(&watch.line().await), "= 2 endpoints");
    scratch.write("orders.json", r#"["10.0.0.1:1",{"address":"10.0.0.3:1","capabilities":["gpu"]}]"#);
    assert_eq!(timeless(&watch.line().await), "- 10.0.0.2:1");
    assert_eq!(timeless(&watch.line().await), "~ 10.0.0.1:1");
    assert_eq!(timeless(&watch.line().await), "+ 10.0.0.3:1  capabilities=gpu");
    assert_eq!(timeless(&watch.line().await), "= 2 endpoints");
    scratch.write("orders.json", "{");
    let line = watch.line().await;
    assert!(timeless(&line).starts_with("! ") && line.ends_with("(keeping 2 endpoints)"), "{line}");
    watch.signal("INT");
    assert_eq!(watch.code().await, Some(0));
}

#[tokio::test]
async fn json_lines_follow_the_file() {
    let scratch = Scratch::new();
    let path = scratch.write("orders.json", r#"["10.0.0.1:1"]"#);
    let mut watch = Running::start(&["watch", "--json", &format!("file:{path}")]);
    let first: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!(
        (&first["event"], &first["added"], &first["note"]),
        (&"endpoints".into(), &serde_json::json!(["10.0.0.1:1"]), &Value::Null)
    );
    assert_eq!(first["endpoints"][0]["attributes"]["weight"], 1);
    assert_eq!(first["endpoints"][0]["addresses"], serde_json::json!(["10.0.0.1:1"]));
    scratch.write("orders.json", "nonsense");
    let failed: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!((&failed["event"], &failed["kind"]), (&"error".into(), &"malformed".into()));
    assert_eq!(failed["endpoints"][0]["key"], "10.0.0.1:1", "the last good set stands");
    scratch.write("orders.json", r#"[{"address":"10.0.0.1:1","weight":2},"10.0.0.2:1"]"#);
    let next: Value = serde_json::from_str(&watch.line().await).unwrap();
    let changes = [&next["added"], &next["removed"], &next["changed"]].map(|keys| keys.as_array().unwrap().len());
    assert_eq!(changes, [1, 0, 1]);
    watch.signal("TERM");
    assert_eq!(watch.code().await, Some(0));
}

#[tokio::test]
async fn it_ends_quietly_when_nobody_reads_any_more() {
    let scratch = Scratch::new();
    let path = scratch.write("orders.json", r#"["10.0.0.1:1"]"#);
    let mut watch = Running::start(&["watch", "--json", &format!("file:{path}")]);
    watch.line().await;
    let mut child = watch.close();
    scratch.write("orders.json", r#"["10.0.0.2:1"]"#);
    assert_eq!(code(&mut child).await, Some(0));
}
