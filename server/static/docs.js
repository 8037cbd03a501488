// The OpenAPI document, shown by Swagger UI. Where the server asks for a key, the page asks for it first.

const byId = (id) => document.getElementById(id);

async function show(key) {
  const answer = await fetch("openapi.json", { headers: key ? { "x-api-key": key } : {} });
  byId("unlock").hidden = answer.status !== 401;
  if (answer.status === 401 && !key) return;
  if (!answer.ok) {
    const { error } = await answer.json();
    throw new Error(`${answer.status} ${error.code}: ${error.message}. ${error.hint}`);
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

async function open(key) {
  byId("error").hidden = true;
  try {
    await show(key);
  } catch (error) {
    byId("error").textContent = error.message;
    byId("error").hidden = false;
  }
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  open(event.target.elements.key.value);
});
open("");
