// Drives a simulated Metriport with the vendor's own client library and prints, as JSON, what it saw.
//
// node vendor_client.mjs <folder where the library is installed> <base URL> <API key>
//
// The library itself checks what it reads where it can; messages, patients and webhooks are held to the schemas
// that it ships.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [, , folder, baseAddress, apiKey] = process.argv;
const load = createRequire(join(folder, "package.json"));
const { MetriportMedicalApi, patientSchema } = load("@metriport/api-sdk");
const { messageSchema } = load("@metriport/shared/domain/message");

const api = new MetriportMedicalApi(apiKey, { baseAddress });
const seen = {};

const address = { addressLine1: "7 Pine Street", city: "Bangor", state: "ME", zip: "04401", country: "USA" };
const person = {
  firstName: "Robin",
  lastName: "Maple",
  dob: "1980-05-17",
  genderAtBirth: "F",
  address: [address],
  contact: [{ phone: "2075550143", email: "robin.maple@people.example" }],
};

class Receiver {
  calls = [];
  #waiting = [];

  async listen() {
    this.server = createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const raw = Buffer.concat(parts).toString();
      const body = JSON.parse(raw);
      response.end(body.ping ? JSON.stringify({ pong: body.ping }) : "");
      this.calls.push({ raw, body, signature: request.headers["x-metriport-signature"] });
      this.#waiting.splice(0).forEach((look) => look());
    });
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${this.server.address().port}/hook`;
  }

  async next(type) {
    for (;;) {
      const at = this.calls.findIndex((call) => call.body.meta.type === type);
      if (at >= 0) return this.calls.splice(at, 1)[0];
      await new Promise((look) => this.#waiting.push(look));
    }
  }
}

async function statusOf(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { status: error.response?.status, title: error.response?.data?.title };
  }
}

async function settings(receiver) {
  const url = await receiver.listen();
  const updated = await api.updateSettings(url);
  const ping = await receiver.next("ping");
  seen.settings = {
    stored: (await api.getSettings()).webhookUrl === url,
    signed: api.verifyWebhookSignature(updated.webhookKey, ping.raw, ping.signature),
    forged: api.verifyWebhookSignature("another key", ping.raw, ping.signature),
    ping: MetriportMedicalApi.parseWebhookResponse(ping.body).meta.type,
    status: await api.getWebhookStatus(),
  };
  await api.retryWebhookRequests();
}

async function facilities() {
  const made = await api.createFacility({ name: "Pine Clinic", npi: "1234567893", active: true, address });
  const changed = await api.updateFacility({ ...made, name: "Pine Street Clinic" });
  seen.facilities = {
    read: (await api.getFacility(made.id)).name,
    versions: made.eTag !== changed.eTag,
    listed: (await api.listFacilities()).some((one) => one.id === made.id),
  };
  return made.id;
}

async function patients(facilityId) {
  const made = await api.createPatient({ ...person, externalId: "ehr-1" }, facilityId);
  const read = await api.getPatient(made.id);
  patientSchema.parse(read);
  const changed = await api.updatePatient({ ...read, lastName: "Maple-Birch" }, facilityId);
  const first = await api.listPatients({ pagination: { count: 2 } });
  const second = await api.listPatientsPage(first.meta.nextPage);
  seen.patients = {
    external: (await api.getPatientByExternalId("ehr-1")).id === made.id,
    matched: (await api.matchPatient({ ...person, lastName: "Maple-Birch" }))?.id === made.id,
    unmatched: (await api.matchPatient({ ...person, firstName: "Nobody" })) ?? null,
    changed: changed.lastName,
    stale: await statusOf(() => api.updatePatient({ ...read, lastName: "Birch" }, facilityId)),
    pages: [first.patients.length, first.meta.itemsInTotal, second.patients.length],
    apart: !second.patients.some((one) => first.patients.some((other) => other.id === one.id)),
  };
  return made.id;
}

async function documents(patientId) {
  const bytes = "A letter.";
  const place = await api.createDocumentReference(patientId, {
    description: "Letter",
    type: { text: "Letter" },
    context: { period: { start: "2026-07-01" } },
  });
  const put = await fetch(place.uploadUrl, {
    method: "PUT",
    headers: { "content-type": "text/plain" },
    body: bytes,
  });
  const { documents: listed } = await api.listDocuments(patientId);
  const [dto] = await api.listDocumentsAsDTO(patientId);
  const { url } = await api.getDocumentUrl(listed[0].content[0].attachment.title);
  seen.documents = {
    put: put.status,
    listed: listed.map((one) => one.id === place.documentReferenceId),
    dto: dto.id === place.documentReferenceId,
    read: (await (await fetch(url)).text()) === bytes,
  };
  return place.documentReferenceId;
}

async function messages(receiver, patientId, attachment) {
  const sent = [];
  for (const subject of ["First", "Second", "Third"]) {
    const request = { patientId, destination: "ward@direct.example", subject, body: "Please see." };
    sent.push(await api.sendMessage(request));
  }
  sent.push(
    await api.sendMessage({
      patientId,
      destination: "2.16.840.1.113883.3.99999.1",
      subject: "Fourth",
      attachments: [attachment],
      intendedRecipientNpi: ["1234567893"],
    })
  );
  sent.forEach((one) => messageSchema.parse(one));
  const told = MetriportMedicalApi.parseWebhookResponse((await receiver.next("message.status")).body);
  const ids = [];
  let page = await api.listMessages({ patientId, direction: "outbound", pagination: { count: 3 } });
  const total = page.meta.itemsInTotal;
  while (page) {
    ids.push(...page.messages.map((one) => messageSchema.parse(one).id));
    page = page.meta.nextPage ? await api.listMessagesPage(page.meta.nextPage) : undefined;
  }
  const ended = messageSchema.parse(await api.getMessage(told.payload.id));
  seen.messages = {
    statuses: sent.map((one) => one.status),
    transports: sent.map((one) => one.transportMethod),
    total,
    all: ids.length === sent.length && sent.every((one) => ids.includes(one.id)),
    told: told.payload.status,
    ended: ended.status,
    unknown: await statusOf(() => api.getMessage("0190b1c2-0000-7000-8000-0000000000ee")),
    nobody: await statusOf(() =>
      api.sendMessage({
        patientId: "0190b1c2-0000-7000-8000-0000000000ee",
        destination: "ward@direct.example",
        subject: "To nobody",
        body: "Please see.",
      })
    ),
  };
}

async function network() {
  const found = await api.listNetworkEntries({ filter: "harbor heart", supportsMessaging: true, active: true });
  const first = await api.listNetworkEntries({ pagination: { count: 10 } });
  const second = await api.listNetworkEntriesPage(first.meta.nextPage);
  const { oid, npi } = found.networkEntries[0];
  seen.network = {
    found: found.networkEntries.length > 1,
    messaging: found.networkEntries.every((one) => one.supportsMessaging),
    pages: [first.networkEntries.length, second.networkEntries.length],
    oid: (await api.listNetworkEntries({ oid })).networkEntries.map((one) => one.oid === oid),
    destination: (await api.listNetworkEntries({ destination: oid })).networkEntries.length,
    npi: (await api.listNetworkEntries({ npi })).networkEntries.some((one) => one.oid === oid),
  };
}

async function consolidated(receiver, patientId) {
  const resource = { resourceType: "Condition", id: "c1", subject: { reference: `Patient/${patientId}` } };
  const bundle = { resourceType: "Bundle", type: "collection", entry: [{ resource }] };
  const put = await api.createPatientConsolidated(patientId, bundle);
  const started = await api.startConsolidatedQuery(
    patientId, ["Condition"], undefined, undefined, "json", undefined, { case: "7" }
  );
  const told = MetriportMedicalApi.parseWebhookResponse((await receiver.next("medical.consolidated-data")).body);
  const [plain] = told.patients[0].bundle.entry[0].resource.content;
  const read = await (await fetch(plain.attachment.url)).json();
  const count = await api.countPatientConsolidated(patientId, ["Condition"]);
  seen.consolidated = {
    put: put.type,
    started: started.status,
    requestId: told.meta.requestId === started.requestId,
    echo: told.meta.data,
    resources: read.entry.map((one) => one.resource.resourceType),
    one: (await api.getSingleConsolidatedQueryStatus(patientId, started.requestId)).status,
    all: (await api.getConsolidatedQueryStatus(patientId)).status,
    count: [count.total, count.resources],
  };
}

const receiver = new Receiver();
await settings(receiver);
const patientId = await patients(await facilities());
await messages(receiver, patientId, await documents(patientId));
await network();
await consolidated(receiver, patientId);
receiver.server.close();
receiver.server.closeAllConnections();
console.log(JSON.stringify(seen));
