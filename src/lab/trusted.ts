// The page may load scripts of its own server only. Its policy (vite.config.ts) wants every address of one vouched for, and
// lets nothing but this vouch: the name stands there too.
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown };
}

const policy = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes?.createPolicy("gatewise-lab", {
  createScriptURL(url) {
    if (new URL(url, location.href).origin !== location.origin) throw new TypeError(`no script of another server: ${url}`);
    return url;
  },
});

/** A script's address in the form that the browser asks for. */
export const scriptUrl = (url: string): string => (policy ? (policy.createScriptURL(url) as string) : url);
