//! The page in a real browser: what a person sees and presses.

use std::time::{Duration, Instant};

use lb_admin::{Admin, AdminToken};
use lb_core::{Attributes, Endpoint, Locality};
use lb_resolver_static::{ManualHandle, ManualResolver};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::services::{self, Chromium};
use lb_tonic::LbChannel;
use tokio::task::AbortHandle;

use crate::support::{Live, OPERATOR, READER, orders};

/// A killed server is seen as such within this.
const SOON: Duration = Duration::from_secs(2);

/// Calls that go on until this is dropped.
struct Load(AbortHandle);

impl Load {
    fn start(channel: &LbChannel) -> Self {
        let mut client = EchoClient::new(channel.clone());
        let task = tokio::spawn(async move {
            loop {
                let _ = client.unary(EchoRequest::default()).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A browser that shows the page of this server; `None` where there is no browser.
async fn browser(admin: &Admin) -> Option<Chromium> {
    let root = services::require("chromium")?;
    let mut browser = Chromium::start(&root).await.unwrap();
    browser.open(&url(admin)).await.unwrap();
    Some(browser)
}

fn url(admin: &Admin) -> String {
    format!("http://{}/", admin.local_addr())
}

/// The row of an endpoint.
fn row(live: &Live, index: usize) -> String {
    format!("tr[data-key=\"{}\"]", live.servers[index].addr())
}

/// Whether the row says this of its endpoint's state.
fn says(row: &str, word: &str) -> String {
    format!("document.querySelector('{row} .badge')?.textContent === '{word}'")
}

/// A channel whose endpoints are these and are never connected to.
async fn made(endpoints: Vec<Endpoint>) -> (LbChannel, ManualHandle) {
    let count = endpoints.len();
    let (resolver, handle) = ManualResolver::new("made");
    handle.set(endpoints);
    let channel = LbChannel::builder("made:///up").resolver(resolver).policy("ring_hash").build().unwrap();
    channel.exit_idle();
    let mut events = channel.subscribe();
    while channel.endpoints().len() != count {
        events.next().await.unwrap();
    }
    (channel, handle)
}

fn named(index: usize, id: &str) -> Endpoint {
    let address: std::net::SocketAddr = format!("10.0.{}.{}:50051", index >> 8, index & 255).parse().unwrap();
    let mut attributes = Attributes::default();
    attributes.id = (!id.is_empty()).then(|| id.into());
    attributes.locality = Locality::new("eu-west-1", ["a", "b", "c"][index % 3], "");
    Endpoint::new(address).with_attributes(attributes)
}

#[tokio::test]
async fn levers_are_pulled_by_buttons() {
    let live = Live::start(4).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    let _load = Load::start(&live.channel);
    browser.until("document.querySelectorAll('.endpoints tbody tr').length === 4").await.unwrap();
    let row = row(&live, 1);
    browser.until(&says(&row, "Ready")).await.unwrap();

    browser.click(&format!("{row} button[data-action=drain]")).await.unwrap();
    browser.until(&says(&row, "Drained")).await.unwrap();
    assert_eq!(live.channel.endpoints()[1].excluded, Some("drained"));
    browser.until("document.querySelector('#said').textContent.includes('gets no new calls')").await.unwrap();
    // It has been a quarter, and is of the last ten seconds.
    let share = format!("parseFloat(document.querySelector('{row} td.share').textContent) < 20");
    browser.until(&share).await.unwrap();
    browser.click(&format!("{row} button[data-action=enable]")).await.unwrap();
    browser.until(&says(&row, "Ready")).await.unwrap();
    browser.click(&format!("{row} button[data-action=disable]")).await.unwrap();
    browser.until(&says(&row, "Disabled")).await.unwrap();
    browser.click(&format!("{row} button[data-action=enable]")).await.unwrap();
    browser.until(&says(&row, "Ready")).await.unwrap();

    browser.until("document.querySelector('#policy-choice').value === 'round_robin'").await.unwrap();
    browser.eval("document.querySelector('#policy-choice').value = 'least_request'").await.unwrap();
    browser.click("#policy-form button").await.unwrap();
    browser.until("document.querySelector('#policy-now').textContent === 'least_request'").await.unwrap();
    assert_eq!(live.channel.policy(), "least_request");
    browser.until("document.querySelector('#events').textContent.includes('least_request took over')").await.unwrap();
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_server_turns_red_soon_and_comes_back() {
    let mut live = Live::start(4).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    let row = row(&live, 2);
    browser.until(&says(&row, "Ready")).await.unwrap();
    live.servers[2].kill().await;
    let killed = Instant::now();
    browser.until(&says(&row, "Failing")).await.unwrap();
    let took = killed.elapsed();
    assert!(took < SOON, "{took:?}");
    let colour = format!("getComputedStyle(document.querySelector('{row} .badge')).color");
    assert_eq!(browser.eval(&colour).await.unwrap(), "rgb(194, 58, 8)", "it is red");
    let why = browser.eval(&format!("document.querySelector('{row} .why').textContent")).await.unwrap();
    assert!(why.as_str().unwrap().contains("refused"), "{why}");
    browser.until("document.querySelector('#events li[data-bad]') !== null").await.unwrap();
    live.servers[2].restart().await.unwrap();
    live.channel.reset_connect_backoff();
    browser.until(&says(&row, "Ready")).await.unwrap();
}

#[tokio::test]
async fn a_pick_is_explained() {
    let (channel, _endpoints) = made(vec![named(0, "amber"), named(1, "birch"), named(2, "cedar")]).await;
    let admin = orders(&channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    browser.until("document.querySelectorAll('#explain-policy option').length > 5").await.unwrap();
    browser.click("#explain-form [name=exclude]").await.unwrap();
    browser.until("document.activeElement.name === 'exclude'").await.unwrap();
    browser.type_text("birch, cedar").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.until("document.querySelectorAll('#explain-table tbody tr').length === 3").await.unwrap();
    let said = browser.eval("document.querySelector('#explain-said').textContent").await.unwrap();
    assert!(said.as_str().unwrap().contains("With ring_hash"), "{said}");
    let table = browser.eval("document.querySelector('#explain-table').innerText").await.unwrap();
    assert_eq!(table.as_str().unwrap().matches("not: excluded").count(), 2, "{table}");
    browser.eval("document.querySelector('#explain-form [name=loadThreshold]').value = 'x'").await.unwrap();
    browser.eval("document.querySelector('#explain-form [name=cost]').value = '-1'").await.unwrap();
    browser.eval("document.querySelector('#explain-form').noValidate = true").await.unwrap();
    browser.click("#explain-form button").await.unwrap();
    browser.until("document.querySelector('#explain-said').dataset.bad !== undefined").await.unwrap();
    browser.until("document.querySelector('#explain-table').textContent === ''").await.unwrap();
}

#[tokio::test]
async fn the_keyboard_reaches_the_levers_and_keeps_its_place() {
    let live = Live::start(2).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    browser.until("document.querySelectorAll('.endpoints tbody tr').length === 2").await.unwrap();
    let focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent";
    browser.press("Tab").await.unwrap();
    assert_eq!(browser.eval(focused).await.unwrap(), "Skip to the endpoints");
    browser.press("Enter").await.unwrap();
    let wanted = format!("Drain {}", live.channel.endpoints()[0].key.as_str());
    let mut seen = Vec::new();
    while seen.last() != Some(&wanted) {
        browser.press("Tab").await.unwrap();
        seen.push(browser.eval(focused).await.unwrap().as_str().unwrap().to_owned());
        assert!(seen.len() < 40, "not reached: {seen:?}");
        let outline = browser.eval("getComputedStyle(document.activeElement).outlineStyle").await.unwrap();
        assert_ne!(outline, "none", "the focus shows at {seen:?}");
    }
    browser.press("Enter").await.unwrap();
    let row = row(&live, 0);
    browser.until(&says(&row, "Drained")).await.unwrap();
    assert_eq!(browser.eval(focused).await.unwrap(), wanted.as_str(), "the focus stays");
    browser.press("Tab").await.unwrap();
    assert_eq!(browser.eval(focused).await.unwrap(), wanted.replace("Drain", "Enable"));
    browser.press("Enter").await.unwrap();
    browser.until(&says(&row, "Ready")).await.unwrap();
    let unnamed = "[...document.querySelectorAll('button, input, select')].filter(e => !e.labels?.length && \
                   !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)";
    assert_eq!(browser.eval(unnamed).await.unwrap(), serde_json::json!([]), "everything has a name");
}

#[tokio::test]
async fn hostile_names_are_text_and_nothing_scrolls_sideways() {
    let long = "very-long-name-".repeat(26);
    let names = [
        "<img src=x onerror=\"window.hacked=1\">",
        "\"><script>window.hacked=1</script>",
        "javascript:window.hacked=1",
        "</td></tr></table><h1>owned</h1>",
        "\u{202e}reversed\u{202c}",
        "${window.hacked=1}{{window.hacked=1}}",
        "a\nb\tc\0d",
        long.as_str(),
    ];
    let (channel, _endpoints) = made(names.iter().enumerate().map(|(index, name)| named(index, name)).collect()).await;
    let service = "<b onclick=window.hacked=1>/..?#%2f";
    let admin = Admin::builder().service(service, &channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    for width in [400, 1280] {
        browser.size(width, 800).await.unwrap();
        browser.until(&format!("document.querySelectorAll('.endpoints tbody tr').length === {}", names.len())).await.unwrap();
        browser.until(&format!("innerWidth === {width} && document.documentElement.scrollWidth <= {width}")).await.unwrap();
        let wide =
            "[...document.querySelectorAll('main > section')].filter(e => e.getBoundingClientRect().right > innerWidth).length";
        assert_eq!(browser.eval(wide).await.unwrap(), 0, "at {width}");
    }
    let shown = browser.eval("[...document.querySelectorAll('.endpoints strong')].map(e => e.textContent).sort()").await.unwrap();
    let mut expected: Vec<&str> = names.to_vec();
    expected.sort_unstable();
    assert_eq!(shown, serde_json::json!(expected), "every name is shown as it is");
    assert_eq!(browser.eval("document.querySelectorAll('main img, main script, main h1, main b').length").await.unwrap(), 0);

    // The name in the path leads to this endpoint of this service and to nothing else.
    browser.click("tr[data-key=\"10.0.0.1:50051\"] button[data-action=drain]").await.unwrap();
    browser.until(&says("tr[data-key=\"10.0.0.1:50051\"]", "Drained")).await.unwrap();
    browser.click("#explain-form button").await.unwrap();
    browser.until("document.querySelectorAll('#explain-table tbody tr').length > 0").await.unwrap();
    assert_eq!(browser.eval("typeof window.hacked").await.unwrap(), "undefined");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "nor did anything try");
    let error = browser.eval("document.body.innerHTML = '<b>'").await.unwrap_err();
    assert!(error.to_string().contains("TrustedHTML"), "the browser would not have let it: {error}");
}

#[tokio::test]
async fn a_thousand_endpoints_stay_usable_and_none_is_said() {
    let (channel, endpoints) = made((0..1_000).map(|index| named(index, "")).collect()).await;
    let admin = orders(&channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    let rows = |count: usize| format!("document.querySelectorAll('.endpoints tbody tr').length === {count}");
    let first = |key: &str| format!("document.querySelector('.endpoints tbody tr').dataset.key === '{key}'");
    browser.until(&rows(50)).await.unwrap();
    browser.until("document.querySelector('#shown').textContent === '50 of 1\u{202f}000 shown.'").await.unwrap();
    browser.until(&first("10.0.0.0:50051")).await.unwrap();
    browser.click("#more").await.unwrap();
    browser.until(&rows(100)).await.unwrap();
    browser.click("#filter").await.unwrap();
    browser.type_text("10.0.3.231").await.unwrap();
    browser.until(&format!("{} && {}", rows(1), first("10.0.3.231:50051"))).await.unwrap();
    browser
        .eval("{ const f = document.querySelector('#filter'); f.value = ''; f.dispatchEvent(new Event('input')) }")
        .await
        .unwrap();
    channel.drain("10.0.3.200:50051");
    browser.click(".endpoints th:nth-child(2) button").await.unwrap();
    browser.until(&first("10.0.3.200:50051")).await.unwrap();
    browser.until("document.querySelector('.endpoints th:nth-child(2)').getAttribute('aria-sort') === 'descending'").await.unwrap();
    endpoints.set([]);
    browser.until("document.querySelector('#shown').textContent === 'There are no endpoints.'").await.unwrap();
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_stream_says_since_when_and_comes_back() {
    let live = Live::start(1).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let Some(mut browser) = browser(&admin).await else { return };
    browser.until("document.querySelector('#link').textContent === 'live'").await.unwrap();
    admin.stop().await;
    let link = "document.querySelector('#link').textContent";
    browser.until(&format!("/^no contact since \\d\\d:\\d\\d:\\d\\d: .*trying again$/.test({link})")).await.unwrap();
    assert_eq!(browser.eval("document.querySelectorAll('.endpoints tbody tr').length").await.unwrap(), 1, "what was known stays");
    let _admin = orders(&live.channel).bind(addr).serve().await.unwrap();
    browser.until(&format!("{link} === 'live'")).await.unwrap();
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_a_reader_cannot_steer() {
    let live = Live::start(1).await;
    let operator = AdminToken::operator("o", OPERATOR).unwrap();
    let admin = orders(&live.channel).token(operator).token(AdminToken::reader("r", READER).unwrap()).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    let asked = "document.querySelector('#ask')?.open";
    browser.until(asked).await.unwrap();
    assert_eq!(browser.eval("document.activeElement.id").await.unwrap(), "ask-token");
    browser.type_text("no such token at all").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.until(&format!("{asked} && document.querySelector('#ask-why').textContent !== ''")).await.unwrap();
    browser.type_text(OPERATOR).await.unwrap();
    browser.press("Enter").await.unwrap();
    let row = row(&live, 0);
    browser.until(&says(&row, "Ready")).await.unwrap();
    assert_eq!(browser.eval("document.cookie + JSON.stringify(localStorage)").await.unwrap(), "{}", "kept for this tab only");

    browser.open(&url(&admin)).await.unwrap();
    browser.until(&says(&row, "Ready")).await.unwrap();
    assert_eq!(browser.eval(asked).await.unwrap(), false, "asked once");
    browser.click(&format!("{row} button[data-action=drain]")).await.unwrap();
    browser.until(&says(&row, "Drained")).await.unwrap();

    browser.click("#forget").await.unwrap();
    browser.until(asked).await.unwrap();
    browser.type_text(READER).await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.until("document.querySelector('#mode')?.hidden === false").await.unwrap();
    browser.until(&says(&row, "Drained")).await.unwrap();
    browser.click(&format!("{row} button[data-action=enable]")).await.unwrap();
    browser.until("document.querySelector('#said').textContent.includes('may look but not change')").await.unwrap();
    assert_eq!(live.channel.endpoints()[0].excluded, Some("drained"));
}

#[tokio::test]
async fn light_and_dark_follow_the_system_or_the_switch() {
    let live = Live::start(1).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let Some(mut browser) = browser(&admin).await else { return };
    let page = "getComputedStyle(document.documentElement).backgroundColor";
    let (light, dark) = ("rgb(244, 246, 248)", "rgb(17, 21, 26)");
    assert_eq!(browser.eval(page).await.unwrap(), light);
    browser.prefer_dark(true).await.unwrap();
    assert_eq!(browser.eval(page).await.unwrap(), dark);
    let choose = |theme: &str| {
        format!("{{ const t = document.querySelector('#theme'); t.value = '{theme}'; t.dispatchEvent(new Event('change')) }}")
    };
    browser.eval(&choose("light")).await.unwrap();
    assert_eq!(browser.eval(page).await.unwrap(), light);
    browser.open(&url(&admin)).await.unwrap();
    assert_eq!(browser.eval(page).await.unwrap(), light, "it is remembered");
    browser.eval(&choose("")).await.unwrap();
    assert_eq!(browser.eval(page).await.unwrap(), dark);
}
