// What StrykerJS leaves alone, because it is not run where it stands: arguments of import.meta.glob, which Vite reads from the
// text and takes no other of, and the body of WebAssembly's threads, which is sent to them as text.

/** @param {{ node: any }} path */
const isGlob = ({ node }) =>
  node.type === "CallExpression" && node.callee.property?.name === "glob" && node.callee.object.type === "MetaProperty";

/** @param {{ node: any }} path */
const isSent = ({ node }) => node.type === "FunctionDeclaration" && node.id?.name === "serve";

export const strykerPlugins = [
  {
    kind: "Ignore",
    name: "text",
    value: {
      /** @param {{ node: any }} path */
      shouldIgnore: (path) => (isGlob(path) || isSent(path) ? "it is read as text" : undefined),
    },
  },
];
