// Which policy chooses, and switching to another.

import { data, path } from "./api.js";
import { $, attribute, h, text } from "./dom.js";

let asked = null;

/** Asks which policies there are, when another service is looked at. */
export async function startPolicy(model, say) {
  const [choice, service] = [$("policy-choice"), model.service];
  asked = service;
  $("policy-form").onsubmit = (event) => {
    event.preventDefault();
    switchTo(model, choice.value, say);
  };
  choice.replaceChildren();
  text($("policy-said"), "");
  if (service === null) return;
  try {
    const names = policies(await data("GET", "/algorithms"));
    if (asked !== service) return;
    choice.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    choice.value = model.current?.policy ?? names[0];
  } catch (error) {
    say($("policy-said"), error.message, true);
  }
}

/** The names of the policies in the server's answer. */
export function policies(answer) {
  return answer.policies.map((policy) => policy.name ?? policy);
}

async function switchTo(model, policy, say) {
  if (!model.mayChange) return say($("policy-said"), "This page may look but not change anything.");
  try {
    await data("PUT", "/algorithms" + path(model.service), { body: { policy } });
    say($("policy-said"), `${policy} takes over.`);
  } catch (error) {
    say($("policy-said"), error.message, true);
  }
}

export function drawPolicy(model) {
  text($("policy-now"), model.current?.policy ?? "–");
  const button = $("policy-form").querySelector("button");
  attribute(button, "aria-disabled", model.mayChange && model.service !== null ? null : "true");
}
