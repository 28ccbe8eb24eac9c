// Token ids by the npm package @huggingface/tokenizers, for comparison with tangram's tokenizers.
//   npm install @huggingface/tokenizers        (in a folder outside the repository)
//   NODE_PATH-free use: node tools/reference/tokenizers.mjs PACKAGE_FOLDER MODEL_FOLDER TEXTS [--json]
// PACKAGE_FOLDER holds node_modules; TEXTS is a file of one text per line. Prints ids per line, or with --json the
// fixture that tests/unit/text/tokenizers.cpp reads: {"texts": [...], "ids": [[...], ...]}.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, model, texts, format] = process.argv.slice(2);
const entry = path.join(path.resolve(packages), 'node_modules/@huggingface/tokenizers/dist/tokenizers.mjs');
const { Tokenizer } = await import(pathToFileURL(entry));
const read = (name) => JSON.parse(fs.readFileSync(path.join(model, name), 'utf8'));
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
const lines = fs.readFileSync(texts, 'utf8').split('\n');
if (lines.at(-1) === '') lines.pop();
const ids = lines.map((line) => Array.from(tokenizer.encode(line).ids, Number));
if (format === '--json') {
  process.stdout.write('{"texts": [\n' + lines.map((l) => JSON.stringify(l)).join(',\n') + '\n],\n"ids": [\n' +
    ids.map((l) => JSON.stringify(l)).join(',\n') + '\n]}\n');
} else {
  process.stdout.write(ids.map((l) => l.join(' ')).join('\n') + '\n');
}
