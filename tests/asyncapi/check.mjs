// Validates an AsyncAPI document with AsyncAPI's own parser. One line for each problem; exit code 1 where there is an error.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const ERROR = 0;
const path = process.argv[2];
const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"), { source: path });
const errors = diagnostics.filter((problem) => problem.severity === ERROR);
for (const problem of errors) console.log(`${problem.path.join(".")}: ${problem.message}`);
if (errors.length || !document) process.exit(1);
console.log(`${document.operations().all().length} operations, ${document.messages().all().length} messages`);
