// What is shown comes from users. It reaches the page as text and never as markup: see element().

const byId = (id) => document.getElementById(id);
const ask = byId("ask");
const LEVELS = [0.1, 0.5, 0.9];
const MOST_PAST = 8; // events of the past that are shown
let key = "";
let info;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // a string becomes a text node
  return made;
}

const optional = (is, ...made) => (is ? made : []);
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1%" : `${(100 * share).toFixed(1)}%`);
const moment = (value) => String(value).replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:00(?![.\d]))?/, "$1 $2");
// may break between its words: ScheduledDepartureHour
const breakable = (name) => name.split(/(?<=[a-z_])(?=[A-Z])/).flatMap((word) => [word, element("wbr")]);
const nats = (value) => (value === null ? "∞" : value.toFixed(2));

function table(head, rows, className = "") {
  const cell = (tag, value) => (value === "" ? element(tag, { className: "nothing" }, "–") : element(tag, {}, String(value)));
  const line = (tag, values) => element("tr", {}, ...values.map((value) => cell(tag, value)));
  return element("table", { className }, element("thead", {}, line("th", head)), element("tbody", {}, ...rows.map((row) => line("td", row))));
}

const facts = (pairs) => pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value))));

// --- asking the server ------------------------------------------------------------------

class Refusal extends Error {
  constructor({ code = "", loc = "", message, hint = "" }, status = "", request = "") {
    super(message);
    Object.assign(this, { code, loc, hint, status, request });
  }
}

async function fetched(path, options = {}) {
  const headers = { "content-type": "application/json", ...(key && { "x-api-key": key }) };
  let response, body;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch {
    throw new Refusal({ code: "unreachable", message: "the server does not answer", hint: "See whether it runs, and try again." });
  }
  const request = response.headers.get("x-request-id");
  try {
    body = await response.json();
  } catch {
    throw new Refusal({ code: "no_json", message: "the answer is not JSON" }, response.status, request);
  }
  if (!response.ok) throw new Refusal(body.error ?? { message: response.statusText }, response.status, request);
  return body;
}

// --- the model's card -------------------------------------------------------------------

function showModel() {
  const { model, schema, measured, limits, categories } = info;
  document.title = `${model.name} – event predictor`;
  byId("name").textContent = model.name;
  byId("description").textContent = schema.description;
  const top1 = measured && Object.values(measured.categories).map((found) => found.top1);
  byId("facts").replaceChildren(
    ...facts([
      ["Predicts the next events of", `one ${schema.focus}, up to ${limits.horizon}`],
      ["Categories of an event", Object.keys(categories).length],
      ...optional(measured, ["Most probable value right, mean over categories", measured && percent(top1.reduce((a, b) => a + b) / top1.length)]),
      ["Version", model.version],
      ["Times", schema.time_zone ?? "local, without a zone"],
    ]),
  );
  const fact = (name) => measured?.categories[name];
  const head = ["Category", "Values known", ...optional(measured, "Most probable value right", "Loss, nats")];
  const rows = Object.entries(categories).map(([name, size]) => [
    name, size - 1, ...optional(measured, percent(fact(name)?.top1), nats(Math.abs(fact(name)?.nll))),
  ]);
  byId("categories").replaceChildren(table(head, rows, "numbers"));
  byId("limits").replaceChildren(
    ...facts([
      ...optional(measured, ["Measured on", measured && `${measured.events} events of the ${measured.part} part`]),
      ...Object.entries(limits.streams).map(([name, of]) => [`${name}, at most`, `${of.entities} × ${of.events} events`]),
      ["Body, at most", `${(limits.body_bytes / 2 ** 20).toFixed(1)} MiB`],
      ["An answer within", `${limits.timeout_s} s`],
      ...Object.entries(model.versions),
    ]),
  );
  byId("card").hidden = false;
}

// --- the question -----------------------------------------------------------------------

function makeObserved() {
  byId("observed").replaceChildren(
    ...info.schema.fields.map((field) => {
      const name = `observed.${field.name}`;
      const input = field.kind === "enum"
        ? element("select", { name }, ...["", ...field.values].map((value) => element("option", { value }, value)))
        : element("input", { name, autocomplete: "off", placeholder: field.kind === "datetime" ? moment(info.example.now ?? "") : "" });
      return element("label", { title: field.description }, ...breakable(field.name), input);
    }),
  );
}

function fillWithExample() {
  const { example, limits } = info;
  ask.elements.streams.value = readable(example.streams);
  ask.elements.now.value = example.now ?? "";
  ask.elements.horizon.value = example.horizon ?? 1;
  ask.elements.horizon.max = limits.horizon;
  ask.elements.top_k.value = Number.isInteger(example.top_k) ? example.top_k : 5;
  ask.elements["sampling.num_samples"].value = example.sampling?.num_samples ?? "";
  ask.elements["sampling.num_samples"].max = limits.samples;
  ask.elements.quantiles.checked = example.quantiles !== undefined;
  for (const [name, value] of Object.entries(example.observed ?? {})) ask.elements[`observed.${name}`].value = value;
  showPast(example.focus);
}

// one event a line: a history is read by its lines
const readable = (streams) => {
  const events = (list) => (Array.isArray(list) && list.length ? `[\n${list.map((one) => `      ${JSON.stringify(one)}`).join(",\n")}\n    ]` : JSON.stringify(list));
  const entity = (one) => `    {${"id" in one ? `"id": ${JSON.stringify(one.id)}, ` : ""}"events": ${events(one.events)}}`;
  return `{\n${Object.entries(streams).map(([name, list]) => `  ${JSON.stringify(name)}: [\n${list.map(entity).join(",\n")}\n  ]`).join(",\n")}\n}`;
};

const recordsOf = (events) =>
  Array.isArray(events) ? events : (events?.rows ?? []).map((row) => Object.fromEntries(events.columns.map((name, i) => [name, row[i]])));

// who there is to choose from, and the newest events of who is chosen; what is no past is the server's to refuse
function showPast(chosen = ask.elements.focus.value) {
  let ids, records;
  try {
    const entities = JSON.parse(ask.elements.streams.value)[info.schema.focus];
    ids = entities.map(({ id }) => String(id));
    records = recordsOf(entities[Math.max(ids.indexOf(String(chosen)), 0)].events);
  } catch {
    return;
  }
  ask.elements.focus.replaceChildren(...ids.map((id) => element("option", { value: id }, id)));
  ask.elements.focus.value = ids.includes(String(chosen)) ? chosen : ids[0];
  const order = info.schema.order_by;
  const names = [order, ...info.schema.fields.map((field) => field.name).filter((name) => name !== order)];
  const shown = names.filter((name) => records.some((record) => record?.[name] !== undefined));
  const cells = (record) => shown.map((name) => moment(record?.[name] ?? ""));
  byId("past").replaceChildren(table(shown, records.slice(-MOST_PAST).reverse().map(cells)));
  byId("past-note").textContent = `the newest ${Math.min(MOST_PAST, records.length)} of ${records.length} events, newest first`;
}

function question() {
  const { elements } = ask;
  let streams;
  try {
    streams = JSON.parse(elements.streams.value);
  } catch (error) {
    throw new Refusal({ code: "not_json", loc: "streams", message: `the histories are not JSON: ${error.message}`, hint: "Mend them, or go back to the example." });
  }
  const observed = info.schema.fields.map(({ name }) => [name, elements[`observed.${name}`].value]).filter(([, value]) => value !== "");
  const samples = Number(elements["sampling.num_samples"].value);
  return {
    streams,
    ...(elements.focus.value && { focus: elements.focus.value }),
    ...(elements.now.value && { now: elements.now.value }),
    horizon: Number(elements.horizon.value),
    top_k: Number(elements.top_k.value),
    ...(elements.quantiles.checked && { quantiles: LEVELS }),
    ...(samples && { sampling: { num_samples: samples } }),
    ...(observed.length && { observed: Object.fromEntries(observed) }),
  };
}

// --- the answer -------------------------------------------------------------------------

function spreadOf(when) {
  const [early, middle, late] = LEVELS.map((level) => moment(when[level]));
  return `even chance by ${middle}; 80% between ${early} and ${late}`;
}

function eventLine(record, when) {
  const order = info.schema.order_by;
  const spread = when && ` – ${spreadOf(when)}`;
  const field = ([name, value]) =>
    element("span", {}, element("span", { className: "name" }, name), " ",
      value === null ? element("span", { className: "nothing" }, "unknown") : element("b", {}, moment(value)));
  return element("li", {},
    element("time", {}, moment(record[order])),
    ...optional(spread, element("span", { className: "note" }, spread)),
    element("div", { className: "fields" }, ...Object.entries(record).filter(([name]) => name !== order).map(field)));
}

function barOf(label, share, isOther = false) {
  const bar = element("div", { className: "bar" });
  bar.style.width = `${100 * Math.min(share, 1)}%`;
  return element("li", { className: isOther ? "others" : "" },
    element("span", { className: "value", title: label }, label), element("span", { className: "share" }, percent(share)),
    element("div", { className: "track", ariaHidden: "true" }, bar));
}

function distribution([name, { top, unknown, rest, entropy }]) {
  return element("article", {},
    element("h4", {}, element("span", {}, ...breakable(name)), element("span", { className: "note", title: "Entropy: 0 is certain" }, `${nats(entropy)} nats`)),
    element("ul", {},
      ...top.map(({ value, probability }) => barOf(value, probability)),
      ...optional(rest >= 0.0005, barOf("all others", rest, true)),
      ...optional(unknown >= 0.0005, barOf("unknown or none", unknown, true))));
}

function timesOf({ events }) {
  return element("ol", { className: "events" },
    ...events.map(({ when }, i) => element("li", {}, `Event ${i + 1}: ${spreadOf(when)}`)));
}

function rolloutsOf({ rollouts }) {
  const one = (rollout, i) =>
    element("details", { open: i === 0 },
      element("summary", {}, `Future ${i + 1} of ${rollouts.length}: ${nats(-rollout.log_probability)} nats of surprise`),
      element("ol", { className: "events" }, ...rollout.events.map((event) => eventLine(event))));
  return rollouts.map(one);
}

function observedOf({ categories, joint }) {
  const rows = Object.entries(categories).map(([name, { probability, surprise, expected }]) => [name, percent(probability), nats(surprise), nats(expected)]);
  return [
    element("h2", {}, "How unusual would this be?"),
    element("p", {}, `The whole event: ${nats(joint.surprise)} nats of surprise.`),
    element("div", { className: "scroll" }, table(["Category", "Probability", "Surprise, nats", "Usual surprise, nats"], rows, "numbers")),
  ];
}

// what was predicted, into the event to score: to change one field of it and see
function observePredicted({ events: [{ event }] }) {
  for (const [name, value] of Object.entries(event)) ask.elements[`observed.${name}`].value = value ?? "";
}

function showAnswer(asked, answer) {
  const cards = (event) => element("div", { className: "cards" }, ...Object.entries(event.categories).map(distribution));
  const after = answer.events.slice(1).map((event, i) =>
    element("details", {}, element("summary", {}, `Event ${i + 2}`), cards(event)));
  const isSampled = answer.rollouts !== undefined;
  const observe = byId("observe");
  observe.disabled = isSampled;
  observe.onclick = () => observePredicted(answer);
  byId("answer").replaceChildren(
    element("h2", {}, isSampled ? "Futures that may happen" : `What happens next to ${answer.focus}`),
    element("p", { className: "note" }, `After ${moment(answer.now)}. ${unknownValues(answer.unknown_values)}`),
    ...(isSampled && answer.events[0].when ? [timesOf(answer)] : []),
    ...(isSampled ? rolloutsOf(answer) : [element("ol", { className: "events" }, ...answer.events.map(({ event, when }) => eventLine(event, when)))]),
    ...optional(answer.observed, ...(answer.observed ? observedOf(answer.observed) : [])),
    element("h2", {}, answer.events.length > 1 ? "How probable: the first event" : "How probable"),
    ...optional(isSampled, element("p", { className: "note" }, "Mean over the futures.")),
    cards(answer.events[0]),
    ...after,
    element("details", {}, element("summary", {}, "As JSON"),
      element("pre", {}, JSON.stringify(asked, null, 1)), element("pre", {}, JSON.stringify(answer, null, 1))),
  );
}

function unknownValues(byCategory) {
  const counts = Object.entries(byCategory).map(([category, n]) => `${n} of ${category}`);
  return counts.length ? `The model does not know some of the values sent: ${counts.join(", ")}.` : "";
}

// the form's field that a place in the request belongs to: "sampling.num_samples", "streams" of "streams.Actor[0].id"
function fieldAt(loc) {
  return loc ? ask.elements[loc] ?? ask.elements[loc.split(/[.[]/)[0]] : undefined;
}

function showError(error) {
  for (const field of ask.elements) field.removeAttribute("aria-invalid");
  byId("error").hidden = !error;
  if (!error) return;
  const { status, code, loc, message, hint, request } = error;
  byId("error").replaceChildren(
    element("p", {}, element("b", {}, [status, code].filter(Boolean).join(" ")), ...optional(loc, " at ", element("code", {}, loc))),
    element("p", {}, message),
    ...optional(hint, element("p", {}, hint)),
    ...optional(request, element("p", { className: "note" }, `Request ${request}`)));
  const field = fieldAt(loc);
  field?.setAttribute?.("aria-invalid", "true");
  const folded = field?.closest?.("details");
  if (folded) folded.open = true;
  byId("error").scrollIntoView({ block: "nearest" });
}

async function predict() {
  const button = byId("predict");
  button.disabled = true;
  byId("status").textContent = "Predicting …";
  try {
    const asked = question();
    const started = performance.now();
    const answer = await fetched("predict", { method: "POST", body: JSON.stringify(asked) });
    showError(null);
    showAnswer(asked, answer);
    byId("status").textContent = `Answered in ${(performance.now() - started).toFixed(0)} ms.`;
  } catch (error) {
    byId("status").textContent = "";
    byId("answer").replaceChildren(); // an answer to another question must not stand below an error
    showError(error);
  } finally {
    button.disabled = false;
  }
}

async function open() {
  try {
    info = await fetched("info");
  } catch (error) {
    byId("unlock").hidden = error.status !== 401;
    showError(error.status === 401 && !key ? null : error);
    return;
  }
  showError(null);
  byId("unlock").hidden = true;
  showModel();
  makeObserved();
  fillWithExample();
  ask.hidden = false;
  await predict();
}

ask.addEventListener("submit", (event) => (event.preventDefault(), predict()));
ask.addEventListener("reset", () => setTimeout(() => (fillWithExample(), showError(null))));
ask.elements.streams.addEventListener("input", () => showPast());
ask.elements.focus.addEventListener("change", () => showPast());
byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  key = event.target.elements.key.value;
  open();
});
open();
