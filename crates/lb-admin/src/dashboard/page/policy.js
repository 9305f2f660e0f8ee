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
  $("explain-policy").replaceChildren(h("option", { value: "" }, "the service's own"));
  text($("policy-said"), "");
  if (service === null) return;
  try {
    const { policy, policies } = await data("GET", "/algorithms" + path(service));
    if (asked !== service) return;
    choice.replaceChildren(...policies.map((name) => h("option", { value: name }, name)));
    choice.value = policy;
    for (const name of policies) $("explain-policy").append(h("option", { value: name }, name));
  } catch (error) {
    say($("policy-said"), error.message, true);
  }
}

async function switchTo(model, policy, say) {
  if (!model.mayChange) return say($("policy-said"), "This page may look but not change anything.");
  try {
    const { pending } = await data("PUT", "/algorithms" + path(model.service), { body: { policy } });
    say($("policy-said"), pending ? `${pending} takes over as soon as it can.` : `${policy} has taken over.`);
  } catch (error) {
    say($("policy-said"), error.message, true);
  }
}

export function drawPolicy(model) {
  text($("policy-now"), model.current?.policy ?? "–");
  const button = $("policy-form").querySelector("button");
  attribute(button, "aria-disabled", model.mayChange && model.service !== null ? null : "true");
}
