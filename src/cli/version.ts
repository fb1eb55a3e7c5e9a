import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The package's version. From src/cli/ and from dist/cli/ package.json lies two folders up. */
export function version(): string {
  return (JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as { version: string }).version;
}
