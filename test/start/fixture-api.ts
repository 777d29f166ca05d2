// Stands for the API process: what the supervisor gave it can be asked for, and it ends as told.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { HOST = '', PORT = '', TRACE = '', API_FAULT = '' } = process.env;
if (API_FAULT === 'config') {
  process.stderr.write('POPBRIDGE_SETTLE_SECONDS is "x": must be a number\n');
  process.exit(1);
}
appendFileSync(TRACE, `api started ${process.pid}\n`);
process.stdout.write('{"level":30,"msg":"an everyday line"}\n{"level":40,"msg":"a warning"}\nplain words\n');
const server = createServer((request, response) => {
  if (request.url === '/crash') process.kill(process.pid, 'SIGKILL');
  if (request.url === '/health/ready') response.writeHead(API_FAULT === 'never ready' ? 503 : 200).end();
  else response.end(JSON.stringify({ env: process.env, argv: process.argv, execArgv: process.execArgv }));
});
server.listen(Number(PORT), HOST);
process.on('SIGTERM', () => {
  appendFileSync(TRACE, 'api stopped\n');
  process.exit(0);
});
