// The table of recurrent cells. A new cell is a shader, a kernel file and an entry here; the command line, the tests
// and the benches follow by themselves.
import { checkInteger, checkNumber, checkOneOf, given, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { blockOf, insideOf, type BlockOptions } from "../kernels/block.ts";
import type { Cell, CellConfig, CellOption } from "../kernels/cell.ts";
import { gruCell } from "../kernels/gru.ts";
import { lstmCell, type LstmOptions } from "../kernels/lstm.ts";
import { mambaCell } from "../kernels/mamba.ts";
import { minGruCell } from "../kernels/min-gru.ts";
import { minLstmCell } from "../kernels/min-lstm.ts";
import { rnnCell } from "../kernels/rnn.ts";
import { s4dCell } from "../kernels/s4d.ts";
import type { StateSizeOption } from "../kernels/state-size.ts";

/** The recurrent cells: their options, with defaults, and the forms in which they are checked. */
export const CELLS = {
  rnn: rnnCell,
  gru: gruCell,
  lstm: lstmCell,
  "min-gru": minGruCell,
  "min-lstm": minLstmCell,
  s4d: s4dCell,
  mamba: mambaCell,
} as const;
/** A name in `CELLS`. */
export type CellName = keyof typeof CELLS;
/** The options that only some cells have, of all cells. */
export type CellOptions = ({
  [C in CellName]: (typeof CELLS)[C] extends Cell<infer O> ? (options: O) => void : never;
}[CellName] extends (options: infer All) => void
  ? All
  : never) &
  BlockOptions;

const names = Object.keys(CELLS) as CellName[];
/** The cells that a configuration may name. */
export const CELL_NAMES: readonly CellName[] = names;

/** Adds a cell, and gives back what takes it out again: for tests of what every cell has by standing in the table. */
export function addCell(name: string, cell: Cell): () => void {
  const table: Record<string, Cell> = CELLS;
  table[name] = cell;
  names.push(name as CellName);
  return () => {
    delete table[name];
    names.splice(names.indexOf(name as CellName), 1);
  };
}

/** The cell alone, as `Recurrent` has it. */
export const cellOf = (config: { readonly cell: CellName }): Cell => CELLS[config.cell];

/** A layer of a language model: the cell, in a block if it wants one. */
export function layerOf(config: { readonly cell: CellName }): Cell {
  const cell = cellOf(config);
  return cell.block ? blockOf(cell) : cell;
}

export const inBlock = (config: { readonly cell: CellName }): boolean => cellOf(config).block !== undefined;

/** The configuration of a model's cell by itself: inside its block, if it stands in one. */
export const insideConfig = <C extends CellConfig & { readonly cell: CellName }>(config: C): C =>
  inBlock(config) ? (insideOf<C>(config) as C) : config;

/** The size of a model's embeddings, where it can be chosen: a block's are as wide as the block. */
export const embedded = (config: { readonly cell: CellName }, embeddingSize: number): { readonly embeddingSize?: number } =>
  inBlock(config) ? {} : { embeddingSize };

/** Whether a layer of a language model has an option. */
export const hasOption = (cell: CellName, option: string): boolean => option in layerOf({ cell }).options;

/** All options by name, in the order in which checkpoints and --help have them. */
export const CELL_OPTIONS = Object.fromEntries(
  CELL_NAMES.map((cell) => layerOf({ cell }))
    .flatMap(({ options }): [string, CellOption][] => Object.entries(options))
    .sort(([a], [b]) => (a < b ? 1 : -1)),
) as { readonly [K in keyof CellOptions]-?: CellOption<CellOptions[K]> };

/** The options that are numbers, and have a default. */
export const CELL_NUMBERS = Object.entries<CellOption>(CELL_OPTIONS).flatMap(([name, { own, range, fallback, flags, help }]) =>
  own && range && typeof fallback === "number" ? [{ name: name as CellNumber, range, flags, help }] : [],
);
export type CellNumber = keyof BlockOptions | keyof StateSizeOption;

/** The options with which a cell remembers for longer from the start; without, its weights begin as they do by themselves. */
export const MEMORY_OPTIONS = Object.entries<CellOption>(CELL_OPTIONS).flatMap(([name, { longMemory, flags, help }]) =>
  typeof longMemory === "number" ? [{ name: name as MemoryOption, longMemory, flags, help }] : [],
);
export type MemoryOption = keyof LstmOptions;

/** Of sizes and options that are meant for several models those that a layer of this one has. */
export const usedBy = <O extends object>(config: { readonly cell: CellName }, options: O): Partial<O> =>
  Object.fromEntries(
    Object.entries(options).filter(([name]) =>
      name in CELL_OPTIONS ? hasOption(config.cell, name) : name !== "embeddingSize" || !inBlock(config),
    ),
  ) as Partial<O>;

/** What each is where nothing is given. */
export const CELL_DEFAULTS = Object.fromEntries(Object.entries(CELL_OPTIONS).map(([name, { fallback }]) => [name, fallback])) as {
  readonly [K in keyof CellOptions]-?: CellOptions[K];
};

/** The names of all forms of all cells. */
export type FormName = { [C in CellName]: (typeof CELLS)[C] extends Cell<any, infer F> ? F : never }[CellName];
/** A form of a cell, as a configuration. */
export type CellForm = { readonly cell: CellName } & Partial<CellOptions>;
/** Every form of every cell, by its name. */
export const cellForms = (): Readonly<Record<string, CellForm>> =>
  Object.fromEntries(
    CELL_NAMES.flatMap((cell) => Object.entries(CELLS[cell].forms).map(([name, options]) => [name, { cell, ...options }])),
  );

type WithOptions = { readonly cell: CellName } & Partial<CellOptions>;

/** A configuration with the defaults of the options that only cells that have them show, and without those of others. */
export function withOwnOptions<C extends WithOptions>(config: C, layer = layerOf): C {
  const { options } = layer(config);
  const own = Object.entries<CellOption>(CELL_OPTIONS).flatMap(([name, { own, fallback }]) => {
    const value: unknown = config[name as keyof CellOptions];
    return own && (value === undefined || value === fallback) ? [[name, name in options ? fallback : undefined]] : [];
  });
  return given({ ...config, ...Object.fromEntries(own) }) as C;
}

/** @throws GatewiseError E_CONFIG for an option out of range, or other than its default where the cell does not have it */
export function checkCellOptions(where: string, config: WithOptions, layer = layerOf): void {
  for (const [name, { fallback, values, range }] of Object.entries<CellOption>(CELL_OPTIONS)) {
    const value: unknown = config[name as keyof CellOptions];
    if (values) checkOneOf(where + name, value, values);
    else if (value !== undefined && range) checkInteger(where + name, value as number, ...range);
    else if (value !== undefined) checkNumber(where + name, value as number, Number.isFinite, "a number");
    if (value === undefined || value === fallback || name in layer(config).options) continue;
    const having = CELL_NAMES.filter((cell) => name in layer({ cell }).options).join(", ");
    throw new GatewiseError(
      "E_CONFIG",
      `${where}${name} must be left out with the cell ${config.cell}, got ${shown(value)}; it is an option of ${having}`,
    );
  }
}
