//! The page's files, as they are in the program.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};

use crate::app::Shared;

/// What the browser lets the page do: load its own scripts and styles, talk to its own server, and nothing else. No script inside the
/// markup, no text taken for markup (trusted types), no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// One file: where it is, what it is, and what is in it.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the folder `page`, under `/assets`.
macro_rules! asset {
    ($name:literal, $kind:expr) => {
        Asset { path: concat!("/assets/", $name), kind: $kind, content: include_str!(concat!("page/", $name)) }
    };
}

const ASSETS: &[Asset] = &[
    Asset { path: "/", kind: HTML, content: include_str!("page/index.html") },
    asset!("icon.svg", "image/svg+xml"),
    asset!("style.css", CSS),
    asset!("parts.css", CSS),
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("ask.js", SCRIPT),
    asset!("charts.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("events.js", SCRIPT),
    asset!("explain.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("model.js", SCRIPT),
    asset!("plots.js", SCRIPT),
    asset!("policy.js", SCRIPT),
    asset!("scales.js", SCRIPT),
    asset!("services.js", SCRIPT),
    asset!("shapes.js", SCRIPT),
    asset!("stream.js", SCRIPT),
    asset!("table.js", SCRIPT),
    asset!("theme.js", SCRIPT),
];

/// Whether this path is a file of the page: those hold no data, and the page has to be there to ask for a token.
pub(crate) fn is_public(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

pub(super) fn routes() -> Router<Shared> {
    ASSETS.iter().fold(Router::new(), |router, asset| router.route(asset.path, get(|| async { serve(asset) })))
}

/// Not to be kept: another version of the program has another page at the same place.
fn serve(asset: &Asset) -> Response {
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, asset.content).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_every_import_leads_to_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/page");
        let files: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served: BTreeSet<String> = ASSETS
            .iter()
            .map(|asset| asset.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index.html").into())
            .collect();
        assert_eq!(files, served);
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            for import in asset.content.lines().filter_map(|line| line.rsplit_once("from \"./")?.1.strip_suffix("\";")) {
                assert!(served.contains(import), "{} imports {import}", asset.path);
            }
        }
    }

    #[test]
    fn the_page_asks_nobody_else_and_never_makes_markup_of_text() {
        for asset in ASSETS {
            let known = asset.content.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "//cdn"] {
                assert!(!known.contains(foreign), "{} names {foreign}", asset.path);
            }
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "<script>",
                "onclick=",
                "style=\"",
            ] {
                assert!(!asset.content.contains(way), "{} uses {way}", asset.path);
            }
            assert!(asset.content.lines().count() <= 400, "{} is too long", asset.path);
        }
    }

    #[test]
    fn only_the_files_are_public() {
        assert!(is_public("/") && is_public("/assets/app.js"));
        for path in ["", "/assets", "/assets/", "/assets/../stats", "/api/v1/loadbalancer/stream", "/assets/app.js/"] {
            assert!(!is_public(path), "{path}");
        }
    }
}
