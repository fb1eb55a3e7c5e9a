// Whether the page is as narrow as a phone: drawings of many labels are made otherwise then.
import { signal } from "@preact/signals";

const narrowness = matchMedia("(max-width: 40rem)");
export const narrow = signal(narrowness.matches);
narrowness.addEventListener("change", () => (narrow.value = narrowness.matches));
