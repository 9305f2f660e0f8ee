//! Against the real browser: that the handle does what a person's hand would.

use super::{Chromium, require};

const PAGE: &str =
    "data:text/html,<meta charset=utf-8><title>t</title><input id=i><button id=b onclick=\"document.title='pressed'\">b</button>";

#[tokio::test]
async fn a_page_is_read_clicked_typed_into_and_photographed() {
    let Some(root) = require("chromium") else { return };
    let mut browser = Chromium::start(&root).await.unwrap();
    browser.open(PAGE).await.unwrap();
    browser.click("#b").await.unwrap();
    browser.until("document.title === 'pressed'").await.unwrap();
    browser.click("#i").await.unwrap();
    browser.type_text("höher").await.unwrap();
    assert_eq!(browser.eval("document.querySelector('#i').value").await.unwrap(), "höher");
    browser.eval("document.title = ''").await.unwrap();
    browser.press("Tab").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.until("document.title === 'pressed'").await.unwrap();
    browser.size(400, 300).await.unwrap();
    assert_eq!(browser.eval("innerWidth").await.unwrap(), 400);
    browser.prefer_dark(true).await.unwrap();
    assert_eq!(browser.eval("matchMedia('(prefers-color-scheme: dark)').matches").await.unwrap(), true);
    let picture = browser.dir().join("picture.png");
    browser.screenshot(&picture, false).await.unwrap();
    assert_eq!(std::fs::read(picture).unwrap()[..4], *b"\x89PNG");
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let Some(root) = require("chromium") else { return };
    let mut browser = Chromium::start(&root).await.unwrap();
    browser.open(PAGE).await.unwrap();
    let error = browser.click("#nowhere").await.unwrap_err();
    assert!(error.to_string().contains("#nowhere is nowhere"), "{error}");
    let error = browser.eval("undefined.x").await.unwrap_err();
    assert!(error.to_string().contains("TypeError"), "{error}");
    assert!(browser.open("http://127.0.0.1:1/").await.is_err());
    browser.open(PAGE).await.unwrap();
    browser.complaints();
    browser.eval("console.error('oh'), setTimeout(() => { throw new Error('thrown') }), 1").await.unwrap();
    browser.eval("new Promise(done => setTimeout(done, 20))").await.unwrap();
    let complaints = browser.complaints().concat();
    assert!(complaints.contains("oh") && complaints.contains("thrown"), "{complaints}");
    let dir = browser.dir().to_owned();
    drop(browser);
    assert!(!dir.exists(), "its profile is gone with it");
}
