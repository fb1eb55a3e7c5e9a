// The gradient check of this device, tensor by tensor.
import { signal } from "@preact/signals";
import type { CheckResult } from "../../training/gradient-check.ts";
import { duration } from "../format.ts";
import { Check } from "../draw/forms.tsx";
import * as device from "./store/device.ts";
import { status, worker } from "./store/link.ts";
import { Table } from "../draw/table.tsx";

const TITLES: Readonly<Record<CheckResult["part"], string>> = {
  probe: "What drivers get wrong",
  gradients: "Gradients against the float64 reference",
  differences: "The reference against finite differences",
  direction: "The loss along its gradient, on the device alone",
  kernel: "Kernels against their references",
};

const running = signal(false);
const thorough = signal(false);
const verdict = signal<{ readonly passed: boolean; readonly text: string } | undefined>(undefined);

async function check(): Promise<void> {
  running.value = true;
  verdict.value = undefined;
  device.checkResults.value = [];
  status.value = "Checking the gradients of this device.";
  const result = await worker.check(!thorough.value);
  running.value = false;
  if (!result.ok) {
    status.value = result.message === "cancelled" ? "The check was cancelled." : result.message;
    return;
  }
  const failed = device.checkResults.value.filter(({ passed }) => !passed).length;
  const outcome = result.passed ? `All ${result.checks} checks passed` : `${failed} of ${result.checks} checks failed`;
  verdict.value = { passed: result.passed, text: `${outcome} in ${duration(result.seconds)} on ${result.device}.` };
  status.value = verdict.value.text;
}

export function CheckTab() {
  const results = device.checkResults.value;
  const parts = [...new Set(results.map(({ part }) => part))];
  return (
    <section class="prose">
      <h2>Are this device’s gradients right?</h2>
      <p>
        Drivers have computed gradients of recurrent networks that were all zero while the forward pass was right: training then
        runs, and learns nothing. This compares every kernel and every cell’s gradients on this device with a float64 reference,
        tensor by tensor, and the reference with finite differences.
      </p>
      <div class="row">
        <button type="button" class="primary" disabled={!device.info.value || running.value} onClick={() => void check()}>
          {running.value ? "Checking…" : "Check this device"}
        </button>
        {running.value && (
          <button type="button" onClick={() => void worker.cancelCheck()}>
            Cancel
          </button>
        )}
        <Check checked={thorough.value} disabled={running.value} onChoose={(on) => (thorough.value = on)}>
          with every kernel by itself (a minute on a software adapter)
        </Check>
        <span class="muted">{results.length > 0 && running.value ? `${results.length} checks so far` : ""}</span>
      </div>
      {verdict.value && (
        <p class={verdict.value.passed ? "verdict good" : "verdict bad"}>
          <span aria-hidden="true">{verdict.value.passed ? "✓" : "✗"}</span> {verdict.value.text}
          {!verdict.value.passed && " Do not trust what is trained on it; please report the rows below."}
        </p>
      )}
      {parts.map((part) => (
        <CheckTable key={part} part={part} results={results.filter((result) => result.part === part)} />
      ))}
    </section>
  );
}

function CheckTable({ part, results }: { part: CheckResult["part"]; results: readonly CheckResult[] }) {
  return (
    <details open={part !== "kernel" || results.some(({ passed }) => !passed)}>
      <summary>
        {TITLES[part]}{" "}
        <span class="muted">
          {results.filter(({ passed }) => passed).length} of {results.length} passed
        </span>
      </summary>
      <Table label={TITLES[part]} columns={["Check", "Result", { number: "Error" }, { number: "At most" }, "Worst tensor"]}>
        {results.map(({ name, passed, error, tolerance, tensor, detail }, i) => (
          <tr key={i}>
            <th scope="row">{name}</th>
            <td class={passed ? "good" : "bad"}>{passed ? "✓ right" : "✗ wrong"}</td>
            <td class="number">{error === 0 ? "0" : error.toExponential(1)}</td>
            <td class="number">{tolerance.toExponential(0)}</td>
            <td>
              {tensor ?? ""} {!passed && detail}
            </td>
          </tr>
        ))}
      </Table>
    </details>
  );
}
