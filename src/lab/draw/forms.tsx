// Controls of forms that come more than once.
import type { ComponentChildren } from "preact";

interface SelectProps<T extends string> {
  readonly value: T;
  /** Values, each with what it says, or that say what they are. */
  readonly options: readonly T[] | Readonly<Record<T, string>>;
  readonly onChoose: (value: T) => void;
  readonly id?: string;
  readonly class?: string;
  readonly disabled?: boolean;
}

export function Select<T extends string>({ options, onChoose, ...rest }: SelectProps<T>) {
  const entries = Array.isArray(options) ? options.map((option: T) => [option, option]) : Object.entries<string>(options);
  return (
    <select {...rest} onChange={(event) => onChoose(event.currentTarget.value as T)}>
      {entries.map(([value, title]) => (
        <option key={value} value={value}>
          {title}
        </option>
      ))}
    </select>
  );
}

interface CheckProps {
  readonly checked: boolean;
  readonly onChoose: (checked: boolean) => void;
  readonly children: ComponentChildren;
  readonly title?: string;
  readonly disabled?: boolean;
}

export function Check({ onChoose, children, title, ...rest }: CheckProps) {
  return (
    <label class="check" title={title}>
      <input type="checkbox" {...rest} onChange={(event) => onChoose(event.currentTarget.checked)} />
      {children}
    </label>
  );
}

/** The same file can be chosen again. */
export function FileButton({ label, accept, onFile }: { label: string; accept?: string; onFile: (file: File) => void }) {
  return (
    <label class="button file">
      {label}
      <input
        type="file"
        accept={accept}
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          if (file) onFile(file);
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}
