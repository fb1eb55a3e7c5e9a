import { count, fixed } from "../format.ts";
import { LogPlot, type PlotLine } from "../draw/plot.tsx";
import { Table } from "../draw/table.tsx";
import { usePlacedNumber } from "../place.ts";
import { readBook } from "../prepared-files.ts";
import { inspector } from "../views/inspector.ts";
import { Waiting } from "../views/reading.tsx";
import { useComputed } from "../views/use-computed.ts";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { Dial, useTold } from "./frame/parts.tsx";

const LAGS = 30;
const lags = Array.from({ length: LAGS + 1 }, (_, k) => k);
const SHOWN = [10, 20, 30];
/** Where the axis ends. */
const LEAST = 1e-12;
/** Characters of the book's beginning that are read, behind the heading. */
const [BEGINS, LENGTH] = ["Alice was beginning", 400];
const SEEDS = 3;

const part = (value: number): string => (value >= 0.01 ? fixed(value, 3) : value.toExponential(1));
/** A power of ten, for people. */
const inParts = (power: number): string =>
  power >= 1
    ? `${count(10 ** power)} times as much`
    : power > -0.5
      ? "about all of it"
      : `1 in ${count(Number((10 ** -power).toPrecision(1)))}`;

function Picture({ guess, tell }: PictureProps) {
  const [scale, setScale] = usePlacedNumber("scale", 1, { least: 0.5, most: 4 });
  const [bias, setBias] = usePlacedNumber("bias", 1, { least: 0, most: 4 });
  const [seed, setSeed] = usePlacedNumber("seed", 1, { least: 1, most: SEEDS });
  const { value, problem } = useComputed(async () => {
    const book = await readBook();
    const from = book.indexOf(BEGINS);
    const text = book.slice(from, from + LENGTH);
    const rnn = await inspector.gradientsOfFresh({ preset: "one-hot-rnn", scale, seed }, text, LAGS);
    const lstm = await inspector.gradientsOfFresh({ preset: "lstm", bias, seed }, text, LAGS);
    const plain = scale === 1 ? rnn : await inspector.gradientsOfFresh({ preset: "one-hot-rnn", seed }, text, LAGS);
    return { of: `${scale} ${bias} ${seed}`, rnn, lstm, plain: Math.log10(plain[0]!.parts[LAGS]!) };
  }, [scale, bias, seed]);
  useTold(tell, value && Math.max(-12, Math.round(value.plain)));
  if (!value) return <Waiting problem={problem}>Following the gradients back…</Waiting>;
  const shown = [
    ...value.rnn.map(({ parts }) => ({
      preset: "one-hot-rnn" as const,
      label: "RNN, its state h",
      key: "rnn h",
      wide: false,
      parts,
    })),
    ...value.lstm.map(({ of, parts }) => ({
      preset: "lstm" as const,
      label: of === "c" ? "LSTM, its cell c" : "LSTM, its output h",
      key: `lstm ${of}`,
      wide: of === "c",
      parts,
    })),
  ];
  if (guess === undefined)
    return (
      <p class="small muted">
        Two networks with fresh weights, 64 units each, an RNN and an LSTM, have read a page of <i>Alice</i>. Guess, and see how
        far back the gradient reaches in each.
      </p>
    );
  return (
    <>
      <LogPlot
        label={`The gradient so many letters back, in parts of that at 0: ${shown.map(({ label, parts }) => `${label} ${part(parts[LAGS]!)} at ${LAGS}`).join(", ")}. The table has the values.`}
        x={lags}
        lines={shown.map(({ preset, label, parts, wide }): PlotLine => ({ preset, label, y: parts, ...(wide && { wide }) }))}
        xTitle="letters back"
        yTitle="gradient, in parts of that at 0"
        least={LEAST}
      />
      <div class="dials" data-shown={value.of}>
        <Dial label="RNN: W_hh times" least={0.5} most={4} step={0.25} value={scale} say={fixed(scale, 2)} onChange={setScale} />
        <Dial label="LSTM: forget bias" least={0} most={4} step={0.5} value={bias} say={fixed(bias, 1)} onChange={setBias} />
        <button type="button" class="small" onClick={() => setSeed((seed % SEEDS) + 1)}>
          Another chance <span class="muted">seed {seed}</span>
        </button>
      </div>
      <Table
        label="The gradient in parts of that at 0"
        name="gradient"
        columns={["Letters back", ...SHOWN.map((k) => ({ number: String(k) }))]}
      >
        {shown.map(({ label, key, parts }) => (
          <tr key={key} data-path={key}>
            <th scope="row">{label}</th>
            {SHOWN.map((k) => (
              <td class="number" key={k} data-value={parts[k]}>
                {part(parts[k]!)}
              </td>
            ))}
          </tr>
        ))}
      </Table>
    </>
  );
}

const lesson: Lesson = {
  question: (
    <>
      To learn that a letter 30 steps ago matters, the error made now must reach back to it. The <b>gradient</b> says how much:
      how strongly a small change there would have changed the error here. In a plain RNN with fresh weights, what is left of it
      after 30 letters?
    </>
  ),
  guess: {
    label: "Of the gradient at the last letter, so much reaches 30 letters back:",
    least: -12,
    most: 1,
    step: 1,
    start: -1,
    say: inParts,
    of: "with W_hh as it began",
  },
  Picture,
  why: (
    <>
      On its way back the gradient is multiplied at every step by the same matrix, and 30 times a bit less than 1 is nearly
      nothing (0.6³⁰ is 2 in ten million), 30 times a bit more is an explosion. The LSTM’s cell is multiplied by its{" "}
      <b>forget gate</b> alone, a number between 0 and 1, and a bias of 3 holds that at 0.95.
    </>
  ),
  tryThis: (
    <>
      Turn W_hh up to 4 and go through the three chances: in one the RNN’s gradient grows 75 times, in another it fades to a
      thirtieth, and no value is safe in all of them. Then turn the forget bias from 0 to 3.
    </>
  ),
  equation: (
    <>
      ∂h<sub>t</sub>/∂h<sub>t−k</sub> = ∏ diag(1 − h²) W<sub>hh</sub>
      <br />
      ∂c<sub>t</sub>/∂c<sub>t−k</sub> ≈ ∏ f<small>k factors each; for the LSTM, what goes by way of h comes on top</small>
    </>
  ),
  exercise: (
    <>
      With a forget bias of 1 and all else near 0, the forget gate is σ(1) = 0.73. What is left after 30 steps, and with a bias of
      3?
    </>
  ),
  solution: (
    <>
      0.73³⁰ is about 8 in 100,000; σ(3) = 0.95, and 0.95³⁰ is 0.23. The picture shows more, for what goes by way of h adds to it,
      and no gate is at its mean all the time.
    </>
  ),
};
export default lesson;
