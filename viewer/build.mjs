// Builds ../pipeline/soilscale/viewer/page.html, one page that needs no other file, and the NOTICE of what is in it.
// The same sources and lock give the same bytes; a folder as argument takes the place of the package's.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const TARGET = resolve(process.argv[2] ?? join(HERE, "../pipeline/soilscale/viewer"));

// Decoders of what soilscale does not write; together they would be larger than all the rest.
const UNUSED = ["numcodecs/blosc", "numcodecs/lz4", "lerc", "zstddec/stream", "web-worker"];

const absent = join(HERE, "src/absent.js");
const result = await build({
  absWorkingDir: HERE,
  entryPoints: ["src/main.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  write: false,
  alias: { "numcodecs/zstd": join(HERE, "src/zstd.js"), ...Object.fromEntries(UNUSED.map((name) => [name, absent])) },
});
const style = await build({
  absWorkingDir: HERE,
  entryPoints: ["src/style.css"],
  bundle: true,
  minify: true,
  metafile: true,
  write: false,
});

/** Packages whose code is in the bundle, with their licences, sorted by name. */
function notice(inputs) {
  const names = new Set();
  for (const path of Object.keys(inputs)) {
    const match = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (match) names.add(match[1]);
  }
  const parts = [...names].sort().map((name) => {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    const text = file ? readFileSync(join(folder, file), "utf8").replace(/\r\n/g, "\n").trim() : "(no licence file)";
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  const rule = `\n${"-".repeat(80)}\n\n`;
  return `The viewer contains code of these packages.\n${rule}${parts.join(rule)}`;
}

const text = (output) => output.outputFiles[0].text.trim();
// Inside an HTML element "</script" would end it, inside a comment "-->" the comment.
const script = text(result).replace(/<\/script/gi, "<\\/script");
const policy = createHash("sha256").update(script).digest("base64");
const licences = notice({ ...result.metafile.inputs, ...style.metafile.inputs });
const page = readFileSync(join(HERE, "src/page.html"), "utf8")
  .replace("{policy}", () => `'sha256-${policy}'`)
  .replace("{style}", () => text(style))
  .replace("{script}", () => script)
  .replace("{licences}", () => licences.replaceAll("--", "- -"));
if (!existsSync(TARGET)) mkdirSync(TARGET, { recursive: true });
writeFileSync(join(TARGET, "page.html"), page);
writeFileSync(join(TARGET, "NOTICE"), licences);
