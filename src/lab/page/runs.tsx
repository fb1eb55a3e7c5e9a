// The table of runs.
import { leastOf } from "../draw/curves.ts";
import { count, inUnit, unitOf } from "../format.ts";
import { titleOf } from "../kinds.ts";
import { unit } from "./loss.tsx";
import { ModelKey } from "../draw/model-key.tsx";
import { busy } from "./store/link.ts";
import * as stage from "./store/stage.ts";
import * as table from "./store/table.ts";
import type { RunSummary } from "../stored.ts";
import { Table } from "../draw/table.tsx";

export function Runs() {
  if (table.runs.value.length === 0) return null;
  return (
    <section class="card runs" aria-labelledby="runs-title">
      <h2 id="runs-title">Runs</h2>
      <Table
        label="Table of runs"
        columns={[
          "Name",
          "Book",
          { number: "Steps" },
          { number: `Best validation, ${unitOf(unit.value)}` },
          <span class="hidden">Actions</span>,
        ]}
      >
        {table.runs.value.map((summary) => (
          <RunRow key={summary.id} summary={summary} />
        ))}
      </Table>
    </section>
  );
}

function RunRow({ summary }: { summary: RunSummary }) {
  const { id, name, title, models } = summary;
  const present = stage.run.value?.id === id;
  const best = leastOf(models.map((model) => model.best));
  const winner = models.find((model) => model.best === best);
  const leaving = table.leaving.value.has(id);
  return (
    <tr class={present ? "present" : leaving ? "leaving" : ""}>
      <th scope="row">
        <input
          class="name"
          type="text"
          aria-label="Name of the run"
          key={name}
          defaultValue={name}
          maxLength={80}
          onChange={(event) => table.rename(id, event.currentTarget.value)}
        />
        <span class="keys">
          {models.map(({ preset }) => (
            <ModelKey key={preset} preset={preset} />
          ))}
        </span>
      </th>
      <td>{title.split(",")[0]}</td>
      <td class="number">{count(Math.max(...models.map((model) => model.step)))}</td>
      <td class="number">
        {best === undefined ? "–" : inUnit(best, unit.value)}
        {winner && models.length > 1 && <small> {titleOf(winner.preset)}</small>}
      </td>
      <td class="actions">
        {present ? (
          <span class="muted">on stage</span>
        ) : (
          <>
            {!leaving && (
              <>
                <button
                  type="button"
                  class="small"
                  aria-pressed={table.compared.value.has(id)}
                  onClick={() => void table.compare(summary)}
                >
                  Compare<span class="hidden"> {name}</span>
                </button>
                <button
                  type="button"
                  class="small"
                  disabled={stage.training.value || busy.value}
                  onClick={() => void stage.openRun(id)}
                >
                  Open<span class="hidden"> {name}</span>
                </button>
              </>
            )}
            {/* One button, so that the keyboard's focus stays on it. */}
            <button type="button" class="small" onClick={() => (leaving ? table.keep(summary) : table.remove(summary))}>
              {leaving ? "Undo deleting" : "Delete"}
              <span class="hidden"> {name}</span>
            </button>
          </>
        )}
      </td>
    </tr>
  );
}
