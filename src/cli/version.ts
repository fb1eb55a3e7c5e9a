import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The package's version; the built command line lies one folder below package.json. */
export function version(): string {
  const file = join(dirname(dirname(fileURLToPath(import.meta.url))), "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
