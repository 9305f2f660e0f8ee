// Light or dark: as the system has it, unless somebody says otherwise.

import { $, attribute } from "./dom.js";

const KEPT_AS = "evenkeel.theme";

export function startTheme() {
  const choice = $("theme");
  try {
    choice.value = localStorage.getItem(KEPT_AS) ?? "";
  } catch {
    // Without storage it is the system's at every start.
  }
  const apply = () => attribute(document.documentElement, "data-theme", choice.value || null);
  choice.addEventListener("change", () => {
    apply();
    try {
      localStorage.setItem(KEPT_AS, choice.value);
    } catch {
      // As above.
    }
  });
  apply();
}
