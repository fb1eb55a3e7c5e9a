// What StrykerJS leaves alone: arguments of import.meta.glob, which Vite reads from the text and takes no other of.

/** @param {{ node: any }} path */
const isGlob = ({ node }) =>
  node.type === "CallExpression" && node.callee.property?.name === "glob" && node.callee.object.type === "MetaProperty";

export const strykerPlugins = [
  {
    kind: "Ignore",
    name: "glob",
    value: {
      /** @param {{ node: any }} path */ shouldIgnore: (path) => (isGlob(path) ? "Vite reads it from the text" : undefined),
    },
  },
];
