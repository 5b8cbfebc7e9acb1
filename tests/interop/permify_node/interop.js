// Permify's own Node client, unchanged, against headgate-engine: tenancy, schema, data, deletes, bundles and Watch.
// usage: node interop.js HOST:PORT     exit 0 and a line "ok N checks" when every answer is as expected
"use strict";

const assert = require("node:assert/strict");
const permify = require("@permify/permify-node");
const { base } = permify.grpc;

const client = permify.grpc.newClient({ endpoint: process.argv[2], cert: null, insecure: true });
const tenant = "node" + Date.now();
let checks = 0;

function check(what, condition) {
  checks += 1;
  assert.ok(condition, what);
}

function tuple(text) {
  const [entity, relation, subject] = text.split(/[#@]/);
  const [type, id] = entity.split(":");
  const [subjectType, subjectId] = subject.split(":");
  return { entity: { type, id }, relation, subject: { type: subjectType, id: subjectId, relation: "" } };
}

function text(change) {
  const sign = change.operation === base.DataChange_Operation.OPERATION_CREATE ? "+" : "-";
  if (change.type.$case === "tuple") {
    const { entity, relation, subject } = change.type.tuple;
    return `${sign}${entity.type}:${entity.id}#${relation}@${subject.type}:${subject.id}`;
  }
  const { entity, attribute } = change.type.attribute;
  return `${sign}${entity.type}:${entity.id}$${attribute}`;
}

async function refused(what, call, message) {
  await assert.rejects(call, (error) => {
    check(`${what}: got ${error.details}`, error.details === message);
    return true;
  });
}

// Collects `count` Watch messages, then leaves.
async function watch(snapToken, count, opened) {
  const abort = new AbortController();
  const messages = [];
  const timer = setTimeout(() => abort.abort(), 15000);
  const stream = client.watch.watch({ tenantId: tenant, snapToken }, { signal: abort.signal });
  if (opened) setTimeout(opened, 300);
  try {
    for await (const message of stream) {
      messages.push(message.changes);
      if (messages.length === count) break;
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
  clearTimeout(timer);
  abort.abort();
  return messages;
}

async function main() {
  const created = await client.tenancy.create({ id: tenant, name: "Node interop" });
  check("the new tenant comes back", created.tenant.id === tenant && created.tenant.createdAt instanceof Date);
  await refused("a duplicate tenant", client.tenancy.create({ id: tenant, name: "again" }), "ERROR_CODE_UNIQUE_CONSTRAINT");

  const schema = `
    entity user {}
    entity document {
      relation owner @user
      relation viewer @user
      attribute public boolean
      action view = public or viewer or owner
    }`;
  const written = await client.schema.write({ tenantId: tenant, schema });
  check("a schema version of 20 characters", written.schemaVersion.length === 20);
  const read = await client.schema.read({ tenantId: tenant, metadata: { schemaVersion: "" } });
  check("the schema reads back", "view" in read.schema.entityDefinitions.document.permissions);

  const first = await client.data.write({
    tenantId: tenant,
    metadata: { schemaVersion: "" },
    tuples: [tuple("document:1#owner@user:alice"), tuple("document:1#viewer@user:bob")],
    attributes: [
      {
        entity: { type: "document", id: "1" },
        attribute: "public",
        value: {
          typeUrl: "type.googleapis.com/base.v1.BooleanValue",
          value: base.BooleanValue.encode(base.BooleanValue.fromJSON({ data: true })).finish(),
        },
      },
    ],
  });
  check("a write returns a token", first.snapToken.length > 8);
  await refused(
    "a tuple with an unknown relation",
    client.data.write({ tenantId: tenant, metadata: { schemaVersion: "" }, tuples: [tuple("document:1#none@user:x")], attributes: [] }),
    "ERROR_CODE_RELATION_DEFINITION_NOT_FOUND",
  );

  const rows = await client.data.readRelationships({
    tenantId: tenant,
    metadata: { snapToken: first.snapToken },
    filter: { entity: { type: "document", ids: ["1"] }, relation: "", subject: { type: "", ids: [], relation: "" } },
    pageSize: 10,
    continuousToken: "",
  });
  check("both tuples are read at the write's token", rows.tuples.length === 2);

  const live = await watch(first.snapToken, 3, async () => {
    await client.data.writeRelationships({
      tenantId: tenant,
      metadata: { schemaVersion: "" },
      tuples: [tuple("document:2#owner@user:carol")],
    });
    await client.data.delete({
      tenantId: tenant,
      tupleFilter: { entity: { type: "document", ids: ["1"] }, relation: "viewer", subject: { type: "", ids: [], relation: "" } },
      attributeFilter: { entity: { type: "", ids: [] }, attributes: [] },
    });
    await client.data.deleteRelationships({
      tenantId: tenant,
      filter: { entity: { type: "document", ids: ["2"] }, relation: "", subject: { type: "", ids: [], relation: "" } },
    });
  });
  check("three transactions arrive while the stream is open", live.length === 3);
  const seen = live.map((changes) => changes.dataChanges.map(text).join(","));
  assert.deepEqual(seen, ["+document:2#owner@user:carol", "-document:1#viewer@user:bob", "-document:2#owner@user:carol"]);

  const again = await watch(live[0].snapToken, 2);
  check("a stream resumes behind its own token", again.length === 2 && again[0].snapToken === live[1].snapToken);

  await client.bundle.write({
    tenantId: tenant,
    bundles: [
      {
        name: "share",
        arguments: ["doc", "who"],
        operations: [
          {
            relationshipsWrite: ["document:{{.doc}}#viewer@user:{{.who}}"],
            relationshipsDelete: [],
            attributesWrite: ["document:{{.doc}}$public|boolean:false"],
            attributesDelete: [],
          },
        ],
      },
    ],
  });
  const ran = await client.data.runBundle({ tenantId: tenant, name: "share", arguments: { doc: "9", who: "dave" } });
  check("a bundle run returns a token", ran.snapToken.length > 8);
  const afterBundle = await watch(live[2].snapToken, 1);
  assert.deepEqual(afterBundle[0].dataChanges.map(text).sort(), ["+document:9#viewer@user:dave", "+document:9$public"]);
  checks += 1;

  const tenants = await client.tenancy.list({ pageSize: 100, continuousToken: "" });
  check("the tenant is listed", tenants.tenants.some((t) => t.id === tenant));
  const gone = await client.tenancy.delete({ id: tenant });
  check("the tenant is deleted", gone.tenantId === tenant);
  console.log(`ok ${checks} checks`);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
