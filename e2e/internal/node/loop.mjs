// Evaluates each line of its input, a JSON text, and answers each with one line of JSON.
import { createInterface } from 'node:readline';

globalThis.load = (module) => import(module);

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: await (0, eval)(JSON.parse(line)) };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(); // with whatever still runs
