// The lab's entry: the page at once, what trains when it is needed, and the files for offline use at leisure.
import { render } from "preact";
import { App } from "./app.tsx";
import { kindColours } from "../kinds.ts";
import { Embedded } from "./look.tsx";
import { readAddress } from "../settings.ts";
import { beginWhenNeeded } from "./store/begin.ts";
import { scriptUrl } from "../trusted.ts";

document.adoptedStyleSheets.push(kindColours());
const lab = document.getElementById("lab")!;
// The sentence for where this script does not come.
lab.replaceChildren();
const { embed } = readAddress(location.search).page;
document.documentElement.classList.toggle("embedded", embed !== undefined);
render(embed === undefined ? <App /> : <Embedded name={embed} />, lab);
void beginWhenNeeded();

if (import.meta.env.PROD && "serviceWorker" in navigator) {
  void navigator.serviceWorker
    .register(scriptUrl("./sw.js"))
    .then(() => navigator.serviceWorker.ready)
    .then((registration) => setTimeout(() => registration.active?.postMessage("keep-books"), 20_000))
    // Without it the lab works, only not offline.
    .catch(() => {});
}
