import type { FastifyPluginAsync } from 'fastify';

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>popbridge</title>
<body style="font-family: system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem">
<h1>popbridge</h1>
<p>Moves mailboxes from POP3 to IMAP: byte for byte, exactly once.</p>
<p><a href="docs/">API reference</a> · <a href="openapi.yaml">openapi.yaml</a></p>
</body>
</html>
`;

/** `GET /`: where to go from here. */
export const root: FastifyPluginAsync = async (app) => {
  app.get('/', { schema: { hide: true } }, async (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(PAGE),
  );
};
