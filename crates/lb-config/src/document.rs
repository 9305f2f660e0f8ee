//! The tables of `docs/CONFIG.md`, made from the tables of keys.

use std::fmt::Write;

use crate::keys::{self, Change, Key, Scope};

/// All keys as tables in Markdown, section by section: key, allowed, default, variable of the environment, when it changes, what it is.
pub fn tables() -> String {
    let mut text = String::new();
    table(&mut text, "", "For all services, or one");
    for section in keys::sections() {
        let off = if section.switch { " *Off until something in it is set.*" } else { "" };
        table(&mut text, section.path, &format!("`{}`: {}.{off}", section.path, section.about));
    }
    text
}

fn table(text: &mut String, section: &str, title: &str) {
    let rows: Vec<String> = keys::all().iter().filter(|key| key.section() == section).map(row).collect();
    // Writing to a String cannot fail.
    let _ = write!(text, "\n### {}\n\n{title}\n\n", if section.is_empty() { "At the top" } else { section });
    let _ = write!(text, "| key | allowed | default | variable | changes | |\n|---|---|---|---|---|---|\n{}", rows.concat());
}

fn row(key: &Key) -> String {
    let default = key.default().map_or_else(|| "-".to_owned(), |value| format!("`{}`", key.kind.show(&value)));
    let changes = match key.change {
        Change::Live => "at once",
        Change::LiveOnceSet => "at once, if it was set at the start",
        Change::NewChannel => "with a new channel",
        Change::Told => "when it is read again",
    };
    let scope = match key.scope {
        Scope::Any => "",
        Scope::Own => " One service's own.",
        Scope::Top => " At the top only.",
    };
    let about = key.about.trim_end_matches('.');
    let allowed = key.kind.allowed();
    format!("| `{}` | {allowed} | {default} | `{}` | {changes} | {about}.{scope} |\n", key.path, key.variable())
}
