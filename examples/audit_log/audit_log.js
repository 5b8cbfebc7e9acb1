// Appends every permission change in JetStream to a file, one line each, and says itself where something is missing.
// usage: node audit_log.js [--nats URL] [--stream NAME] [--file PATH]
//
// The file is the only place where this program keeps its position: the last line names the message of the stream that
// it came from, so a line is never lost and never written twice, however the program ends.
"use strict";

const fs = require("node:fs");
const { parseArgs } = require("node:util");
const { connect, DeliverPolicy } = require("nats");

const HEARTBEAT = "dev.headgate.feed.heartbeat.v1";

const { values: words } = parseArgs({
  options: {
    nats: { type: "string", default: "nats://127.0.0.1:4222" },
    stream: { type: "string", default: "HEADGATE" },
    file: { type: "string", default: "audit.jsonl" },
  },
});

// A torn last line is of a message that will come again.
function openLog(path) {
  const file = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
  const bytes = fs.readFileSync(file);
  const end = bytes.lastIndexOf(10) + 1;
  fs.ftruncateSync(file, end);
  const log = { file, end, message: 0, sequences: new Map() };
  for (const line of bytes.subarray(0, end).toString().split("\n").filter(Boolean)) {
    const entry = JSON.parse(line);
    log.message = entry.message;
    if (entry.sequence) log.sequences.set(entry.tenant, entry.sequence);
  }
  return log;
}

// On disk before it returns.
function append(log, entries) {
  const text = Buffer.from(entries.map((entry) => JSON.stringify(entry) + "\n").join(""));
  fs.writeSync(log.file, text, 0, text.length, log.end);
  fs.fdatasyncSync(log.file);
  log.end += text.length;
}

// Values of headers are percent-encoded where NATS could not carry them.
function attributesOf(message) {
  const attributes = {};
  for (const [name, [value]] of message.headers) {
    if (name.toLowerCase().startsWith("ce-")) attributes[name.slice(3).toLowerCase()] = decodeURIComponent(value);
  }
  return attributes;
}

function entriesOf(log, message) {
  const event = attributesOf(message);
  const tenant = event.partitionkey;
  if (event.type === undefined || event.type === HEARTBEAT) return [];
  const sequence = Number(event.sequence);
  const before = log.sequences.get(tenant);
  if (before !== undefined && sequence <= before) return [];
  const entries = [];
  // The stream has dropped something, by its limits or by somebody's hand.
  if (before === undefined ? event.previoustoken !== undefined : sequence !== before + 1) {
    entries.push({ tenant, kind: "hole", after: before ?? null, before: sequence, message: message.seq - 1 });
  }
  const data = message.json();
  entries.push({
    tenant,
    sequence,
    kind: event.type.replace(/^dev\.headgate\.|\.v1$/g, ""),
    id: event.id,
    time: event.time,
    token: event.snaptoken,
    ...(event.reason && { reason: event.reason }),
    ...(event.moreparts && { more_parts: true }),
    ...(data.data_changes ? { changes: data.data_changes } : { data }),
    message: message.seq,
  });
  log.sequences.set(tenant, sequence);
  return entries;
}

async function streamOf(manager, name) {
  for (;;) {
    try {
      return await manager.streams.info(name);
    } catch (error) {
      if (error.code !== "404") throw error;
      await new Promise((resolve) => setTimeout(resolve, 500)); // the relay makes it at its start
    }
  }
}

async function main() {
  const log = openLog(words.file);
  const connection = await connect({ servers: words.nats, maxReconnectAttempts: -1, waitOnFirstConnect: true });
  const info = await streamOf(await connection.jetstreamManager(), words.stream);
  if (info.state.last_seq < log.message) {
    // The stream is another one now. What it repeats is known by the sequences of the tenants.
    append(log, [{ kind: "stream-replaced", message: 0 }]);
    log.message = 0;
  }
  // An ordered consumer: no acknowledgements, made again where it stood after every interruption.
  const consumer = await connection.jetstream().consumers.get(words.stream, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: log.message + 1,
  });
  const messages = await consumer.consume();
  for (const end of ["SIGINT", "SIGTERM"]) process.once(end, () => messages.stop());
  console.log(`from message ${log.message + 1}`);
  for await (const message of messages) {
    const entries = entriesOf(log, message);
    if (entries.length > 0) append(log, entries);
  }
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
