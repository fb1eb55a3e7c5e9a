// The Train tab: the set-up, controls, curves, what the models write, and the table of runs.
import { Controls } from "./controls.tsx";
import { Loss } from "./loss.tsx";
import { Runs } from "./runs.tsx";
import { Samples } from "./samples.tsx";
import { Setup } from "./setup.tsx";

export function TrainTab() {
  return (
    <div class="train">
      <Setup />
      <div class="stage">
        <Controls />
        <Loss />
        <Samples />
        <Runs />
      </div>
    </div>
  );
}
