//! A real browser, steered by a test.
//!
//! It speaks the DevTools protocol over a pair of pipes: messages of JSON, each ended by a zero byte. That needs no port and no WebSocket,
//! and the browser ends when its pipes do, so none outlives its test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{chromium_files, fresh_dir};

/// The longest answer to one command, the first one included: a browser that starts beside a build on two cores takes several seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait of [`until`](Chromium::until): what a page should show within a second or two, on a busy machine.
const UNTIL: Duration = Duration::from_secs(15);

/// How often its profile is removed anew while its processes end, 20 ms apart: two seconds, which they need only on a busy machine.
const LAST_WRITES: u32 = 100;

/// A headless browser of this test's own, showing one page.
///
/// Dropping the handle kills it and removes its profile.
#[derive(Debug)]
pub struct Chromium {
    dir: PathBuf,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next: u64,
    session: Option<String>,
    complaints: Vec<String>,
}

impl Chromium {
    /// Starts it from the files in `root` (see [`require`](super::require)) with an empty page of 1280 by 800.
    ///
    /// # Errors
    /// When it does not start, or does not answer within 30 s.
    pub async fn start(root: &Path) -> io::Result<Self> {
        let dir = fresh_dir("chromium")?;
        let log = fs::File::create(dir.join("log"))?;
        let mut command = Command::from(chromium_files::piped(root, &dir));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child without pipes"));
        };
        let stdout = BufReader::new(stdout);
        let mut browser = Self { dir, child, stdin, stdout, next: 0, session: None, complaints: Vec::new() };
        browser.attach().await?;
        browser.size(1280, 800).await?;
        Ok(browser)
    }

    async fn attach(&mut self) -> io::Result<()> {
        let target = self.command("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.command("Target.attachToTarget", attached).await?;
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.command(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(())
    }

    /// Gives the page this many pixels.
    ///
    /// # Errors
    /// As for [`command`](Self::command).
    pub async fn size(&mut self, width: u32, height: u32) -> io::Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// Says whether its user prefers dark pages.
    ///
    /// # Errors
    /// As for [`command`](Self::command).
    pub async fn prefer_dark(&mut self, dark: bool) -> io::Result<()> {
        let value = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.command("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// Goes to a page and waits until it is read, scripts included.
    ///
    /// # Errors
    /// As for [`command`](Self::command), and when the page cannot be reached.
    pub async fn open(&mut self, url: &str) -> io::Result<()> {
        let went = self.command("Page.navigate", json!({ "url": url })).await?;
        if let Some(error) = went["errorText"].as_str() {
            return Err(io::Error::other(format!("{url}: {error}")));
        }
        self.until("document.readyState === 'complete'").await
    }

    /// What an expression is in the page; a promise is waited for.
    ///
    /// # Errors
    /// As for [`command`](Self::command), and when the expression throws.
    pub async fn eval(&mut self, expression: &str) -> io::Result<Value> {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", params).await?;
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].clone()),
            Some(thrown) => Err(io::Error::other(format!("{expression}: {}", thrown["exception"]["description"]))),
        }
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Errors
    /// As for [`eval`](Self::eval), and when it is not true within 15 s: then with what the page says.
    pub async fn until(&mut self, expression: &str) -> io::Result<()> {
        let millis = UNTIL.as_millis();
        let wait = format!(
            "new Promise(done => {{ const end = Date.now() + {millis}; \
             const look = () => ({expression}) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 20); look(); }})"
        );
        // A page that is left while it is asked gives no answer, and its successor is asked instead.
        let answer = match self.eval(&wait).await {
            Err(error) if error.to_string().contains("navigated") => self.eval(&wait).await?,
            answer => answer?,
        };
        if answer == Value::Bool(true) {
            return Ok(());
        }
        let page = self.eval("document.body ? document.body.innerText : ''").await?;
        let page = page.as_str().unwrap_or_default();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("not true within {UNTIL:?}: {expression}; the page says:\n{page}")))
    }

    /// Clicks with the mouse in the middle of the first element that matches, scrolled into sight and once it stands still.
    ///
    /// # Errors
    /// As for [`eval`](Self::eval), and when there is none, or something else lies over it.
    pub async fn click(&mut self, selector: &str) -> io::Result<()> {
        let quoted = Value::from(selector).to_string();
        let place = format!(
            "(async () => {{ const it = document.querySelector({quoted}); if (!it) return 'is nowhere'; \
             const frame = () => new Promise(requestAnimationFrame); const where = () => {{ \
             it.scrollIntoView({{ block: 'center', behavior: 'instant' }}); return it.getBoundingClientRect(); }}; \
             let [before, r] = [where(), where()]; for (let still = 0; still < 3;) {{ await frame(); \
             [before, r] = [r, where()]; still = before.x === r.x && before.y === r.y ? still + 1 : 0; }} \
             const [x, y] = [r.x + r.width / 2, r.y + r.height / 2]; const top = document.elementFromPoint(x, y); \
             return it.contains(top) ? {{ x, y }} : 'lies below ' + (top && top.outerHTML.slice(0, 200)); }})()"
        );
        let place = self.eval(&place).await?;
        if let Some(problem) = place.as_str() {
            return Err(io::Error::other(format!("{selector} {problem}")));
        }
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Presses and releases a key: `Tab`, `Enter`, `Escape`, an arrow such as `ArrowDown`, or a single letter.
    ///
    /// # Errors
    /// As for [`command`](Self::command).
    pub async fn press(&mut self, key: &str) -> io::Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            letter => (0, letter),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.command("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Types where the focus is.
    ///
    /// # Errors
    /// As for [`command`](Self::command).
    pub async fn type_text(&mut self, text: &str) -> io::Result<()> {
        self.command("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    /// Writes a picture of what is in sight to a file, as PNG; `whole` takes all of the page, whatever its height.
    ///
    /// # Errors
    /// As for [`command`](Self::command), and when the file cannot be written.
    pub async fn screenshot(&mut self, path: &Path, whole: bool) -> io::Result<()> {
        let params = json!({ "format": "png", "captureBeyondViewport": whole });
        let picture = self.command("Page.captureScreenshot", params).await?;
        let data = picture["data"].as_str().unwrap_or_default();
        fs::write(path, base64::engine::general_purpose::STANDARD.decode(data).map_err(io::Error::other)?)
    }

    /// What the page complained of so far: errors on its console, exceptions, broken content policies. Told once.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Sends a command of the DevTools protocol and gives its result.
    ///
    /// # Errors
    /// When the browser has ended, says no, or does not answer within 30 s.
    pub async fn command(&mut self, method: &str, params: Value) -> io::Result<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.stdin.write_all(format!("{message}\0").as_bytes()).await?;
        tokio::time::timeout(PATIENCE, self.answer(method)).await.unwrap_or_else(|_| Err(self.failure(method, "no answer")))
    }

    async fn answer(&mut self, method: &str) -> io::Result<Value> {
        loop {
            let mut message = Vec::new();
            self.stdout.read_until(0, &mut message).await?;
            if message.pop().is_none() {
                return Err(self.failure(method, "the browser has ended"));
            }
            let message: Value = serde_json::from_slice(&message).map_err(io::Error::other)?;
            if message["id"] != self.next {
                self.complaints.extend(complaint(&message));
            } else if let Some(error) = message.get("error") {
                return Err(io::Error::other(format!("{method}: {error}")));
            } else {
                return Ok(message["result"].clone());
            }
        }
    }

    #[cfg(test)]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn failure(&self, method: &str, what: &str) -> io::Error {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        io::Error::other(format!("{method}: {what}; its log:\n{log}"))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        // Its helpers end with it, not before it, and write until then.
        for _ in 0..LAST_WRITES {
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ if self.child.try_wait().is_ok_and(|ended| ended.is_some()) => break,
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What an event complains of, if it does.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"]["exception"]["description"].to_string()),
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" => Some(params["entry"]["text"].to_string()),
        _ => None,
    }
}
