// Reads {"schema": {table: "(column: type, ...)"}, "queries": {name: text}} from stdin, and prints for each query
// what Microsoft's parser has to say of it: {name: ["Error KS142: ...", ...]}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");

const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;
const { schema, queries } = JSON.parse(readFileSync(0, "utf8"));

const tables = Object.entries(schema).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", tables));

const found = {};
for (const [name, text] of Object.entries(queries)) {
  const diagnostics = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[name] = Array.from({ length: diagnostics.Count }, (_, i) => diagnostics.getItem(i)).map(
    (each) => `${each.Severity} ${each.Code}: ${each.Message}`,
  );
}
console.log(JSON.stringify(found));
