// What the pictures of lessons are made of: steps side by side, and in each of them bars to see and sliders to drag.
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { count, fixed } from "../../format.ts";

/** Columns, one a step, with rows of things in them. */
export function StepGrid({ label, steps, children }: { label: string; steps: number; children: ComponentChildren }) {
  return (
    <div class="steps" role="group" aria-label={label} style={{ gridTemplateColumns: `repeat(${steps}, minmax(0, 1fr))` }}>
      {children}
    </div>
  );
}

/** A row's name, and what is in it at each step. */
export function StepRow({ title, note, children }: { title: ComponentChildren; note?: string; children: JSX.Element[] }) {
  return (
    <>
      <div class="step-title">
        {title} {note && <span class="muted">{note}</span>}
      </div>
      {children}
    </>
  );
}

interface BarProps {
  readonly value: number;
  /** The largest that a value can be. */
  readonly most?: number;
  readonly digits?: number;
  readonly name: string;
  readonly step: number;
  /** Whether it is only later that it is known. */
  readonly later?: boolean | undefined;
  /** What leads from it to the next one, or to it from there. */
  readonly link?: "→" | "←" | undefined;
}

/** A number with a sign, as a bar from the middle, and in figures. */
export function Bar({ value, most = 1, digits = 2, name, step, later, link }: BarProps) {
  const part = Math.max(-1, Math.min(1, value / most));
  return (
    <div class="step-bar" data-bar={`${name} ${step}`} data-value={later ? undefined : value}>
      <div class="frame" aria-hidden="true">
        {link && <span class="link">{link}</span>}
        {!later && (
          <i
            class={part < 0 ? "minus" : "plus"}
            style={{ height: `${50 * Math.abs(part)}%`, [part < 0 ? "top" : "bottom"]: "50%" }}
          />
        )}
      </div>
      <span class="number">{later ? "?" : fixed(value, digits)}</span>
    </div>
  );
}

interface SliderProps {
  readonly name: string;
  readonly step: number;
  readonly value: number;
  readonly least?: number;
  readonly onChange: (value: number) => void;
}

/** An upright slider. */
export function Slider({ name, step, value, least = 0, onChange }: SliderProps) {
  return (
    <label class="step-slider">
      <span class="hidden">
        {name}, step {step + 1}
      </span>
      <input
        type="range"
        min={least}
        max="1"
        step="0.05"
        value={value}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
      <span class="number" aria-hidden="true">
        {fixed(value, 2)}
      </span>
    </label>
  );
}

/** A slider with its name and its value, lying. */
export function Dial(props: {
  readonly label: ComponentChildren;
  readonly value: number;
  readonly least: number;
  readonly most: number;
  readonly step: number;
  readonly say?: string;
  readonly onChange: (value: number) => void;
}) {
  const { label, value, least, most, step, say = String(value), onChange } = props;
  return (
    <label class="dial">
      <span>
        {label} <b>{say}</b>
      </span>
      <input
        type="range"
        min={least}
        max={most}
        step={step}
        value={value}
        aria-valuetext={say}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
    </label>
  );
}

/** Which of the steps that were kept is looked at. */
export function TrainedFor(props: {
  readonly steps: readonly number[];
  readonly at: number;
  readonly onChange: (at: number) => void;
}) {
  const { steps, at, onChange } = props;
  const say = `${count(steps[at]!)} steps`;
  return <Dial label="Trained for" least={0} most={steps.length - 1} step={1} value={at} say={say} onChange={onChange} />;
}

/** Says the answer whenever it is another one. */
export function useTold(tell: (answer: number) => void, answer: number | undefined): void {
  useEffect(() => {
    if (answer !== undefined) tell(answer);
  }, [answer]);
}
