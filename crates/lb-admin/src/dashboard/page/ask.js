// Asking for the token, once: the page itself holds no data and is served to anybody.

import { hasToken, setToken } from "./api.js";
import { $, show, text } from "./dom.js";

/** Asks until somebody says something; `then` goes on with it. `why` is what the server said of the last one. */
export function ask(why, then) {
  const dialog = $("ask");
  text($("ask-why"), hasToken() ? why : "");
  setToken(null);
  show($("forget"), false);
  $("ask-token").value = "";
  dialog.addEventListener("close", () => {
    const token = $("ask-token").value.trim();
    $("ask-token").value = "";
    if (token === "") return ask("", then);
    setToken(token);
    show($("forget"), true);
    then();
  }, { once: true });
  if (!dialog.open) dialog.showModal();
}
