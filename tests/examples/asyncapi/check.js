// Parses docs/asyncapi.yaml with AsyncAPI's own parser, and holds the golden events against its schemas: as they are, and
// as headers of Kafka and NATS and fields of Redis.
// So are the events that a page for readers shows.
// usage: node check.js FILE FOLDER PAGE     exit 0 and a line "ok ..." when all of it agrees
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { Parser } = require("@asyncapi/parser");
const Ajv = require("ajv");

const faults = [];

async function parse(file) {
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(file, "utf8"));
  for (const { severity, code, message, path: place } of diagnostics) {
    if (severity === 0) faults.push(`${place.join("/")}: ${code}: ${message}`);
  }
  return document;
}

// The names that a schema knows, through its parts.
function namesIn(schema) {
  return [...Object.keys(schema.properties ?? {}), ...(schema.allOf ?? []).flatMap(namesIn)];
}

function check(ajv, where, schema, value) {
  if (!ajv.validate(schema, value)) faults.push(`${where}: ${ajv.errorsText()} in ${JSON.stringify(value)}`);
  const known = namesIn(schema);
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) faults.push(`${where}: ${name} is not described`);
  }
}

// [where, event] of the golden files, and of the blocks of JSON in the page.
function* eventsOf(folder, page) {
  for (const name of fs.readdirSync(folder).sort()) {
    yield [name, JSON.parse(fs.readFileSync(path.join(folder, name), "utf8"))];
  }
  for (const [, text] of fs.readFileSync(page, "utf8").matchAll(/```json\n(.*?)\n```/gs)) {
    const event = JSON.parse(text);
    yield [`${path.basename(page)}: ${event.id}`, event];
  }
}

function prefixed(event, prefix) {
  const { data, data_base64: base64, datacontenttype, ...attributes } = event;
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [prefix + name, value]));
  return { ...headers, "content-type": datacontenttype };
}

function fields(event) {
  const { data, data_base64: base64, ...attributes } = event;
  return { ...attributes, data: data ? JSON.stringify(data) : Buffer.from(base64, "base64").toString("latin1") };
}

async function main([file, folder, page]) {
  const document = await parse(file);
  if (!document) throw new Error(faults.join("\n"));
  const { schemas } = document.json().components;
  // The kinds of events: what a structured channel carries.
  const kinds = new Map();
  for (const channel of ["redisPubsub", "redisHeartbeat"]) {
    for (const message of document.channels().get(channel).messages().all()) {
      kinds.set(message.payload().json().allOf[1].properties.type.const, message.id());
    }
  }
  const ajv = new Ajv({ strict: false, validateFormats: false });
  const seen = new Map();
  for (const [name, event] of eventsOf(folder, page)) {
    const id = kinds.get(event.type);
    if (id === undefined) {
      faults.push(`${name}: ${event.type} is not described`);
      continue;
    }
    seen.set(id, [...(seen.get(id) ?? []), name]);
    const kind = id[0].toUpperCase() + id.slice(1);
    check(ajv, name, schemas[kind], event);
    check(ajv, `${name} in Kafka`, schemas[`Kafka${kind}`], prefixed(event, "ce_"));
    check(ajv, `${name} in NATS`, schemas[`Nats${kind}`], prefixed(event, "ce-"));
    check(ajv, `${name} in Redis`, schemas[`RedisStream${kind}`], fields(event));
    if (event.data_base64 && Buffer.from(event.data_base64, "base64").length === 0) faults.push(`${name}: no data`);
  }
  for (const id of kinds.values()) {
    if (!seen.has(id)) faults.push(`no golden event of kind ${id} in ${folder}`);
  }
  if (faults.length > 0) throw new Error(faults.join("\n"));
  console.log(`ok ${document.channels().all().length} channels, ${kinds.size} kinds, ${[...seen.values()].flat().length} events`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message.split("\n").slice(0, 20).join("\n"));
  process.exit(1);
});
