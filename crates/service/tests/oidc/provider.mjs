// A real OpenID provider (the npm package `oidc-provider`) with its own pages for login and consent, which take any name with
// any password. Who somebody is follows from the name: `ops-olga` is in the group `ops`.
//
// node provider.mjs MODULES SETTINGS, a JSON text: port, key and cert (PEM files), clients.
import { createServer } from "node:https";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, settings] = process.argv.slice(2);
const { port, key, cert, clients } = JSON.parse(settings);
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));

const issuer = `https://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients,
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  conformIdTokenClaims: false,
  pkce: { methods: ["S256"], required: () => true },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: `subject-of-${id}`, preferred_username: id, groups: [id.split("-")[0], "everybody"] }),
  }),
});
createServer({ key: readFileSync(key), cert: readFileSync(cert) }, provider.callback())
  .listen(port, "127.0.0.1", () => console.log(`listening ${issuer}`));
