// Unpacks the browser and the libraries that it needs, once, beside the package that holds them.
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("node_modules/.unpacked", import.meta.url));
mkdirSync(folder, { recursive: true });
process.env.TMPDIR = folder; // where the package unpacks to
process.env.AWS_LAMBDA_JS_RUNTIME = "nodejs22.x"; // the libraries too, which a bare machine lacks
const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();
