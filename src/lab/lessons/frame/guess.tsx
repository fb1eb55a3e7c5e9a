// The picture of a guess: a scale to click on or drag along, by the arrow keys too, on which the answer then lies beside it.
import { narrow } from "../../draw/narrow.ts";

export interface GuessScaleProps {
  readonly label: string;
  readonly least: number;
  readonly most: number;
  readonly step: number;
  readonly value: number;
  readonly answer: number | undefined;
  /** A guess, or the answer, for people. */
  readonly say: (value: number) => string;
  readonly onChange: (value: number) => void;
}

const [EDGE, AXIS, HEIGHT] = [14, 42, 94];
/** More steps than these have no ticks of their own. */
const MOST_TICKS = 20;

export function GuessScale({ label, least, most, step, value, answer, say, onChange }: GuessScaleProps) {
  const width = narrow.value ? 320 : 720;
  const toX = (at: number): number => EDGE + ((at - least) / (most - least)) * (width - 2 * EDGE);
  const steps = Math.round((most - least) / step);
  const move = (to: number): void => {
    const nearest = least + Math.round((to - least) / step) * step;
    onChange(Number(Math.min(most, Math.max(least, nearest)).toFixed(6)));
  };
  const point = ({ clientX, currentTarget }: PointerEvent): void => {
    const { left, width: shown } = (currentTarget as Element).getBoundingClientRect();
    const x = ((clientX - left) / shown) * width;
    move(least + ((x - EDGE) / (width - 2 * EDGE)) * (most - least));
  };
  const far = step * Math.max(1, Math.round(steps / 10));
  const keys: Readonly<Record<string, number>> = {
    ArrowRight: value + step,
    ArrowUp: value + step,
    ArrowLeft: value - step,
    ArrowDown: value - step,
    PageUp: value + far,
    PageDown: value - far,
    Home: least,
    End: most,
  };
  /** Where a label begins, so that it lies within the picture. */
  const anchor = (x: number): "start" | "middle" | "end" => (x < width / 4 ? "start" : x > (3 * width) / 4 ? "end" : "middle");
  const mark = (of: string, at: number, words: string, y: number) => (
    <g class={of}>
      <line x1={toX(at)} x2={toX(at)} y1={AXIS - 14} y2={AXIS + 14} />
      <circle cx={toX(at)} cy={AXIS} r="9" />
      <text x={toX(at)} y={y} style={{ textAnchor: anchor(toX(at)) }}>
        {words}
      </text>
    </g>
  );
  return (
    <svg
      class="guess-scale"
      viewBox={`0 0 ${width} ${HEIGHT}`}
      role="slider"
      tabindex={0}
      aria-label={label}
      aria-valuemin={least}
      aria-valuemax={most}
      aria-valuenow={value}
      aria-valuetext={say(value)}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        point(event);
      }}
      onPointerMove={(event) => event.buttons > 0 && point(event)}
      onKeyDown={(event) => {
        const to = keys[event.key];
        if (to === undefined) return;
        event.preventDefault();
        move(to);
      }}
    >
      <line class="axis" x1={EDGE} x2={width - EDGE} y1={AXIS} y2={AXIS} />
      {steps <= MOST_TICKS &&
        Array.from({ length: steps + 1 }, (_, i) => toX(least + i * step)).map((x) => (
          <line key={x} class="axis" x1={x} x2={x} y1={AXIS - 5} y2={AXIS + 5} />
        ))}
      <text x={EDGE} y={AXIS + 26} style={{ textAnchor: "start" }}>
        {say(least)}
      </text>
      <text x={width - EDGE} y={AXIS + 26} style={{ textAnchor: "end" }}>
        {say(most)}
      </text>
      {answer !== undefined && <line class="between" x1={toX(value)} x2={toX(answer)} y1={AXIS} y2={AXIS} />}
      {mark("own", value, say(value), AXIS - 22)}
      {answer !== undefined && mark("answer", answer, `it is ${say(answer)}`, AXIS + 47)}
    </svg>
  );
}
