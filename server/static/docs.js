// The OpenAPI document, shown by Swagger UI. Where the server asks for a key, the page asks for it first.

const byId = (id) => document.getElementById(id);

async function open(key) {
  const answer = await fetch("openapi.json", { headers: key ? { "x-api-key": key } : {} });
  byId("unlock").hidden = answer.status !== 401;
  byId("error").hidden = answer.ok || (answer.status === 401 && !key);
  if (!answer.ok) {
    const { error } = await answer.json();
    byId("error").textContent = `${answer.status} ${error.code}: ${error.message}. ${error.hint}`;
    return;
  }
  const ui = SwaggerUIBundle({
    spec: await answer.json(),
    domNode: byId("document"),
    defaultModelsExpandDepth: -1,
    tryItOutEnabled: true,
    validatorUrl: null, // it would ask somebody else's server
    onComplete: () => key && ui.preauthorizeApiKey("key", key),
  });
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  open(event.target.elements.key.value);
});
open("");
