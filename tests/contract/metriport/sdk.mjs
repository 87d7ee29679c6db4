// Drives a pretend Metriport with the vendor's own client library. Prints one JSON object: what each call gave.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, base, key, facilityId, npi] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { MetriportMedicalApi } = require("@metriport/api-sdk");
const { messageSchema } = require("@metriport/shared/domain/message");
// Not among the package's exports, so by its file.
const { patientSchema } = require(`${folder}/node_modules/@metriport/api-sdk/dist/medical/models/patient.js`);

const client = new MetriportMedicalApi(key, { baseAddress: base });
const seen = {};

const address = { addressLine1: "1 Pine Street", city: "Portland", state: "ME", zip: "04101", country: "USA" };
const demographics = {
  firstName: "Robin",
  lastName: "Maple",
  dob: "1980-02-29",
  genderAtBirth: "O",
  address,
  contact: [{ phone: "2075550100", email: "robin@maple.example" }],
};

seen.settings = await client.getSettings();
seen.facilities = (await client.listFacilities()).length;
const facility = await client.createFacility({ name: "Valley Clinic", npi, address, active: true });
seen.facility = (await client.updateFacility({ ...facility, name: "Dale Clinic" })).name;

const created = await client.createPatient({ ...demographics, externalId: "mrn-1" }, facilityId);
const updated = await client.updatePatient({ ...created, lastName: "Oak" }, facilityId);
seen.updated = patientSchema.parse(updated).lastName;
seen.stale = await client.updatePatient({ ...created, lastName: "Elm" }, facilityId).catch(e => e.response.status);
seen.byExternalId = (await client.getPatientByExternalId("mrn-1")).id === created.id;
seen.matched = (await client.matchPatient({ ...demographics, lastName: "Oak" })).id === created.id;
seen.unmatched = (await client.matchPatient(demographics)) ?? null;
seen.read = patientSchema.parse(await client.getPatient(created.id)).id === created.id;
seen.patients = (await client.listPatients({ filters: "oak" })).patients.length;

const document = await client.createDocumentReference(created.id, {
  type: { text: "Visit summary" },
  description: "Summary of a visit",
  context: { period: { start: "2026-06-30" } },
});
const bytes = Buffer.from("%PDF-1.4");
const put = await fetch(document.uploadUrl, {
  method: "PUT",
  body: bytes,
  headers: { "content-type": "application/pdf" },
});
seen.put = put.status;
seen.documents = (await client.listDocuments(created.id)).documents.map(one => one.resourceType);
const [flat] = await client.listDocumentsAsDTO(created.id, { dateFrom: "2020-01-01", content: "summary" });
const { url } = await client.getDocumentUrl(flat.fileName);
seen.downloaded = await (await fetch(url)).text();
seen.converted = (await fetch((await client.getDocumentUrl(flat.fileName, "html")).url)).headers.get("content-type");

const entries = await client.listNetworkEntries({
  filter: "harbor heart",
  supportsMessaging: true,
  active: true,
  pagination: { count: 2 },
});
const more = await client.listNetworkEntriesPage(entries.meta.nextPage);
seen.entries = [entries.networkEntries.length, more.networkEntries.length];
const destination = entries.networkEntries[0].oid;

const letter = { patientId: created.id, destination, subject: "Referral" };
const sent = [];
for (const body of ["one", "two", "three"]) sent.push(await client.sendMessage({ ...letter, body }));
const attached = await client.sendMessage({
  patientId: created.id,
  destination: "referrals@harbor-heart.example",
  subject: "Report",
  attachments: [document.documentReferenceId],
  intendedRecipientNpi: [entries.networkEntries[0].npi],
});
seen.messages = [...sent, attached].map(one => messageSchema.parse(one).status);
seen.refused = await client.sendMessage({ ...letter, subject: "" }).catch(e => e.response.data.detail);

const filters = { patientId: created.id, direction: "outbound" };
let page = await client.listMessages({ ...filters, pagination: { count: 3 } });
const listed = [...page.messages];
while (page.meta.nextPage) {
  page = await client.listMessagesPage(page.meta.nextPage);
  listed.push(...page.messages);
}
seen.listed = listed.map(one => [...sent, attached].map(other => other.id).indexOf(messageSchema.parse(one).id));

while (messageSchema.parse(await client.getMessage(attached.id)).status === "processing")
  await new Promise(done => setTimeout(done, 20));
seen.ended = (await client.getMessage(attached.id)).status;

const query = await client.startConsolidatedQuery(
  created.id,
  ["Patient", "DocumentReference"],
  undefined,
  undefined,
  "json",
  undefined,
  { reason: "visit" }
);
seen.query = [query.status, query.conversionType, query.resources];
seen.single = (await client.getSingleConsolidatedQueryStatus(created.id, query.requestId)).requestId === query.requestId;
seen.queries = (await client.getConsolidatedQueryStatus(created.id)).queries.length;
seen.count = (await client.countPatientConsolidated(created.id)).resources;
const resource = { resourceType: "Observation", status: "final", code: { text: "Weight" } };
const contributed = await client.createPatientConsolidated(created.id, {
  resourceType: "Bundle",
  type: "collection",
  entry: [{ resource }],
});
seen.contributed = [contributed.type, typeof client.lastRequestId];

const networkQuery = await client.startNetworkQuery({ patientId: created.id, sources: ["hie", "lab"] });
seen.networkQuery = (await client.getNetworkQueryStatus({ requestId: networkQuery.requestId })).sources.length;

seen.webhookUrl = (await client.updateSettings(`${base}/hook`)).webhookUrl;
seen.webhookStatus = (await client.getWebhookStatus()).webhookEnabled;
await client.retryWebhookRequests();

// Events as a receiver gets them: a line of standard input each, [webhook key, raw body, signature].
seen.events = [];
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const [webhookKey, body, signature] = JSON.parse(line);
  const { type } = MetriportMedicalApi.parseWebhookResponse(JSON.parse(body), true).meta;
  seen.events.push([type, MetriportMedicalApi.verifyWebhookSignature(webhookKey, body, signature)]);
}
console.log(JSON.stringify(seen));
