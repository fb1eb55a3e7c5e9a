// Which of a model's tensors those of a file are whose model nobody describes: by their names as far as torch.nn gives
// them, by their shapes where people do.
import { shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { CellOption } from "../kernels/cell.ts";
import { CELL_NAMES, CELL_OPTIONS, cellForms, CELLS, inBlock, type CellName, type CellOptions } from "../models/cells.ts";
import { languageModelConfig, modelLayers, modelNames, parameterSpecs, type LanguageModelConfig } from "../models/config.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { checkShapes, type Checkpoint } from "../training/checkpoint.ts";
import { shownShape, type NamedTensor } from "../training/safetensors.ts";
import { PYTORCH } from "./layouts.ts";
import { copyStored, sameTensor, type StoredTensor, type StoredTensors } from "./stored.ts";

/** What files of tensors alone cannot tell, a cell's options among it; where they can, it must agree. */
export interface ImportOptions extends Partial<CellOptions> {
  /** Which cell it is. */
  readonly cell?: CellName | undefined;
  /** How tokens enter. */
  readonly input?: LanguageModelConfig["input"] | undefined;
  /** What each token is; by default the tokenizer.json among the files. */
  readonly tokenizer?: Checkpoint["tokenizer"] | undefined;
}

export type Described = Omit<ImportOptions, "tokenizer">;

/** Options of cells that no tensor tells: which of two functions it is. */
export const UNTOLD: Readonly<Record<string, CellOption>> = Object.fromEntries(
  Object.entries<CellOption>(CELL_OPTIONS).filter(([, { values }]) => values),
);

export interface Placed {
  readonly config: LanguageModelConfig;
  readonly tensors: Readonly<Record<string, NamedTensor>>;
}

type Entries = readonly (readonly [name: string, tensor: StoredTensor])[];

const refuse = (message: string): never => {
  throw new GatewiseError("E_CONFIG", message);
};
const bad = (message: string): never => {
  throw new GatewiseError("E_BAD_CHECKPOINT", message);
};
const listed = (entries: Entries): string =>
  entries
    .slice(0, 8)
    .map(([name, { shape }]) => `${shown(name)} ${shownShape(shape)}`)
    .join(", ") + (entries.length > 8 ? ` and ${entries.length - 8} more` : "");

/** What wraps a module and shows in all names beneath it. */
const WRAPPERS = new Set(["module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module"]);

/** Tensors without what wraps their modules, and without a beginning that all names share. */
function plainNames(tensors: StoredTensors): StoredTensors {
  let names = Object.keys(tensors).map((name) => name.split(".").filter((part) => !WRAPPERS.has(part)));
  while (names.length > 1 && names.every(([first, ...rest]) => rest.length > 0 && first === names[0]![0]))
    names = names.map(([, ...rest]) => rest);
  const plain = Object.entries(tensors).map(([, tensor], i) => [names[i]!.join("."), tensor] as const);
  const twice = plain.find(([name], i) => plain.findIndex(([other]) => other === name) < i);
  if (twice) bad(`${shown(twice[0])} is there twice, with another beginning of its name`);
  return Object.fromEntries(plain);
}

/** What a file has in place of a tensor of the model; undefined for zeros. */
type Places = Record<string, StoredTensor | undefined>;

/**
 * The model of tensors, all of them placed or none.
 *
 * @param missing what the caller lacks besides, in words
 * @throws GatewiseError E_CONFIG that says what only the caller can, or what Gatewise has not; E_BAD_CHECKPOINT with what is
 * missing and what is left over
 */
export function placeTensors(tensors: StoredTensors, described: Described, missing: readonly string[]): Placed {
  const plain = plainNames(tensors);
  const { config, places } = placeBlocks(plain, described) ?? placeRecurrent(plain, described);
  const specs = parameterSpecs(config);
  const present: Places = Object.fromEntries(Object.entries(places).filter(([, tensor]) => tensor));
  const zeros = specs.filter(({ name }) => Object.hasOwn(places, name) && !places[name]);
  const shapes = { ...(present as StoredTensors), ...Object.fromEntries(zeros.map(({ name, shape }) => [name, { shape }])) };
  checkShapes(config, undefined, shapes, `the tensors are not those of a model of the cell ${config.cell}`);
  const unknown = [...unsaid(config.cell, described), ...missing];
  if (unknown.length > 0) refuse(`the file cannot tell ${unknown.join("; nor ")}`);
  return {
    config,
    tensors: Object.fromEntries(specs.map(({ name, shape }) => [name, copyOrZeros(places[name], shape)])),
  };
}

const copyOrZeros = (tensor: StoredTensor | undefined, shape: readonly number[]): NamedTensor =>
  tensor ? copyStored(tensor) : { shape, data: new Float32Array(sizeOf(shape)) };

/** What is to be said of a cell and was not. */
const unsaid = (cell: CellName, described: Described): readonly string[] =>
  Object.entries(UNTOLD).flatMap(([name, { values, words, flags }]) =>
    name in CELLS[cell].options && described[name as keyof Described] === undefined
      ? [`${name}: ${values!.map(String).join(" or ")} (${flags.split(" ")[0]} ${(words ?? values!).join("|")})`]
      : [],
  );

/** @throws GatewiseError E_CONFIG if the cell is not the one that was said */
function checkCell({ cell }: Described, found: CellName, why: string): void {
  if (cell !== undefined && cell !== found) refuse(`cell must be ${found}, got ${shown(cell)}: ${why}`);
}

// Models of blocks.

const BACKBONE = "backbone.";
const HEADS = ["lm_head.weight", "head.weight"];

function placeBlocks(tensors: StoredTensors, described: Described): { config: LanguageModelConfig; places: Places } | undefined {
  const places: Places = Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      // Mamba's own repository says "embedding".
      const own = name.replace(BACKBONE, "").replace(/^embedding\./, "embeddings.");
      return [HEADS.includes(own) ? own : BACKBONE + own, tensor];
    }),
  );
  const cell = CELL_NAMES.filter((name) => inBlock({ cell: name })).find((name) => {
    const layers = modelLayers({ cell: name });
    const specs = layers.cell.parameters({ hiddenSize: 1 }, [1]);
    return specs.every((spec) => Object.hasOwn(places, layers.nameOf(spec.name, 0, 0)));
  });
  if (!cell) return undefined;
  checkCell(described, cell, `${shown(modelLayers({ cell }).nameOf("mixer.in_proj.weight", 0, 0))} and its like are there`);
  const { embedding } = modelNames({ cell });
  const table = places[embedding] ?? bad(`${shown(embedding)} is missing`);
  const [vocabSize, hiddenSize] = table.shape as [number, number];
  for (const name of HEADS) {
    if (places[name] && !sameTensor(places[name], table))
      refuse(`${name} must be left out, or the same as ${embedding}; the two are one tensor here`);
    delete places[name];
  }
  const { cell: layer, nameOf } = modelLayers({ cell });
  const shapeOf = (name: string): readonly number[] =>
    places[nameOf(name, 0, 0)]?.shape ?? bad(`${shown(nameOf(name, 0, 0))} is missing`);
  const sizes = Object.entries<CellOption>(layer.options).flatMap(([name, { fromShapes }]) =>
    fromShapes ? [[name, fromShapes(shapeOf, hiddenSize)] as const] : [],
  );
  const layers = Object.keys(places).flatMap((name) => Number(/^backbone\.layers\.(\d+)\./.exec(name)?.[1] ?? []));
  const config = { ...described, cell, vocabSize, hiddenSize, numLayers: 1 + Math.max(...layers), ...Object.fromEntries(sizes) };
  return { config: languageModelConfig(config), places };
}

// Models of torch.nn's recurrent layers.

/** As nn.RNN, nn.GRU and nn.LSTM name their parameters; and their cells, which have no layers. */
const RECURRENT = /^((?:.*\.)?)((?:weight|bias)_(?:ih|hh|hr))(?:_l(\d+))?(_reverse)?$/;
const EMBEDDING = /emb|wte|encoder|lookup/i;

function placeRecurrent(tensors: StoredTensors, described: Described): { config: LanguageModelConfig; places: Places } {
  const recurrent: [name: string, tensor: StoredTensor, layer: number][] = [];
  const rest: [name: string, tensor: StoredTensor][] = [];
  const prefixes = new Set<string>();
  for (const [name, tensor] of Object.entries(tensors)) {
    const [, prefix, own, layer = "0", reverse = ""] = RECURRENT.exec(name) ?? [];
    if (own === undefined) rest.push([name, tensor]);
    else if (own.endsWith("_hr"))
      refuse(`${shown(name)} is the projection of an LSTM (proj_size), which no model here has; train one without projection`);
    else {
      prefixes.add(prefix!);
      recurrent.push([`rnn.${own}_l${layer}${reverse}`, tensor, Number(layer)]);
    }
  }
  const all: Entries = Object.entries(tensors);
  if (recurrent.length === 0)
    bad(`no tensor is a recurrent layer's, such as "rnn.weight_hh_l0", nor a block's; there are ${listed(all)}`);
  if (prefixes.size > 1)
    bad(`there are several recurrent layers side by side, ${[...prefixes].map(shown).join(", ")}; a model here has one stack`);
  const places: Places = Object.fromEntries(recurrent);
  const matrixOf = (name: string): readonly [number, number] => {
    const { shape } = places[name] ?? bad(`"${name}" is missing; there are ${listed(all)}`);
    return shape.length === 2 ? (shape as [number, number]) : bad(`"${name}" must be a matrix, got ${shownShape(shape)}`);
  };
  const [[, inputs], [rows, H]] = [matrixOf("rnn.weight_ih_l0"), matrixOf("rnn.weight_hh_l0")];
  const found = `"rnn.weight_hh_l0" [${rows}, ${H}] has ${rows / H} gates`;
  const cell = Object.entries(cellForms()).find(
    ([form, { cell }]) => !inBlock({ cell }) && PYTORCH.cells[form]?.gates.length === rows / H,
  )?.[1].cell;
  if (!cell) return bad(`${found}, as no cell of torch.nn`);
  checkCell(described, cell, found);

  const ends = placeEnds(rest, inputs, H, described.input);
  const numLayers = 1 + Math.max(...recurrent.map(([, , layer]) => layer));
  // Modules without biases compute what those with zeros do.
  const biasless = !recurrent.some(([name]) => name.startsWith("rnn.bias"));
  if (biasless)
    for (let l = 0; l < numLayers; l++) for (const name of ["bias_ih", "bias_hh"]) places[`rnn.${name}_l${l}`] = undefined;
  const sizes = { hiddenSize: H, numLayers, vocabSize: ends.vocabSize, input: ends.input };
  const width = ends.input === "embedding" ? { embeddingSize: inputs } : {};
  const config = languageModelConfig({ ...described, cell, ...sizes, ...width });
  return { config, places: { ...places, ...ends.places } };
}

/** The embeddings and the head: what has as many columns as the layers have inputs, and as they have outputs. */
function placeEnds(
  rest: Entries,
  inputs: number,
  H: number,
  said: Described["input"],
): { places: Places; vocabSize: number; input: LanguageModelConfig["input"] } {
  const module = ([name]: Entries[number]): string => name.replace(/\.?[^.]*$/, "");
  const ofRank = (rank: number): Entries => rest.filter(([, { shape }]) => shape.length === rank);
  const [vectors, matrices] = [ofRank(1), ofRank(2)];
  /** The only one, or the only one that its name speaks for. */
  const choose = (from: Entries, speaks: (name: string) => boolean): Entries[number] | undefined => {
    const chosen = from.length === 1 ? from : from.filter(([name]) => speaks(name));
    return chosen.length === 1 ? chosen[0] : undefined;
  };
  const withBias = matrices.filter((matrix) => vectors.some((vector) => module(vector) === module(matrix)));
  const heads = withBias.length > 0 ? withBias : matrices.filter(([, { shape }]) => shape[1] === H);
  const head = choose(heads, (name) => !EMBEDDING.test(name));
  const tables = matrices.filter((matrix) => matrix !== head && matrix[1].shape[1] === inputs);
  const table = choose(tables, (name) => EMBEDDING.test(name));
  const bias =
    vectors.find((vector) => head && module(vector) === module(head)) ?? (vectors.length === 1 ? vectors[0] : undefined);
  const [, { shape }] = head ?? table ?? bad(`no tensor can be the head, which has ${H} columns; there are ${listed(rest)}`);
  const vocabSize = shape[0]!;
  const oneHot = !table && inputs === vocabSize;
  if (oneHot && inputs === H && said === undefined)
    refuse(
      `the file cannot tell whether characters enter as embeddings, which are the head, or one-hot: give input, "embedding" or "one-hot" (--input)`,
    );
  const input = said ?? (oneHot ? "one-hot" : "embedding");
  const embedding = table ?? (inputs === H ? head : undefined);
  const placed = new Set([head, table, bias]);
  const places: Places = Object.fromEntries([
    ...rest.filter((each) => !placed.has(each)),
    ...(input === "embedding" && embedding ? [["embedding.weight", embedding[1]] as const] : []),
    ...(head ? [["head.weight", head[1]] as const] : []),
  ]);
  places["head.bias"] = bias?.[1];
  return { places, vocabSize, input };
}
