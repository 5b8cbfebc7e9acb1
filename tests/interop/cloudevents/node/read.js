// Reads Headgate's events with the CloudEvents SDK for JavaScript, which holds each against the official JSON Schema of
// the specification. Argument: the file that cloudevents_test.cc writes.
const fs = require('fs');
const assert = require('assert');
const {HTTP, Kafka} = require('cloudevents');

function read(message) {
  const body = Buffer.from(message.body, 'base64');
  if (message.prefix === 'ce_') {
    return Kafka.toEvent({headers: message.headers, key: message.attributes.partitionkey, value: body, body});
  }
  if (message.prefix === 'ce-') return HTTP.toEvent({headers: message.headers, body});
  return HTTP.toEvent({headers: {'content-type': 'application/cloudevents+json'}, body: body.toString()});
}

function bytesOf(event) {
  if (event.data_base64) return Buffer.from(event.data_base64, 'base64');
  if (Buffer.isBuffer(event.data) || event.data instanceof Uint8Array) return Buffer.from(event.data);
  return typeof event.data === 'string' ? Buffer.from(event.data) : null;
}

function check(message) {
  const event = read(message);
  assert.ok(event.validate());
  for (const [name, value] of Object.entries(message.attributes)) {
    const got = name === 'time' ? new Date(event.time).getTime() : event[name];
    assert.strictEqual(got, name === 'time' ? new Date(value).getTime() : value, name);
  }
  const data = Buffer.from(message.data, 'base64');
  if (message.attributes.datacontenttype === 'application/json') {
    const got = Buffer.isBuffer(event.data) || typeof event.data === 'string' ? JSON.parse(event.data) : event.data;
    assert.deepStrictEqual(got, JSON.parse(data));
  } else {
    assert.deepStrictEqual(bytesOf(event), data);
  }
}

let count = 0;
let failed = 0;
for (const line of fs.readFileSync(process.argv[2], 'utf8').split('\n')) {
  if (line === '') continue;
  const message = JSON.parse(line);
  count += 1;
  try {
    check(message);
  } catch (error) {
    failed += 1;
    console.log(`${message.name}: ${error.message} ${JSON.stringify(error.errors || '')}`);
  }
}
console.log(`read ${count}, failed ${failed}`);
process.exit(failed > 0 || count === 0 ? 1 : 0);
